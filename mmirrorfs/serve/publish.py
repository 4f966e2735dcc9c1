"""Publishes the changes in the view: to the kernel's caches, to inotify watchers, and to ``--on-change`` and the log.

Invariant 1: a change is published in order, after the caches have it: a request that it causes gets the new answer.
Watchers get it after the kernel.
Invariant 2: only inodes that the kernel holds are invalidated, through one queue for each source and one for merged
directories: an invalidation blocks behind a request that is pending in the same directory, perhaps on a hung source.

Event loop's thread only.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Protocol

import trio

from mmirrorfs.attributes import DIR, FILE, Attributes
from mmirrorfs.difference import Difference
from mmirrorfs.merge.index import Change
from mmirrorfs.merge.inodes import ROOT, number
from mmirrorfs.merge.shown import seen
from mmirrorfs.serve.acts import AT_INODE, Act, acts
from mmirrorfs.source.threads import spawn
from mmirrorfs.tree import Merged, Rank, join
from mmirrorfs.view.nodes import FileNode, contents
from mmirrorfs.view.state import State

MANY = 1000
"""Inodes that are invalidated between two checkpoints."""
PIECE = 256
"""Changes that are published between two checkpoints."""
LATE = 5.0
"""Seconds within which the kernel has read every reply: one that it reads later outlives ``Notifier.expire``."""
MERGED = 0
"""The queue for merged directories; that of a source is its rank + 1."""


class Kernel(Protocol):
    """The kernel's caches, through queues that do not wait for each other: ``serve.notifier``."""

    def name(self, directory: int, name: bytes, queue: int, /) -> None: ...
    def expire(self, directory: int, name: bytes, queue: int, /) -> None: ...
    def attributes(self, ino: int, queue: int, /) -> None: ...
    def contents(self, ino: int, queue: int, /) -> None: ...
    def then(self, queue: int, call: Callable[[], None], /) -> None: ...


class Watchers(Protocol):
    """The inotify watchers, through as many queues: ``serve.announce``. ``silent`` is why they get no events, or ""."""

    silent: str

    def put(self, queue: int, acts: Iterable[Act], /) -> None: ...


def ignore(*_: object) -> None:
    """A callback for those who want none."""


