"""Finding what an inode number stands for when the kernel has forgotten it: for NFS handles that outlived the cache.

A number is a hash, so what is known is numbered until it comes up: the index, and what is known of the sources below
it. No source is asked: what nobody knows of is stale. Numbers are kept in tables, in some 12 bytes each, once somebody
has asked for one, and the tables are made anew when a number is not in them, AGAIN seconds later at the earliest.

Event loop's thread only, but for the functions that number, which are given what they need.
"""

import errno
from array import array
from collections.abc import Callable, Iterator
from functools import partial

import trio

from mmirrorfs.attributes import DIR
from mmirrorfs.listing import Listing
from mmirrorfs.merge.inodes import numbers
from mmirrorfs.source.fetch import failure
from mmirrorfs.source.freshness import NEVER
from mmirrorfs.source.pace import threaded
from mmirrorfs.source.walks import join
from mmirrorfs.tree import Merged
from mmirrorfs.view.nodes import FileNode, Node
from mmirrorfs.view.view import View

AGAIN = 5.0
"""Seconds from one numbering to the next: each is a second's work for a million entries."""
PATIENCE = 30.0
"""Seconds that is waited for what is not known yet; then it cannot be known, which is EIO, and not stale."""
GLANCE = 0.5
"""Seconds between looks at what is known, while that grows."""
AGAIN_FILLING = 2.0
"""The same while more and more becomes known."""
BUCKETS = 1024
"""Parts of a table: one of a million numbers is searched in 20 us, and never sorted, which would stop everybody."""

Inside = tuple[int, bytes, Listing]
"""A source's rank, the path of a directory in it, and what is in that."""
Place = tuple[int, bytes, bytes]
"""A source's rank, and the path of a directory there and in the view; rank -1 is for a path of the index alone."""


class Table:
    """Where each number is: at a path of the view, or at one of a source."""

    def __init__(self) -> None:
        self._numbers = [array("Q") for _ in range(BUCKETS)]
        self._indexes = [array("I") for _ in range(BUCKETS)]
        self._places: list[Place] = []

    def place(self, place: Place) -> int:
        """Where some numbers are going to be."""
        self._places.append(place)
        return len(self._places) - 1

    def add(self, ino: int, index: int) -> None:
        """Note a number."""
        self._indexes[ino % BUCKETS].append(index)
        self._numbers[ino % BUCKETS].append(ino)

    def find(self, ino: int) -> Place | None:
        """The place of a number."""
        try:
            at = self._numbers[ino % BUCKETS].index(ino)
        except ValueError:
            return None
        return self._places[self._indexes[ino % BUCKETS][at]]


class HandleResolver:
    """Finds the nodes of one view by number. ``is_filling``: whether more will soon be known, which is waited for."""

    def __init__(self, view: View, is_filling: Callable[[], bool]) -> None:
        self._view = view
        self._is_filling = is_filling
        self._table = Table()
        self._made = NEVER
        self._is_whole = False
        self._making = trio.Lock()

    async def find(self, ino: int) -> Node | None:
        """The node of a number that the kernel does not hold; None where nothing that is known has it."""
        until = self._view.freshness.clock() + PATIENCE
        while True:
            is_filling, node = self._is_filling(), self._in_table(ino)
            if node is None:
                await self._number()
                node = self._in_table(ino)
            if node is not None or not is_filling:
                return node
            if self._view.freshness.clock() > until:
                raise failure(errno.EIO)
            await trio.sleep(GLANCE)

    def _in_table(self, ino: int) -> Node | None:
        place = self._table.find(ino)
        if place is None:
            return None
        rank, source_path, path = place
        node = self._view.inodes.along(path) if rank < 0 else self._inside(rank, source_path, path, ino)
        return node if node is not None and node.ino == ino else None

    def _inside(self, rank: int, directory: bytes, path: bytes, ino: int) -> Node | None:
        """What has that number in a directory of a source, if the view shows it still."""
        leaf, listing = self._view.inodes.along(path), self._view.known[rank].listing(directory)
        if listing is None or not isinstance(leaf, FileNode) or leaf.source.rank != rank:
            return None
        if leaf.source_path + path[len(leaf.path) :] != directory:
            return None
        number = numbers(leaf.source.root, directory)
        for name, attr in listing.entries():
            if number(name, attr.kind) == ino:
                source_path, shown = join(directory, name), join(path, name)
                return self._view.inodes.known(FileNode(leaf.source, source_path, shown, attr.kind, False))
        return None

    async def _number(self) -> None:
        async with self._making:
            is_whole = not self._is_filling()
            pause = AGAIN_FILLING if not is_whole else AGAIN if self._is_whole else 0
            if self._view.freshness.clock() - self._made < pause:
                return
            self._is_whole = is_whole
            roots = [source.root for source in self._view.sources]
            inside = [
                (rank, path, listing)
                for rank, known in enumerate(self._view.known)
                for path, listing in known.listings.below.items()
            ]
            self._table = await threaded(partial(_table, self._view.inodes.index, roots, inside))
            self._made = self._view.freshness.clock()


# Numbering: blocking, in a thread


def _table(index: Merged, roots: list[bytes], inside: list[Inside]) -> Table:
    table, folders = Table(), dict[tuple[int, bytes], bytes]()
    for path, inners, merged in _directories(index, len(roots)):
        own = [numbers(root, source_path) for root, source_path in zip(roots, inners, strict=True)]
        above = numbers(b"", path)
        for name, child in merged.children.items():
            shown = join(path, name)
            if isinstance(child, Merged):
                ino = above(name, DIR)
            else:
                ino = own[child.source](child.name or name, child.kind)
                folders[child.source, join(inners[child.source], child.name or name)] = shown
            table.add(ino, table.place((-1, b"", shown)))
    for rank, source_path, listing in inside:
        folder = next((one for one in _ancestors(source_path) if (rank, one) in folders), None)
        if folder is not None:
            number = numbers(roots[rank], source_path)
            place = table.place((rank, source_path, folders[rank, folder] + source_path[len(folder) :]))
            for name, kind in listing.kinds():
                table.add(number(name, kind), place)
    return table


def _ancestors(path: bytes) -> Iterator[bytes]:
    """The path, and those of all directories that it lies in."""
    while path:
        yield path
        path = path.rpartition(b"/")[0]


def _directories(index: Merged, count: int) -> Iterator[tuple[bytes, tuple[bytes, ...], Merged]]:
    """Every merged directory, with its path in the view and those in the sources, by rank."""
    waiting = [(b"", (b"",) * count, index)]
    while waiting:
        path, inners, merged = waiting.pop()
        yield path, inners, merged
        for name, child in merged.children.items():
            if isinstance(child, Merged):
                spelled = child.names or (None,) * count
                below = tuple(
                    [join(source_path, own or name) for source_path, own in zip(inners, spelled, strict=True)]
                )
                waiting.append((join(path, name), below, child))
