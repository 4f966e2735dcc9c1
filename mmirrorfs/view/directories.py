"""Open directories: whole listings in byte order, taken once, when a directory is opened.

Rule 1: what was opened is what is listed; a listing cannot fail or shift half-way.
Rule 2: the listing of a merged directory is used again within ``Freshness.keep`` seconds, while the index is the same.

Event loop's thread only. Functions raise OSError.
"""

import errno
from dataclasses import dataclass

import trio

from mmirrorfs.tree import Merged
from mmirrorfs.view.fallback import PIECE, failure
from mmirrorfs.view.folders import in_byte_order, pieces
from mmirrorfs.view.memory import Listing
from mmirrorfs.view.nodes import FileNode, MergedNode, Node
from mmirrorfs.view.view import View

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
        key = (_MERGED, node.path)
        merged = view.current(node)
        kept = view.memory.listing(key)
        if kept is not None and kept.proof is merged and view.is_fresh(kept.taken):
            return kept
        while True:
            merged, taken = view.current(node), view.clock()
            children = await self._children(node, merged)
            leaves = [child for _, child in children if isinstance(child, FileNode)]
            await self._refresh(leaves)
            if view.current(node) is merged:  # nothing was found gone
                break
        listing = Listing(children, taken, merged)
        if all(view.is_fresh(leaf.seen) for leaf in leaves):
            view.memory.keep(key, listing)
        return listing

    async def _children(self, node: MergedNode, merged: Merged) -> list[tuple[bytes, Node]]:
        """The nodes of everything in a merged directory, in byte order; others are served in between."""
        children: list[tuple[bytes, Node]] = []
        async for piece in in_byte_order(list(merged.children.items())):
            children += [(name, self._view.child(node, name, child)) for name, child in piece]
        return children

    async def _refresh(self, leaves: list[FileNode]) -> None:
        """Have the attributes of the leaves of one merged directory asked about, as far as they are old.

        Hardly any age is passed on: the listing is kept in its turn, and then the kernel keeps what it is told.
        """
        view = self._view
        old = [leaf for leaf in leaves if not leaf.opened and view.expired(leaf, 0.9 * view.freshness.keep)]
        for piece in pieces(old):
            view.leaves.refresh(piece)
            if len(old) > PIECE:
                await trio.lowlevel.checkpoint()