class Publish:
    """The changes in one view. ``changed`` gets all; ``watchers`` those that a watch may report."""

    def __init__(
        self,
        state: State,
        kernel: Kernel,
        changed: Callable[[list[Change]], None] = ignore,
        watchers: Watchers | None = None,
    ) -> None:
        self._state = state
        self._kernel = kernel
        self._changed = changed
        self._watchers = watchers
        self._unpublished = deque[Change]()
        self._wake = trio.Event()

    async def run(self) -> None:
        """Publish the changes in the sources. Until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_room)
            nursery.start_soon(self._watch_absences)
            nursery.start_soon(self._publish_rest)
            async for rank, directory, differences in self._state.changes:
                for start in range(0, len(differences), PIECE):
                    self._publish_source(rank, directory, differences[start : start + PIECE])
                    await trio.lowlevel.checkpoint()

    async def _watch_room(self) -> None:
        """Shorten the kernel's timeouts once the cache has evicted: changes of what is not cached are not noticed."""
        await self._state.cache_limit.tight.wait()
        self._state.freshness.is_tight = True
        self.everything()
        await trio.sleep(LATE)
        self.everything()

    def index(self, changes: list[Change]) -> None:
        """Publish a swap of the index: up to PIECE changes at once, more of them in pieces with checkpoints between."""
        self._unpublished.extend(changes)
        if len(self._unpublished) <= PIECE:
            self._publish_piece()
        else:
            self._wake.set()

    async def _publish_rest(self) -> None:
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            while self._unpublished:
                self._publish_piece()
                await trio.lowlevel.checkpoint()

    def _publish_piece(self) -> None:
        changes = [self._unpublished.popleft() for _ in range(min(PIECE, len(self._unpublished)))]
        for change in changes:
            above, _, name = change.path.rpartition(b"/")
            if isinstance(change.before, Merged) and isinstance(change.after, Merged):
                self._invalidate_attributes(_merged_ino(change.path), MERGED)
            else:
                self._invalidate_entry(_merged_ino(above), name, MERGED)
        if changes:
            self._changed(changes)
            self._announce(MERGED, [act for change in changes for act in self._acts_of_index(change)])

    def contents(self, node: FileNode) -> None:
        """Drop the pages of a file whose contents changed without a change in what the kernel compares."""
        self._kernel.contents(node.ino, _queue_of(node.source.rank))

    def everything(self) -> None:
        """Have the kernel request all anew that it has cached."""
        spawn(self._invalidate_all)

    async def _invalidate_all(self) -> None:
        """The attributes of each inode, and each entry."""
        for count, node in enumerate(self._state.inodes.held):
            above, _, name = node.path.rpartition(b"/")
            if isinstance(node, FileNode):
                self._kernel.attributes(node.ino, _queue_of(node.source.rank))
                ino = _merged_ino(above) if node.indexed else number(node.source.root, node.above, DIR)
            else:
                self._kernel.attributes(node.ino, MERGED)
                ino = _merged_ino(above)
            if name:
                self._expire(ino, name)
            if count % MANY == 0:
                await trio.lowlevel.checkpoint()
        await self._expire_absences()

    async def _expire_absences(self) -> None:
        for count, (ino, name) in enumerate(self._state.absences.take()):
            self._expire(ino, name)
            if count % MANY == 0:
                await trio.lowlevel.checkpoint()

    async def _watch_absences(self) -> None:
        """Make room for absent names when there is none left."""
        while True:
            await self._state.absences.full.wait()
            await self._expire_absences()

    def _expire(self, directory: int, name: bytes) -> None:
        node = self._state.inodes.held.get(directory)
        if node is not None:
            self._kernel.expire(directory, name, _queue_of(node.source.rank) if isinstance(node, FileNode) else MERGED)

    def _publish_source(self, rank: Rank, directory: bytes, differences: list[Difference]) -> None:
        """Publish what changes in a source change in the view."""
        source, queue = self._state.sources[rank], _queue_of(rank)
        changes = list(seen(self._state.inodes.index, rank, directory, differences))
        if not changes:
            return
        is_held = False
        for name, before, after in differences:
            if _is_replaced(before, after):
                self._invalidate_entry(number(source.root, directory, DIR), name, queue)
            if before is None or after is None or before.kind != after.kind:
                continue
            for ino in self._state.inodes.held_at(source, join(directory, name), after.kind):
                is_held = True
                if after.kind == FILE and contents(before) != contents(after):
                    self._kernel.contents(ino, queue)
                else:
                    self._kernel.attributes(ino, queue)
        parent = changes[0].path.rpartition(b"/")[0]
        is_merged = isinstance(self._state.inodes.find(parent), Merged)
        above = _merged_ino(parent) if is_merged else number(source.root, directory, DIR)
        self._changed(changes)
        self._announce(queue, [act for change in changes for act in self._acts(change, above, is_held)])

    def _announce(self, queue: int, steps: list[Act]) -> None:
        if self._watchers is not None and not self._watchers.silent and steps:
            self._kernel.then(queue, partial(self._watchers.put, queue, steps))

    def _acts_of_index(self, change: Change) -> Iterator[Act]:
        return self._acts(change, _merged_ino(change.path.rpartition(b"/")[0]), self._is_held(_merged_ino(change.path)))

    def _acts(self, change: Change, above: int, is_held: bool) -> Iterator[Act]:
        """The steps that a watcher may get: a watch pins its inode, but not the parent's.

        So in a parent ``above`` that the kernel does not hold, steps at inodes remain, if it may hold these.
        """
        is_above_held = self._is_held(above)
        for act in acts(change) if is_above_held or is_held else ():
            if is_above_held or act.step in AT_INODE:
                yield act._replace(above=above)

    def _invalidate_entry(self, directory: int, name: bytes, queue: int) -> None:
        if self._is_held(directory):
            self._kernel.name(directory, name, queue)

    def _invalidate_attributes(self, ino: int, queue: int) -> None:
        if self._is_held(ino):
            self._kernel.attributes(ino, queue)

    def _is_held(self, ino: int) -> bool:
        return self._state.inodes.held.get(ino) is not None


def _merged_ino(path: bytes) -> int:
    return number(b"", path, DIR) if path else ROOT


def _queue_of(rank: Rank) -> int:
    return rank + 1


def _is_replaced(before: Attributes | None, after: Attributes | None) -> bool:
    """Whether a name leads to another inode, so that its entry is invalid."""
    if before is None or after is None:
        return True
    return (before.kind, before.dev, before.ino) != (after.kind, after.dev, after.ino)
