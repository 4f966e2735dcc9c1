"""Finding what an inode number stands for when nobody remembers: for NFS handles that outlived the cache or the mount.

A number is a hash, so what there is gets numbered until it comes up. Tables keep these numbers, in some 12 bytes each:
one for the index, which is in memory, and one a source for what lies in its folders, which takes a walk.

Rule 1: one walk answers all who ask. There is one at a time a source, and none for AGAIN seconds after the last; what
is not in its table by then does not exist.
Rule 2: who asks is answered as soon as the number comes up, in whichever source; the walk goes on without them.
Rule 3: a table only says where to look: what is found is listed, and shown by the index, at that moment.
Rule 4: a source that is lost proves nothing: what is found nowhere else is EIO then, and not stale.

Event loop's thread only, but for the functions that number, which are given what they need.
"""

import errno
from array import array
from collections.abc import Iterator
from functools import partial
from typing import Generic, TypeVar

import trio

from mmirrorfs.merge.inodes import numbers
from mmirrorfs.source.pace import beside, threaded
from mmirrorfs.source.reader import Listed, Reader
from mmirrorfs.source.source import Source
from mmirrorfs.tree import DIR, Merged, Rank
from mmirrorfs.view.folders import join
from mmirrorfs.view.nodes import NEVER, FileNode, Node
from mmirrorfs.view.view import View

AGAIN = 30.0
"""Seconds after a walk in which there is no other one of that source."""
GLANCE = 0.1
"""Seconds between looks at what a walk has found so far."""
BUCKETS = 1024
"""Parts of a table: one of a million numbers is searched in 20 us, and never sorted, which would stop everybody."""

P = TypeVar("P")

Folder = tuple[bytes, bytes]
"""A directory's path in its source, and in the view; one and the same object where these are equal."""


class Table(Generic[P]):
    """Where each number is. One thread may add to it while another searches it."""

    def __init__(self) -> None:
        self._numbers = [array("Q") for _ in range(BUCKETS)]
        self._indexes = [array("I") for _ in range(BUCKETS)]
        self._places: list[P] = []

    def place(self, place: P) -> int:
        """Where some numbers are going to be: for ``add``."""
        self._places.append(place)
        return len(self._places) - 1

    def add(self, ino: int, index: int) -> None:
        """Note a number; its place comes first, for a search may be under way."""
        self._indexes[ino % BUCKETS].append(index)
        self._numbers[ino % BUCKETS].append(ino)

    def find(self, ino: int) -> P | None:
        """The place of a number."""
        try:
            at = self._numbers[ino % BUCKETS].index(ino)
        except ValueError:
            return None
        return self._places[self._indexes[ino % BUCKETS][at]]


