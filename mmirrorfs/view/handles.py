"""Finds the node of an inode number that the kernel has forgotten: NFS handles outlive its inode cache.

- Inode numbers are hashes, so the index and all cached listings are numbered into a table, some 12 bytes an entry.
- It is built on the first request, and again if a number is not in it, at most every REBUILD_INTERVAL seconds.
- No source is asked: a number of nothing that is cached is stale.

Event loop's thread only, except for the functions that build a table. Raises OSError.
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
from mmirrorfs.source.threads import threaded
from mmirrorfs.tree import Merged, join
from mmirrorfs.view.nodes import FileNode, Node
from mmirrorfs.view.view import View

REBUILD_INTERVAL = 5.0
"""Seconds between two builds of the table: a million entries take a second."""
FILLING_INTERVAL = 2.0
"""The same while the cache is being filled."""
PATIENCE = 30.0
"""Seconds to wait for the cache to be filled; then the error is EIO, not ESTALE."""
POLL_INTERVAL = 0.5
"""Seconds between two searches meanwhile."""
BUCKETS = 1024
"""Buckets of a table: a search among a million numbers takes 20 us, without a sort, which would block the loop."""

Cached = tuple[int, bytes, Listing]
"""A source's rank, the path of a directory in it, and its listing."""
Place = tuple[int, bytes, bytes]
"""A source's rank, and the path of a directory in it and in the view; rank -1 for a path of the index itself."""


class Table:
    """The place of each inode number."""

    def __init__(self) -> None:
        self._numbers = [array("Q") for _ in range(BUCKETS)]
        self._indexes = [array("I") for _ in range(BUCKETS)]
        self._places: list[Place] = []

    def place(self, place: Place) -> int:
        """Add a place; returns its index for ``add``."""
        self._places.append(place)
        return len(self._places) - 1

    def add(self, ino: int, index: int) -> None:
        """Add a number."""
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
    """Finds the nodes of one view by inode number. While ``is_filling()``, a missing number is waited for."""

    def __init__(self, view: View, is_filling: Callable[[], bool]) -> None:
        self._view = view
        self._is_filling = is_filling
        self._table = Table()
        self._built_at = NEVER
        self._is_complete = False
        self._building = trio.Lock()

    async def find(self, ino: int) -> Node | None:
        """The node of an inode number that the kernel does not hold; None if it is stale. Raises EIO."""
        deadline = self._view.freshness.clock() + PATIENCE
        while True:
            is_filling, node = self._is_filling(), self._in_table(ino)
            if node is None:
                await self._build()
                node = self._in_table(ino)
            if node is not None or not is_filling:
                return node
            if self._view.freshness.clock() > deadline:
                raise failure(errno.EIO)
            await trio.sleep(POLL_INTERVAL)

    def _in_table(self, ino: int) -> Node | None:
        place = self._table.find(ino)
        if place is None:
            return None
        rank, source_path, path = place
        node = self._view.inodes.node_at(path) if rank < 0 else self._below_the_depth(rank, source_path, path, ino)
        return node if node is not None and node.ino == ino else None

    def _below_the_depth(self, rank: int, directory: bytes, path: bytes, ino: int) -> Node | None:
        """The node of that number in a directory of a source, if the view still shows it."""
        leaf, listing = self._view.inodes.node_at(path), self._view.known[rank].listing(directory)
        if listing is None or not isinstance(leaf, FileNode) or leaf.source.rank != rank:
            return None
        if leaf.source_path + path[len(leaf.path) :] != directory:
            return None
        number = numbers(leaf.source.root, directory)
        for name, attr in listing.entries():
            if number(name, attr.kind) == ino:
                source_path, shown = join(directory, name), join(path, name)
                return self._view.inodes.interned(FileNode(leaf.source, source_path, shown, attr.kind, False))
        return None

    async def _build(self) -> None:
        async with self._building:
            is_complete = not self._is_filling()
            interval = FILLING_INTERVAL if not is_complete else REBUILD_INTERVAL if self._is_complete else 0
            if self._view.freshness.clock() - self._built_at < interval:
                return
            self._is_complete = is_complete
            roots = [source.root for source in self._view.sources]
            listings = [
                (rank, path, listing)
                for rank, known in enumerate(self._view.known)
                for path, listing in known.listings.below.items()
            ]
            self._table = await threaded(partial(_table, self._view.inodes.index, roots, listings))
            self._built_at = self._view.freshness.clock()


# Building a table: blocking, in a thread


def _table(index: Merged, roots: list[bytes], listings: list[Cached]) -> Table:
    table, folders = Table(), dict[tuple[int, bytes], bytes]()
    for path, source_paths, merged in _directories(index, len(roots)):
        own = [numbers(root, source_path) for root, source_path in zip(roots, source_paths, strict=True)]
        above = numbers(b"", path)
        for name, child in merged.children.items():
            shown = join(path, name)
            if isinstance(child, Merged):
                ino = above(name, DIR)
            else:
                ino = own[child.source](child.name or name, child.kind)
                folders[child.source, join(source_paths[child.source], child.name or name)] = shown
            table.add(ino, table.place((-1, b"", shown)))
    for rank, source_path, listing in listings:
        folder = next((one for one in _ancestors(source_path) if (rank, one) in folders), None)
        if folder is not None:
            number = numbers(roots[rank], source_path)
            place = table.place((rank, source_path, folders[rank, folder] + source_path[len(folder) :]))
            for name, kind in listing.kinds():
                table.add(number(name, kind), place)
    return table


def _ancestors(path: bytes) -> Iterator[bytes]:
    """The path and all its parents."""
    while path:
        yield path
        path = path.rpartition(b"/")[0]


def _directories(index: Merged, count: int) -> Iterator[tuple[bytes, tuple[bytes, ...], Merged]]:
    """Every merged directory, with its path in the view and those in the sources, by rank."""
    queue = [(b"", (b"",) * count, index)]
    while queue:
        path, source_paths, merged = queue.pop()
        yield path, source_paths, merged
        for name, child in merged.children.items():
            if isinstance(child, Merged):
                spelled = child.names or (None,) * count
                below = tuple([join(above, own or name) for above, own in zip(source_paths, spelled, strict=True)])
                queue.append((join(path, name), below, child))
