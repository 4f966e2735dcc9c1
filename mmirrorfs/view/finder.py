"""Finding what an inode number stands for when nobody remembers: for NFS handles that outlived the cache or the mount.

A number is a hash, so it is found by numbering what there is: first the index, which is in memory, then the folders'
contents, which takes a walk in a thread of each source. A walk answers all who ask: it makes a table of all numbers,
12 bytes an entry, which is good for AGAIN seconds, and for long walks for ten times as long as the walk took. A source
that hangs keeps nobody who asks for what another has. Event loop's thread only.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import trio

from mmirrorfs.merge.inodes import number
from mmirrorfs.source.pace import beside
from mmirrorfs.source.source import Source
from mmirrorfs.tree import DIR, Kind
from mmirrorfs.view.folders import join
from mmirrorfs.view.nodes import FileNode, MergedNode, Node
from mmirrorfs.view.view import View

AGAIN = 30.0
"""Seconds between the end of a walk and the next one, at the least."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A path in a source and in the view."""

    source: Source
    inner: bytes
    path: bytes
    kind: Kind


class _Table:
    """The numbers of all that lies in the folders of a source: sorted, each with the directory that it is in."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.until = float("inf")
        self._numbers = array("Q")
        self._where = array("I")
        self._directories: list[_Place] = []

    def walk(self, folders: list[_Place]) -> None:
        """Number everything in the folders. Blocking."""
        found: list[tuple[int, int]] = []
        self._directories = queue = list(folders)
        for index, folder in enumerate(queue):
            for place in _entries(folder):
                found.append((_number(place), index))
                if place.kind == DIR:
                    queue.append(place)
        found.sort()
        self._numbers.extend(number for number, _ in found)
        self._where.extend(index for _, index in found)

    def find(self, ino: int) -> _Place | None:
        """What has that number, if it is there still. Blocking."""
        at = bisect_left(self._numbers, ino)
        if at == len(self._numbers) or self._numbers[at] != ino:
            return None
        return next((p for p in _entries(self._directories[self._where[at]]) if _number(p) == ino), None)


class Finder:
    """Finds the nodes of one view by number."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._tables: dict[int, _Table] = {}

    async def find(self, ino: int) -> Node | None:
        """The node of a number that is not in the table; None where nothing has it."""
        folders: list[_Place] = []
        for count, (node, place) in enumerate(self._indexed(self._view.root)):
            if node.ino == ino:
                return node
            if place is not None:
                folders.append(place)
            if count % 1000 == 999:
                await trio.lowlevel.checkpoint()
        found = await self._walked(folders, ino)
        return FileNode(found.source, found.inner, found.path, found.kind, False) if found is not None else None

    async def _walked(self, folders: list[_Place], ino: int) -> _Place | None:
        """What has the number in one of the folders: the first source that has it is enough."""
        found: list[_Place] = []

        async def look(source: Source) -> None:
            table = self._table(source, [folder for folder in folders if folder.source is source])
            await table.done.wait()
            place = await source.pace.in_thread(partial(table.find, ino))
            if place is not None:
                found.append(place)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for source in self._view.sources:
                nursery.start_soon(look, source)
        return found[0] if found else None

    def _table(self, source: Source, folders: list[_Place]) -> _Table:
        """The table of a source; one that is too old is made anew, by a walk that goes on when nobody waits for it."""
        table = self._tables.get(source.rank)
        if table is None or self._view.clock() >= table.until:
            table = self._tables[source.rank] = _Table()
            beside(self._fill, table, source, folders)
        return table

    async def _fill(self, table: _Table, source: Source, folders: list[_Place]) -> None:
        begun = self._view.clock()
        try:
            await source.pace.in_thread(partial(table.walk, folders))
        finally:
            ended = self._view.clock()
            table.until = ended + max(AGAIN, 10 * (ended - begun))
            table.done.set()

    def _indexed(self, root: MergedNode) -> Iterator[tuple[Node, _Place | None]]:
        """Everything in the index, and with each folder where its contents are."""
        queue = [root]
        for above in queue:
            for name, child in self._view.current(above).children.items():
                node = self._view.child(above, name, child)
                if isinstance(node, MergedNode):
                    queue.append(node)
                    yield node, None
                elif isinstance(node, FileNode):
                    folder = node.kind == DIR
                    yield node, _Place(node.source, node.inner, node.path, DIR) if folder else None


def _number(place: _Place) -> int:
    return number(place.source.root, place.inner, place.kind)


def _entries(folder: _Place) -> list[_Place]:
    """Everything in a directory; nothing where it cannot be listed. Blocking."""
    try:
        _, listed, rest = folder.source.reader.listing(folder.inner, 1 << 20)
    except OSError:
        return []
    if rest is not None:
        rest.close()
    return [
        _Place(folder.source, join(folder.inner, name), join(folder.path, name), attr.kind) for name, attr in listed
    ]
