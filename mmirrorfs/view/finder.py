"""Finding what an inode number stands for when nobody remembers: for NFS handles that outlived the cache or the mount.

A number is a hash, so it is found by numbering what there is: first the index, which is in memory, then the folders'
contents, which takes a walk in a thread of each source, one at a time; the first to find it ends the others, so that
one that hangs keeps nobody. What was not found is not walked for again for AGAIN seconds. Event loop's thread only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import trio

from mmirrorfs.merge.inodes import number
from mmirrorfs.source.reader import Reader
from mmirrorfs.source.source import Source
from mmirrorfs.tree import DIR, Kind
from mmirrorfs.view.folders import join
from mmirrorfs.view.nodes import FileNode, MergedNode, Node
from mmirrorfs.view.view import View

AGAIN = 30.0
"""Seconds for which a number that was not found stays unknown."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A path in a source and in the view."""

    source: Source
    inner: bytes
    path: bytes
    kind: Kind


class Finder:
    """Finds the nodes of one view by number."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._walking = [trio.Lock() for _ in view.sources]
        self._unknown: dict[int, float] = {}

    async def find(self, ino: int) -> Node | None:
        """The node of a number that is not in the table; None where nothing has it."""
        if self._view.clock() - self._unknown.get(ino, -AGAIN) < AGAIN:
            return None
        folders: list[_Place] = []
        for count, (node, place) in enumerate(self._indexed(self._view.root)):
            if node.ino == ino:
                return node
            if place is not None:
                folders.append(place)
            if count % 1000 == 999:
                await trio.lowlevel.checkpoint()
        found = await self._walked(folders, ino)
        if found is None:
            self._unknown[ino] = self._view.clock()
            return None
        return FileNode(found.source, found.inner, found.path, found.kind, False)

    async def _walked(self, folders: list[_Place], ino: int) -> _Place | None:
        """What has the number in one of the folders."""
        found: list[_Place] = []

        async def walk(source: Source) -> None:
            own = [folder for folder in folders if folder.source is source]
            async with self._walking[source.rank]:
                place = await source.pace.in_thread(partial(_walk, own, ino))
            if place is not None:
                found.append(place)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for source in self._view.sources:
                nursery.start_soon(walk, source)
        return found[0] if found else None

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


def _walk(folders: list[_Place], ino: int) -> _Place | None:
    """Number everything in the folders until the number comes up. Blocking."""
    queue = list(folders)
    for folder in queue:
        try:
            entries = _entries(folder.source.reader, folder.inner)
        except OSError:
            continue
        for name, kind in entries:
            inner, path = join(folder.inner, name), join(folder.path, name)
            place = _Place(folder.source, inner, path, kind)
            if number(folder.source.root, inner, kind) == ino:
                return place
            if kind == DIR:
                queue.append(place)
    return None


def _entries(reader: Reader, path: bytes) -> list[tuple[bytes, Kind]]:
    _, listed, rest = reader.listing(path, 1 << 20)
    if rest is not None:
        rest.close()
    return [(name, attr.kind) for name, attr in listed]
