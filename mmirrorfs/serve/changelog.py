"""Logs the changes in a view, and keeps the last one for ``--status``.

Invariant: more than FEW similar changes in one directory within GATHER seconds are one line, with their number.

Event loop's thread only.
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
"""Seconds for which changes are collected before they are logged."""
FEW = 3
"""Similar changes that are logged one by one, at the most."""


class _Group(NamedTuple):
    """The key by which changes are grouped: what happened, in which directory, to which type from which sources."""

    what: str
    above: bytes
    kind: str
    before: str
    after: str


class Changelog:
    """The changes in one view; ``count`` of them since it was mounted."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._pending: dict[_Group, list[bytes]] = {}
        self._wake = trio.Event()
        self.count = 0
        self.last: dict[str, Any] | None = None
        """The last one: ``change``, ``path`` in the view, and ``when``, in seconds since the epoch."""

    def changed(self, changes: Sequence[Change]) -> None:
        """Add changes, in order."""
        listed = [change for change in changes if not is_directory_that_stayed(change)]
        self.count += len(listed)
        if listed:
            self.last = {"change": _what(listed[-1]), **json_path(listed[-1].path), "when": time.time()}
        if listed and log.isEnabledFor(logging.INFO):
            for change in listed:
                self._pending.setdefault(self._group(change), []).append(change.path)
            self._wake.set()

    async def run(self) -> None:
        """Log the changes. Until cancelled."""
        try:
            while True:
                await self._wake.wait()
                await trio.sleep(GATHER)
                self._wake = trio.Event()
                self._flush()
        finally:
            self._flush()

    def _flush(self) -> None:
        pending, self._pending = self._pending, {}
        for group, paths in pending.items():
            source = group.after or group.before
            if len(paths) > FEW:
                where = printable(group.above) or "/"
                extra = fields(group.what, source=source, path=where, count=len(paths))
                log.info("%s: %d %s in %s", group.what, len(paths), _described(group, True), where, extra=extra)
                continue
            for shown in map(printable, paths):
                extra = fields(group.what, source=source, path=shown, count=1)
                log.info("%s: %s, %s", group.what, shown, _described(group, False), extra=extra)

    def _group(self, change: Change) -> _Group:
        child = change.after if change.after is not None else change.before
        kind = "directory" if isinstance(child, Merged) or (child is not None and child.kind == DIR) else "file"
        before, after = self._names(change.before), self._names(change.after)
        return _Group(_what(change), change.path.rpartition(b"/")[0], kind, before, after)

    def _names(self, child: Child | None) -> str:
        """The names of the sources that it comes from."""
        if child is None:
            return ""
        if isinstance(child, Leaf):
            return self._sources[child.source].name
        both = zip(self._sources, child.inputs, strict=True)
        return ", ".join(source.name for source, directory in both if directory is not None)


def _described(group: _Group, several: bool) -> str:
    """Its type and source, as log text."""
    kind = ({"directory": "directories", "file": "files"}[group.kind]) if several else f"a {group.kind}"
    if group.what == "changed" and group.before != group.after:
        return f"{kind} of {group.after} now, not of {group.before}"
    return f"{kind} of {group.after or group.before}"


def is_directory_that_stayed(change: Change) -> bool:
    """Whether only the attributes of a directory changed: its entries have changes of their own."""
    if isinstance(change.before, Merged) and isinstance(change.after, Merged):
        return True
    before, after = change.attributes or (None, None)
    if before is None or after is None or not before.kind == after.kind == DIR:
        return False
    return (before.dev, before.ino) == (after.dev, after.ino)


def _what(change: Change) -> str:
    return "added" if change.before is None else "removed" if change.after is None else "changed"
