"""Open directories: whole listings in byte order, taken once, when a directory is opened.

Rule 1: what was opened is what is listed; a listing cannot fail or shift half-way.
Rule 2: a listing that still stands is used again: within ``Freshness.keep`` seconds, and on a local source only
while the directory's stamp (dev, ino, mtime, ctime) is the same.
Rule 3: a large directory is worked off in pieces, so that others are served in between.

Event loop's thread only. Functions raise OSError.
"""

import errno
import heapq
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from typing import TypeVar

import trio

from mmirrorfs.source.reader import Listed
from mmirrorfs.source.source import Source
from mmirrorfs.tree import Attributes
from mmirrorfs.view.memory import Listing
from mmirrorfs.view.nodes import FileNode, MergedNode, Node
from mmirrorfs.view.view import View
from mmirrorfs.view.witness import PIECE, UNKNOWN, failure

T = TypeVar("T")

RUN = 4096
"""Names that are sorted at once: 2 ms."""

_MERGED = -1
"""Stands for a source's rank in the key of a merged directory's listing."""


@dataclass(slots=True)
class _Opened:
    ino: int
    listing: Listing
    begun: bool = False


class Directories:
    """The open directories of a view, by handle."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._open: dict[int, _Opened] = {}
        self._last = 0

    async def open(self, ino: int) -> int:
        """Take the listing of a directory; returns its handle."""
        listing = await self._take(ino)
        self._last += 1
        self._open[self._last] = _Opened(ino, listing)
        return self._last

    async def entries(self, handle: int, start: int) -> list[tuple[bytes, Node]]:
        """The names and nodes of an open directory, in byte order; the list does not change.

        Read from its beginning a second time, as rewinddir(3) does, the directory is listed anew.
        """
        opened = self._open.get(handle)
        if opened is None:
            raise failure(errno.EBADF)
        if start == 0:
            if opened.begun:
                opened.listing = await self._take(opened.ino)
            opened.begun = True
        return opened.listing.entries

    def is_late(self, handle: int) -> bool:
        """Whether what was opened is older by now than anything that the kernel may be told to keep."""
        opened = self._open.get(handle)
        return opened is not None and not self._fresh(opened.listing)

    def release(self, handle: int) -> None:
        """The kernel has no use for the handle any more. Never raises."""
        self._open.pop(handle, None)

    def __len__(self) -> int:
        return len(self._open)

    async def _take(self, ino: int) -> Listing:
        node = self._view.node(ino)
        if isinstance(node, MergedNode):
            return await self._merged(node)
        if not isinstance(node, FileNode):
            raise failure(errno.ENOTDIR)
        return await self._inside(node)

    def _fresh(self, listing: Listing | None) -> bool:
        return listing is not None and self._view.clock() - listing.taken < self._view.freshness.keep

    # Merged directories

    async def _merged(self, node: MergedNode) -> Listing:
        view = self._view
        merged = view.current(node)
        key = (_MERGED, node.path)
        kept = view.memory.listing(key)
        if kept is not None and kept.proof is merged and self._fresh(kept):
            return kept
        taken = view.clock()
        children = [(name, view.child(node, name, merged.children[name])) for name in sorted(merged.children)]
        gone = await self._freshen(node, [child for _, child in children if isinstance(child, FileNode)])
        listing = Listing([(name, child) for name, child in children if child not in gone], taken, merged)
        view.memory.keep(key, listing)
        return listing

    async def _freshen(self, above: MergedNode, leaves: list[FileNode]) -> set[Node]:
        """Get fresh attributes for the leaves of one merged directory; returns those that are gone.

        Hardly any age is passed on: the listing is kept in its turn, and then the kernel keeps what it is told.
        """
        view, gone = self._view, set[Node]()
        limit = view.clock() - view.freshness.keep / 10
        old = [leaf for leaf in leaves if leaf.seen < limit and not leaf.opened]
        for source in view.sources:
            own = [leaf for leaf in old if leaf.source is source]
            for piece in _pieces(own):
                gone.update(await self._freshen_piece(source, above.path_in(source.rank), piece))
        return gone

    async def _freshen_piece(self, source: Source, directory: bytes, leaves: list[FileNode]) -> list[Node]:
        names = [leaf.inner.rpartition(b"/")[2] for leaf in leaves]
        found = await self._view.witness.several(source, directory, names)
        gone: list[Node] = []
        for leaf, attr in zip(leaves, found, strict=True):
            attr = self._view.from_above(leaf) if attr is UNKNOWN else attr
            if attr is not None and attr.kind == leaf.kind:
                self._view.saw(leaf, attr)
            else:
                gone.append(leaf)
                self._view.witness.surprised(source)
        return gone

    # Folders and what is in them

    async def _inside(self, node: FileNode) -> Listing:
        view, source = self._view, node.source
        key = (source.rank, node.inner)
        kept = view.memory.listing(key)
        if kept is not None and self._fresh(kept) and (not source.local or await self._stands(node, kept)):
            return kept
        taken = view.clock()
        own, listed, rest = await view.witness.listing(source, node.inner)
        try:
            ended = rest is None
            while not ended:
                assert rest is not None
                await trio.lowlevel.checkpoint()
                more, ended = await source.run(rest.read, PIECE)
                listed += more
        finally:
            if rest is not None:
                rest.close()
        entries: list[tuple[bytes, Node]] = []
        async for piece in _in_byte_order(listed):
            entries += [(name, view.inside(node, name, attr)) for name, attr in piece]
            if len(listed) > PIECE:
                await trio.lowlevel.checkpoint()
        listing = Listing(entries, taken, own.stamp if own is not None else None)
        if own is not None:
            view.memory.keep(key, listing)
        return listing

    async def _stands(self, node: FileNode, kept: Listing) -> bool:
        """Whether the directory's stamp is the one that was listed. A source that does not answer is asked again."""
        try:
            own: Attributes = await node.source.run(node.source.reader.stat, node.inner)
        except OSError:
            return False
        return own.stamp == kept.proof


async def _in_byte_order(listed: list[Listed]) -> AsyncIterator[list[Listed]]:
    """Sorted, in pieces. 100,000 names take too long to be sorted at once: runs are sorted, then merged."""
    by_name = itemgetter(0)
    if len(listed) <= RUN:
        listed.sort(key=by_name)
        for piece in _pieces(listed):
            yield piece
        return
    runs = []
    for start in range(0, len(listed), RUN):
        runs.append(sorted(listed[start : start + RUN], key=by_name))
        await trio.lowlevel.checkpoint()
    merged = heapq.merge(*runs, key=by_name)
    while piece := list(islice(merged, PIECE)):
        yield piece


def _pieces(whole: list[T]) -> Iterator[list[T]]:
    for start in range(0, len(whole), PIECE):
        yield whole[start : start + PIECE]
