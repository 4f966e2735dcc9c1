"""Each change in the view as a line of the log; and the last one, for ``--status``.

Event loop's thread only.
"""

import logging
import time
from collections.abc import Sequence
from typing import Any

from mmirrorfs.attributes import DIR
from mmirrorfs.merge.index import Change
from mmirrorfs.source.source import Source
from mmirrorfs.text import fields, json_path, printable
from mmirrorfs.tree import Child, Leaf, Merged

log = logging.getLogger(__name__)


class Changelog:
    """The changes in one view. ``count`` is how many there were since it was mounted."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self.count = 0
        self.last: dict[str, Any] | None = None
        """The last one: ``change``, ``path`` in the view, and ``when``, in seconds since the epoch."""

    def changed(self, changes: Sequence[Change]) -> None:
        """Take note of some, in order."""
        told = [change for change in changes if not is_directory_that_stayed(change)]
        self.count += len(told)
        if told:
            self.last = {"change": _what(told[-1]), **json_path(told[-1].path), "when": time.time()}
        if log.isEnabledFor(logging.INFO):
            for change in told:
                self._log(change)

    def _log(self, change: Change) -> None:
        what, path = _what(change), printable(change.path)
        names = [self._name(child) for child in (change.before, change.after)]
        about = fields(what, path=path, source=names[1] or names[0])
        if what == "changed" and names[0] != names[1]:
            log.info("changed: %s comes from %s now, not from %s", path, names[1], names[0], extra=about)
        else:
            kind = "directory" if _is_directory(change.after or change.before) else "file"
            log.info("%s: %s, a %s of %s", what, path, kind, names[1] or names[0], extra=about)

    def _name(self, child: Child | None) -> str:
        """The sources that it comes from."""
        if child is None:
            return ""
        if isinstance(child, Leaf):
            return self._sources[child.source].name
        both = zip(self._sources, child.inputs, strict=True)
        return ", ".join(source.name for source, directory in both if directory is not None)


def is_directory_that_stayed(change: Change) -> bool:
    """Whether a directory has other attributes and nothing else: what changed in it is a change by itself."""
    if isinstance(change.before, Merged) and isinstance(change.after, Merged):
        return True
    before, after = change.attributes or (None, None)
    if before is None or after is None or not before.kind == after.kind == DIR:
        return False
    return (before.dev, before.ino) == (after.dev, after.ino)


def _what(change: Change) -> str:
    return "added" if change.before is None else "removed" if change.after is None else "changed"


def _is_directory(child: Child | None) -> bool:
    return isinstance(child, Merged) or (child is not None and child.kind == DIR)
