"""What changed in the view, for all who hold something of it: the kernel's caches, watchers, and ``--on-change``.

Rule 1: it is told after what is known has changed, in order: who asks because of it gets the new answer. Watchers are
told when the kernel has been.
Rule 2: the kernel is told of what it holds alone, by a way for each source and one for merged directories: an
invalidation waits for a request that is pending in the same directory, and that may wait for a source that hangs.

Event loop's thread only.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Protocol

import trio

from mmirrorfs.attributes import DIR, FILE, Attributes
from mmirrorfs.difference import Difference
from mmirrorfs.merge.index import Change
from mmirrorfs.merge.inodes import ROOT, number
from mmirrorfs.merge.shown import seen
from mmirrorfs.serve.acts import Act, acts
from mmirrorfs.source.pace import beside
from mmirrorfs.source.walks import join
from mmirrorfs.tree import Merged, Rank
from mmirrorfs.view.nodes import FileNode, MergedNode, contents
from mmirrorfs.view.state import State

MANY = 1000
"""Inodes that the kernel is told of at once."""
PIECE = 256
"""Changes that are told of between two turns of others."""
MERGED = 0
"""The way for merged directories; that of a source is its rank and one more."""


class Kernel(Protocol):
    """Whom the changes are told to, over one of several ways that do not wait for each other."""

    def name(self, directory: int, name: bytes, way: int) -> None: ...
    def attributes(self, ino: int, way: int) -> None: ...
    def contents(self, ino: int, way: int) -> None: ...
    def everything(self) -> bool: ...
    def then(self, way: int, call: Callable[[], None]) -> None: ...


class Watchers(Protocol):
    """Who watch the view, and are told over the same ways. ``silent`` says why they are not, "" where they are."""

    silent: str

    def put(self, way: int, acts: Iterable[Act]) -> None: ...


def _nothing(changes: Sequence[Change]) -> None:
    """For those who do not want to hear of it."""


class Publish:
    """Tells of the changes in one view. ``changed`` hears of all of them; ``watchers`` of those where they can be."""

    def __init__(
        self,
        state: State,
        kernel: Kernel,
        changed: Callable[[list[Change]], None] = _nothing,
        watchers: Watchers | None = None,
    ) -> None:
        self._state = state
        self._kernel = kernel
        self._changed = changed
        self._watchers = watchers
        self._swapped = deque[Change]()
        self._many = trio.Event()

    async def run(self) -> None:
        """Tell of what changes in the sources. Until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._notice_tightness)
            nursery.start_soon(self._tell_many)
            async for rank, directory, differences in self._state.changes:
                for start in range(0, len(differences), PIECE):
                    self._source(rank, directory, differences[start : start + PIECE])
                    await trio.lowlevel.checkpoint()

    async def _notice_tightness(self) -> None:
        """Of what was forgotten for want of room no change is told: the kernel may not keep it for long."""
        await self._state.room.tight.wait()
        self._state.freshness.is_tight = True
        self.everything()

    def index(self, changes: list[Change]) -> None:
        """The index was swapped. A few changes are told at once, of many PIECE at a time, while others have a turn."""
        self._swapped.extend(changes)
        if len(self._swapped) <= PIECE:
            self._tell_some()
        else:
            self._many.set()

    async def _tell_many(self) -> None:
        while True:
            await self._many.wait()
            self._many = trio.Event()
            while self._swapped:
                self._tell_some()
                await trio.lowlevel.checkpoint()

    def _tell_some(self) -> None:
        changes = [self._swapped.popleft() for _ in range(min(PIECE, len(self._swapped)))]
        for change in changes:
            above, _, name = change.path.rpartition(b"/")
            if isinstance(change.before, Merged) and isinstance(change.after, Merged):
                self._attributes(_merged(change.path), MERGED)
            else:
                self._name(_merged(above), name, MERGED)
        if changes:
            self._changed(changes)
            places = (_merged(change.path.rpartition(b"/")[0]) for change in changes)
            self._announce(MERGED, map(self._acts, changes, places))

    def contents(self, node: FileNode) -> None:
        """The contents of a file changed in a way that the kernel cannot see from its attributes."""
        self._kernel.contents(node.ino, _way(node.source.rank))

    def everything(self) -> None:
        """All that the kernel has may be another by now."""
        self._kernel.everything()
        beside(self._everything)

    async def _everything(self) -> None:
        """Each name in a merged directory goes with all that is below it; what is open has attributes left."""
        for count, node in enumerate(self._state.inodes.held):
            way = _way(node.source.rank) if isinstance(node, FileNode) else MERGED
            self._kernel.attributes(node.ino, way)
            if isinstance(node, MergedNode) or (isinstance(node, FileNode) and node.indexed):
                above, _, name = node.path.rpartition(b"/")
                if name:
                    self._name(_merged(above), name, MERGED)
            if count % MANY == 0:
                await trio.lowlevel.checkpoint()

    def _source(self, rank: Rank, directory: bytes, differences: list[Difference]) -> None:
        """Tell of what a change in a source changes in the view."""
        root, way = self._state.sources[rank].root, _way(rank)
        changes = list(seen(self._state.inodes.index, rank, directory, differences))
        if not changes:
            return
        for name, before, after in differences:
            if _is_other(before, after):
                self._name(number(root, directory, DIR), name, way)
            if before is None or after is None or before.kind != after.kind:
                continue
            ino = number(root, join(directory, name), after.kind)
            if after.kind == FILE and contents(before) != contents(after):
                self._contents(ino, way)
            else:
                self._attributes(ino, way)
        place = changes[0].path.rpartition(b"/")[0]
        is_merged = isinstance(self._state.inodes.find(place), Merged)
        above = _merged(place) if is_merged else number(root, directory, DIR)
        self._changed(changes)
        self._announce(way, (self._acts(change, above) for change in changes))

    def _announce(self, way: int, found: Iterable[Iterable[Act]]) -> None:
        if self._watchers is not None and not self._watchers.silent and (told := list(chain.from_iterable(found))):
            self._kernel.then(way, partial(self._watchers.put, way, told))

    def _acts(self, change: Change, above: int) -> Iterator[Act]:
        """What watchers are told, where the kernel holds the directory: a watch pins it."""
        if self._is_held(above):
            for act in acts(change):
                yield act._replace(above=above)

    def _name(self, directory: int, name: bytes, way: int) -> None:
        if self._is_held(directory):
            self._kernel.name(directory, name, way)

    def _attributes(self, ino: int, way: int) -> None:
        if self._is_held(ino):
            self._kernel.attributes(ino, way)

    def _contents(self, ino: int, way: int) -> None:
        if self._is_held(ino):
            self._kernel.contents(ino, way)

    def _is_held(self, ino: int) -> bool:
        return self._state.inodes.held.get(ino) is not None


def _merged(path: bytes) -> int:
    return number(b"", path, DIR) if path else ROOT


def _way(rank: Rank) -> int:
    return rank + 1


def _is_other(before: Attributes | None, after: Attributes | None) -> bool:
    """Whether a name has something else by now: the kernel has to look it up again."""
    if before is None or after is None:
        return True
    return (before.kind, before.dev, before.ino) != (after.kind, after.dev, after.ino)
