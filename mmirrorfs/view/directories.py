"""Open directories: whole listings in byte order, taken once, when a directory is opened.

Rule 1: what was opened is what is listed; a listing cannot fail or shift half-way.
Rule 2: the listing of a merged directory is used again within ``Freshness.keep`` seconds, while the index is the same.

Event loop's thread only. Functions raise OSError.
"""

import errno
from dataclasses import dataclass

import trio

from mmirrorfs.source.source import Source
from mmirrorfs.tree import Merged
from mmirrorfs.view.folders import in_byte_order, pieces
from mmirrorfs.view.memory import Listing
from mmirrorfs.view.nodes import FileNode, MergedNode, Node
from mmirrorfs.view.view import View
from mmirrorfs.view.witness import PIECE, UNKNOWN, failure

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
        return opened is not None and not self._view.is_fresh(opened.listing.taken)

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
        return await self._view.folders.listing(node)

    # Merged directories

    async def _merged(self, node: MergedNode) -> Listing:
        view = self._view
        merged = view.current(node)
        key = (_MERGED, node.path)
        kept = view.memory.listing(key)
        if kept is not None and kept.proof is merged and view.is_fresh(kept.taken):
            return kept
        taken = view.clock()
        children = await self._children(node, merged)
        gone = await self._freshen(node, [child for _, child in children if isinstance(child, FileNode)])
        listing = Listing([(name, child) for name, child in children if child not in gone], taken, merged)
        view.memory.keep(key, listing)
        return listing

    async def _children(self, node: MergedNode, merged: Merged) -> list[tuple[bytes, Node]]:
        """The nodes of everything in a merged directory, in byte order; others are served in between."""
        children: list[tuple[bytes, Node]] = []
        async for piece in in_byte_order(list(merged.children.items())):
            children += [(name, self._view.child(node, name, child)) for name, child in piece]
        return children

    async def _freshen(self, above: MergedNode, leaves: list[FileNode]) -> set[Node]:
        """Get fresh attributes for the leaves of one merged directory; returns those that are gone.

        Hardly any age is passed on: the listing is kept in its turn, and then the kernel keeps what it is told.
        """
        view, gone = self._view, set[Node]()
        limit = view.clock() - view.freshness.keep / 10
        old = [leaf for leaf in leaves if leaf.seen < limit and not leaf.opened]
        for source in view.sources:
            own = [leaf for leaf in old if leaf.source is source]
            for piece in pieces(own):
                gone.update(await self._freshen_piece(source, above.path_in(source.rank), piece))
                if len(own) > PIECE:
                    await trio.lowlevel.checkpoint()  # a local source answers without letting anybody else in
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
