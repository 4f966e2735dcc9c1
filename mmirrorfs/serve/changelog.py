"""The changes in the view as lines of the log, and the last one for ``--status``.

Changes in one directory that come within GATHER seconds and are alike are one line, with their number: an album has
many tracks. Event loop's thread only.
"""

import logging
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import trio

from mmirrorfs.attributes import DIR
from mmirrorfs.merge.index import Change
from mmirrorfs.source.source import Source
from mmirrorfs.text import fields, json_path, printable
from mmirrorfs.tree import Child, Leaf, Merged

log = logging.getLogger(__name__)

GATHER = 1.0
"""Seconds for which changes are gathered before they are said."""
FEW = 3
"""Changes that are alike that are still said one by one."""


class _Alike(NamedTuple):
    """What changes have in common that are one line: what happened, in which directory, to what of which sources."""

    what: str
    above: bytes
    kind: str
    before: str
    after: str


class Changelog:
    """The changes in one view. ``count`` is how many there were since it was mounted."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._waiting: dict[_Alike, list[bytes]] = {}
        self._something = trio.Event()
        self.count = 0
        self.last: dict[str, Any] | None = None
        """The last one: ``change``, ``path`` in the view, and ``when``, in seconds since the epoch."""

    def changed(self, changes: Sequence[Change]) -> None:
        """Take note of some, in order."""
        told = [change for change in changes if not is_directory_that_stayed(change)]
        self.count += len(told)
        if told:
            self.last = {"change": _what(told[-1]), **json_path(told[-1].path), "when": time.time()}
        if told and log.isEnabledFor(logging.INFO):
            for change in told:
                self._waiting.setdefault(self._alike(change), []).append(change.path)
            self._something.set()

    async def run(self) -> None:
        """Say what has changed. Until cancelled."""
        try:
            while True:
                await self._something.wait()
                await trio.sleep(GATHER)
                self._something = trio.Event()
                self._say()
        finally:
            self._say()

    def _say(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for alike, paths in waiting.items():
            source = alike.after or alike.before
            if len(paths) > FEW:
                where = printable(alike.above) or "/"
                about = fields(alike.what, source=source, path=where, count=len(paths))
                log.info("%s: %d %s in %s", alike.what, len(paths), _of(alike, True), where, extra=about)
                continue
            for shown in map(printable, paths):
                about = fields(alike.what, source=source, path=shown, count=1)
                log.info("%s: %s, %s", alike.what, shown, _of(alike, False), extra=about)

    def _alike(self, change: Change) -> _Alike:
        child = change.after if change.after is not None else change.before
        kind = "directory" if isinstance(child, Merged) or (child is not None and child.kind == DIR) else "file"
        before, after = self._names(change.before), self._names(change.after)
        return _Alike(_what(change), change.path.rpartition(b"/")[0], kind, before, after)

    def _names(self, child: Child | None) -> str:
        """The sources that it comes from."""
        if child is None:
            return ""
        if isinstance(child, Leaf):
            return self._sources[child.source].name
        both = zip(self._sources, child.inputs, strict=True)
        return ", ".join(source.name for source, directory in both if directory is not None)


def _of(alike: _Alike, several: bool) -> str:
    """What it is, and of which source."""
    kind = ({"directory": "directories", "file": "files"}[alike.kind]) if several else f"a {alike.kind}"
    if alike.what == "changed" and alike.before != alike.after:
        return f"{kind} of {alike.after} now, not of {alike.before}"
    return f"{kind} of {alike.after or alike.before}"


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
