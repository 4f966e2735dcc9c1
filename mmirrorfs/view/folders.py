"""Folders and what is in them: listings in byte order, and names looked up.

Rule 1: a listing that still stands is used again: within ``Freshness.keep`` seconds, and on a local source only
while the directory's stamp (dev, ino, mtime, ctime) is the same.
Rule 2: the first name asked for in a folder of a local source brings its whole listing, for the others will be asked
for too: that takes 45 us, and each name by itself 10. Where the name is not in it only the names are taken, which
takes 10: they answer for the next one too. A folder of more than PIECE names is spared that.
Rule 3: a large directory is worked off in pieces, so that others are served in between.

Event loop's thread only. Functions raise OSError.
"""

import errno
import heapq
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, TypeVar

import trio

from mmirrorfs.merge.inodes import numbers
from mmirrorfs.source.reader import DirectoryReader, Listed
from mmirrorfs.tree import Attributes
from mmirrorfs.view.memory import Key, Listing, pack
from mmirrorfs.view.nodes import FileNode, Node
from mmirrorfs.view.witness import PIECE, failure

if TYPE_CHECKING:
    from mmirrorfs.view.view import View

T = TypeVar("T")

_BY_NAME = itemgetter(0)

RUN = 4096
"""Names that are sorted at once: 2 ms."""
LONGEST = 255
"""Bytes: few sources take a longer name (NAME_MAX), so each is asked for by itself, and the error says so."""
NOTED = 1000
"""Folders of which the names alone are kept."""