class Finder:
    """Finds the nodes of one view by number."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._contents = [_Contents(view, source) for source in view.sources]
        self._index: Merged | None = None
        self._indexed = Table[bytes]()
        self._numbering = trio.Lock()

    async def find(self, ino: int) -> Node | None:
        """The node of a number that the kernel does not hold; None where nothing has it. Raises OSError (rule 4)."""
        node = self._in_index(ino)
        if node is None and self._index is not self._view.index:
            await self._number_index()
            node = self._in_index(ino)
        return node or await self._in_folders(ino)

    def _in_index(self, ino: int) -> Node | None:
        path = self._indexed.find(ino)
        node = self._view.along(path) if path is not None else None
        return node if node is not None and node.ino == ino else None

    async def _number_index(self) -> None:
        async with self._numbering:
            index = self._view.index
            if self._index is not index:
                roots = [source.root for source in self._view.sources]
                self._indexed = await threaded(partial(_number_index, index, roots))
                self._index = index

    async def _in_folders(self, ino: int) -> Node | None:
        found: list[Node] = []
        errors: list[OSError] = []

        async def ask(contents: _Contents) -> None:
            """One source; the first that has it ends the others."""
            try:
                node = await contents.find(ino)
            except OSError as error:
                errors.append(error)
                return
            if node is not None:
                found.append(node)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for contents in self._contents:
                nursery.start_soon(ask, contents)
        if errors and not found:
            raise errors[0]
        return found[0] if found else None


class _Walk:
    """A walk through the folders of a source: what it has found, whether it is over, and how it failed."""

    def __init__(self) -> None:
        self.table = Table[Folder]()
        self.over = trio.Event()
        self.error: OSError | None = None


class _Contents:
    """What lies in the folders of one source, by number. ``_last`` is the last walk, ``_whole`` the last complete one.

    A walk that failed leaves the table of the one before it in use.
    """

    def __init__(self, view: View, source: Source) -> None:
        self._view = view
        self._source = source
        self._whole: Table[Folder] | None = None
        self._last: _Walk | None = None
        self._ended = NEVER

    async def find(self, ino: int) -> Node | None:
        """The node of a number; None where nothing has it. Raises OSError where that cannot be known."""
        folder = self._whole.find(ino) if self._whole is not None else None
        node = await self._inside(folder, ino) if folder is not None else None
        return node or await self._walked(self._walk(), ino)

    def _walk(self) -> _Walk:
        """The walk that tells (rule 1)."""
        last = self._last
        if last is None or (last.over.is_set() and self._view.clock() - self._ended >= AGAIN):
            last = self._last = _Walk()
            beside(self._run, last)
        return last

    async def _run(self, walk: _Walk) -> None:
        try:
            await self._source.run(_number_folders, self._source, self._view.index, walk.table)
            self._whole = walk.table
        except OSError as error:
            walk.error = error
        finally:
            self._ended = self._view.clock()
            walk.over.set()

    async def _walked(self, walk: _Walk, ino: int) -> Node | None:
        """Rule 2."""
        over = False
        while not over:
            over = walk.over.is_set()
            folder = walk.table.find(ino)
            if folder is not None:
                return await self._inside(folder, ino)
            with trio.move_on_after(GLANCE):
                await walk.over.wait()
        if walk.error is not None:
            raise walk.error
        return None

    async def _inside(self, folder: Folder, ino: int) -> Node | None:
        """Rule 3. Raises EIO where the source is lost, and what the folder held was never seen."""
        inner, path = folder
        leaf = self._view.along(path)
        if not isinstance(leaf, FileNode) or leaf.source is not self._source:
            return None
        if leaf.inner + path[len(leaf.path) :] != inner:
            return None
        node = leaf if leaf.path == path else FileNode(self._source, inner, path, DIR, False)
        try:
            listing = await self._view.folders.listing(self._view.known(node))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ESTALE):
                return None
            raise
        return next((entry for _, entry in listing.entries if entry.ino == ino), None)


# Numbering: blocking, in a thread


def _number_index(index: Merged, roots: list[bytes]) -> Table[bytes]:
    """The paths in the view of everything in the index."""
    table = Table[bytes]()
    for path, inners, merged in _directories(index, len(roots)):
        own = [numbers(root, inner) for root, inner in zip(roots, inners, strict=True)]
        above = numbers(b"", path)
        for name, child in merged.children.items():
            ino = above(name, DIR) if isinstance(child, Merged) else own[child.source](child.name or name, child.kind)
            table.add(ino, table.place(join(path, name)))
    return table


def _directories(index: Merged, count: int) -> Iterator[tuple[bytes, tuple[bytes, ...], Merged]]:
    """Every merged directory, with its path in the view and those in the sources, by rank."""
    waiting = [(b"", (b"",) * count, index)]
    while waiting:
        path, inners, merged = waiting.pop()
        yield path, inners, merged
        for name, child in merged.children.items():
            if isinstance(child, Merged):
                spelled = child.names or (None,) * count
                below = tuple([join(inner, own or name) for inner, own in zip(inners, spelled, strict=True)])
                waiting.append((join(path, name), below, child))


def _folders(index: Merged, count: int, rank: Rank) -> Iterator[Folder]:
    """The folders in the index that are taken from that source."""
    for path, inners, merged in _directories(index, count):
        for name, child in merged.children.items():
            if not isinstance(child, Merged) and child.kind == DIR and child.source == rank:
                shown, inner = join(path, name), join(inners[rank], child.name or name)
                yield (shown, shown) if inner == shown else (inner, shown)


def _number_folders(source: Source, index: Merged, table: Table[Folder]) -> None:
    """Everything in the folders of that source; raises SourceLost where it is lost meanwhile."""
    failed = False
    for folder in _folders(index, len(index.inputs), source.rank):
        waiting = [folder]
        while waiting:
            inner, path = above = waiting.pop()
            try:
                listed = _listing(source.reader, inner)
            except OSError:
                failed = True
                continue
            source.pace.answered()
            number, place = numbers(source.root, inner), table.place(above)
            for name, attr in listed:
                table.add(number(name, attr.kind), place)
                if attr.kind == DIR:
                    below = join(inner, name)
                    waiting.append((below, below if path is inner else join(path, name)))
    if failed:
        source.check_root()


def _listing(reader: Reader, path: bytes) -> list[Listed]:
    _, listed, rest = reader.listing(path, 1 << 20)
    if rest is not None:
        rest.close()
    return listed
