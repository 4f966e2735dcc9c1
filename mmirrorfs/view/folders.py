"""Folders and what is in them: listings in byte order, and names looked up.

Rule 1: a listing that still stands is used again: within ``Freshness.keep`` seconds, and on a local source only
while the directory's stamp (dev, ino, mtime, ctime) is the same.
Rule 2: directories are read in threads: one that is in memory by name need not be there with its contents.
Rule 3: the first name asked for in a folder of a local source brings its whole listing, for the others will be asked
for too. In a folder of more than PIECE names, and on any other source, each name is asked for by itself.
Rule 4: a large directory is worked off in pieces, so that others are served in between.
Rule 5: where a folder turns out to be gone, that is reported, and the kernel looks its path up again.

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
from mmirrorfs.source.source import ABSENT
from mmirrorfs.tree import Attributes
from mmirrorfs.view.fallback import PIECE, failure
from mmirrorfs.view.memory import Key, Listing, pack
from mmirrorfs.view.nodes import NEVER, FileNode, Node

if TYPE_CHECKING:
    from mmirrorfs.view.view import View

T = TypeVar("T")

_BY_NAME = itemgetter(0)

RUN = 4096
"""Names that are sorted at once: 2 ms."""
LONGEST = 255
"""Bytes: few sources take a longer name (NAME_MAX), so each is asked for by itself, and the error says so."""
NOTED = 1000
"""Folders that are known to be large, to be spared rule 3."""


class Folders:
    """The insides of the folders of one view."""

    def __init__(self, view: "View") -> None:
        self._view = view
        self._large: dict[Key, float] = {}

    async def lookup(self, above: FileNode, name: bytes) -> FileNode:
        """The node of a name in a folder. ENOENT where there is none."""
        if above.source.reader.excluded(name):
            raise failure(errno.ENOENT)
        kept = None
        if len(name) <= LONGEST:
            kept = self._kept(above) or await self._at_once(above)
        if kept is None:
            return await self._by_itself(above, name)
        found = kept.find(name)
        if found is None:
            raise failure(errno.ENOENT)
        known = self._view.nodes.get(found.ino) or found
        assert isinstance(known, FileNode)
        return known if known.attr.is_known else await self._by_itself(above, name)

    async def _by_itself(self, above: FileNode, name: bytes) -> FileNode:
        """A name that the source is asked for."""
        try:
            attr, fresh = await self._view.fallback.attributes(above.source, join(above.inner, name))
        except FileNotFoundError:
            raise await self._absent(above) from None
        return self._inside(above, name, attr, fresh)

    async def _absent(self, above: FileNode) -> OSError:
        """The error for a name that is not in a folder: rule 5, if the folder itself is not there."""
        source = above.source
        if source.lost is not None:
            return failure(errno.ENOENT)
        try:
            try:
                source.cached(source.reader.stat, above.inner)
            except BlockingIOError:
                await source.run(source.reader.stat, above.inner)
        except OSError:
            return await self._view.gone(above)
        return failure(errno.ENOENT)

    async def listing(self, node: FileNode) -> Listing:
        """What is in a folder."""
        kept = self._kept(node)
        if kept is not None and (not node.source.is_local(node.inner) or await self._stands(node, kept)):
            return kept
        taken = self._view.clock()
        try:
            own, listed, rest, fresh = await self._view.fallback.listing(node.source, node.inner)
        except OSError as error:
            raise await self._view.gone(node) if error.errno in ABSENT else error from None
        if rest is not None:
            listed += await self._rest(node, rest)
        return await self._made(node, own, listed, taken if fresh else NEVER)

    def _kept(self, node: FileNode) -> Listing | None:
        """The listing that was taken last, while it is fresh."""
        kept = self._view.memory.listing((node.source.rank, node.inner))
        return kept if kept is not None and self._view.is_fresh(kept.taken) else None

    async def _at_once(self, node: FileNode) -> Listing | None:
        """The listing of a small folder of a local source (rule 3); None for all others, and while the source hangs."""
        source, key = node.source, (node.source.rank, node.inner)
        if not source.is_local(node.inner) or source.lost is not None:
            return None
        if self._view.is_fresh(self._large.get(key, NEVER)):
            return None
        taken = self._view.clock()
        try:
            own, listed, rest, fresh = await self._view.fallback.listing(source, node.inner)
        except OSError:  # it may be one to pass through only; each name is asked for by itself, and tells
            return None
        if not fresh or own is None:
            return None
        if rest is None:
            return await self._made(node, own, listed, taken)
        rest.close()
        self._note_large(key, taken)
        return None

    def _note_large(self, key: Key, taken: float) -> None:
        if len(self._large) > NOTED:
            self._large = {key: noted for key, noted in self._large.items() if self._view.is_fresh(noted)}
        if len(self._large) > NOTED:
            self._large.clear()
        self._large[key] = taken

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
            entries = self._all_inside(node, listed, taken)
        else:
            entries, parts = [], list[bytes]()
            large = self._view.memory.is_large(len(listed))
            async for piece in in_byte_order(listed):
                entries += self._all_inside(node, piece, taken)
                if large:
                    parts.append(pack(piece))
            packed = b"".join(parts)
        listing = Listing(entries, taken, own.stamp if own is not None else None, packed)
        if own is not None:
            self._view.memory.keep((node.source.rank, node.inner), listing)
        return listing

    def _inside(self, above: FileNode, name: bytes, attr: Attributes, fresh: bool) -> FileNode:
        """The node of a path inside a folder, with these attributes."""
        inner = join(above.inner, name)
        path = inner if above.path is above.inner else join(above.path, name)
        view = self._view
        return view.identified(view.known(FileNode(above.source, inner, path, attr.kind, False)), attr, fresh)

    def _all_inside(self, above: FileNode, listed: Sequence[Listed], taken: float) -> list[tuple[bytes, Node]]:
        """The nodes of several paths inside a folder: the same as one by one, quicker where the kernel holds none."""
        found: list[tuple[bytes, Node]] = []
        source, wall, fresh = above.source, time.time_ns(), self._view.is_fresh(taken)
        number, known, same = numbers(source.root, above.inner), self._view.nodes.get, above.path is above.inner
        prefix = join(above.inner, b"")
        for name, attr in listed:
            kind = attr.kind
            ino = number(name, kind)
            if known(ino) is not None and attr.is_known:
                found.append((name, self._inside(above, name, attr, fresh)))
                continue
            inner = prefix + name
            node = FileNode(source, inner, inner if same else join(above.path, name), kind, False, ino=ino)
            if attr.is_known:
                node.proof, node.attr, node.seen = (attr, wall), attr, taken
            found.append((name, node))
        return found

    async def _stands(self, node: FileNode, kept: Listing) -> bool:
        """Whether the directory's stamp is the one that was listed. A source that does not answer is asked again."""
        try:
            attr, fresh = await self._view.fallback.attributes(node.source, node.inner)
        except OSError:
            return False
        return attr.stamp == kept.proof or not fresh


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