class Folders:
    """The insides of the folders of one view."""

    def __init__(self, view: "View") -> None:
        self._view = view
        self._names: dict[Key, tuple[float, frozenset[bytes] | None]] = {}

    async def lookup(self, above: FileNode, name: bytes) -> FileNode:
        """The node of a name in a folder. ENOENT where there is none."""
        source = above.source
        if source.reader.excluded(name):
            raise failure(errno.ENOENT)
        kept = None
        if len(name) <= LONGEST:
            kept = self._kept(above) or await self._at_once(above, name)
        if kept is None:
            attr = await self._view.witness.attributes(source, join(above.inner, name))
            return self._inside(above, name, attr)
        found = kept.find(name)
        if found is None:
            raise failure(errno.ENOENT)
        known = self._view.nodes.get(found.ino) or found
        assert isinstance(known, FileNode)
        return known

    async def listing(self, node: FileNode) -> Listing:
        """What is in a folder."""
        kept = self._kept(node)
        if kept is not None and (not node.source.local or await self._stands(node, kept)):
            return kept
        taken = self._view.clock()
        own, listed, rest = await self._view.witness.listing(node.source, node.inner)
        if rest is not None:
            listed += await self._rest(node, rest)
        return await self._made(node, own, listed, taken)

    def _kept(self, node: FileNode) -> Listing | None:
        """The listing that was taken last, while it is fresh."""
        kept = self._view.memory.listing((node.source.rank, node.inner))
        return kept if kept is not None and self._view.is_fresh(kept.taken) else None

    async def _at_once(self, node: FileNode, name: bytes) -> Listing | None:
        """The listing of a small folder of a local source that holds ``name`` (rule 2); None for all others.

        ENOENT where such a folder does not hold it.
        """
        source, key = node.source, (node.source.rank, node.inner)
        if not source.local or source.lost is not None:
            return None
        taken, names = self._names.get(key, (-1e9, None))
        if not self._view.is_fresh(taken) or (names is not None and name in names):
            taken = self._view.clock()
            try:
                found = await source.run(source.reader.listing_with, node.inner, PIECE, name)
            except OSError:  # it may be one to pass through only; each name is asked for by itself, and tells
                return None
            own, names, listed = found or (None, None, None)
            if listed is not None:
                return await self._made(node, own, listed, taken)
            self._note(key, taken, names)
        if names is not None:
            raise failure(errno.ENOENT)
        return None

    def _note(self, key: Key, taken: float, names: frozenset[bytes] | None) -> None:
        """Take note of the names in a folder, or that they are too many."""
        if len(self._names) > NOTED:
            self._names = {key: noted for key, noted in self._names.items() if self._view.is_fresh(noted[0])}
        if len(self._names) > NOTED:
            self._names.clear()
        self._names[key] = taken, names

    async def _rest(self, node: FileNode, rest: DirectoryReader) -> list[Listed]:
        listed: list[Listed] = []
        try:
            ended = False
            while not ended:
                await trio.lowlevel.checkpoint()
                more, ended = await node.source.run(rest.read, PIECE)
                listed += more
        finally:
            rest.close()
        return listed

    async def _made(self, node: FileNode, own: Attributes | None, listed: list[Listed], taken: float) -> Listing:
        """The listing of what was read; kept, unless it was what is remembered of a source that does not answer."""
        packed = b""
        if len(listed) <= PIECE:
            listed.sort(key=_BY_NAME)
            entries = self._all_inside(node, listed)
        else:
            entries, parts = [], list[bytes]()
            large = self._view.memory.is_large(len(listed))
            async for piece in in_byte_order(listed):
                entries += self._all_inside(node, piece)
                if large:
                    parts.append(pack(piece))
            packed = b"".join(parts)
        listing = Listing(entries, taken, own.stamp if own is not None else None, packed)
        if own is not None:
            key = (node.source.rank, node.inner)
            self._view.memory.keep(key, listing)
            self._names.pop(key, None)
        return listing

    def _inside(self, above: FileNode, name: bytes, attr: Attributes) -> FileNode:
        """The node of a path inside a folder, with these attributes."""
        inner = join(above.inner, name)
        path = inner if above.path is above.inner else join(above.path, name)
        view = self._view
        return view.identified(view.known(FileNode(above.source, inner, path, attr.kind, False)), attr)

    def _all_inside(self, above: FileNode, listed: Sequence[Listed]) -> list[tuple[bytes, Node]]:
        """The nodes of several paths inside a folder: the same as one by one, quicker where the kernel holds none."""
        found: list[tuple[bytes, Node]] = []
        source, now, told = above.source, self._view.clock(), time.time_ns()
        number, known, same = numbers(source.space, above.inner), self._view.nodes.get, above.path is above.inner
        prefix = join(above.inner, b"")
        for name, attr in listed:
            kind = attr.kind
            ino = number(name, kind)
            if known(ino) is not None:
                found.append((name, self._inside(above, name, attr)))
                continue
            inner = prefix + name
            node = FileNode(source, inner, inner if same else join(above.path, name), kind, False, ino=ino)
            node.told, node.attr, node.seen = (attr, told), attr, now
            found.append((name, node))
        return found

    async def _stands(self, node: FileNode, kept: Listing) -> bool:
        """Whether the directory's stamp is the one that was listed. A source that does not answer is asked again."""
        try:
            own: Attributes = await node.source.run(node.source.reader.stat, node.inner)
        except OSError:
            return False
        return own.stamp == kept.proof


async def in_byte_order(named: list[tuple[bytes, T]]) -> AsyncIterator[list[tuple[bytes, T]]]:
    """Sorted by name, in pieces, after each of which others are served.

    100,000 names take too long to be sorted at once: runs are sorted, then merged.
    """
    if len(named) <= PIECE:
        yield sorted(named, key=_BY_NAME)
        return
    runs = []
    for start in range(0, len(named), RUN):
        runs.append(sorted(named[start : start + RUN], key=_BY_NAME))
        await trio.lowlevel.checkpoint()
    merged = heapq.merge(*runs, key=_BY_NAME)
    while piece := list(islice(merged, PIECE)):
        yield piece
        await trio.lowlevel.checkpoint()


def pieces(whole: list[T]) -> Iterator[list[T]]:
    """A list in parts of PIECE."""
    for start in range(0, len(whole), PIECE):
        yield whole[start : start + PIECE]


def join(above: bytes, name: bytes) -> bytes:
    """The path of a name in a directory."""
    return above + b"/" + name if above else name
