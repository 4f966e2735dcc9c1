"""Directory handles: a snapshot of the listing in byte order, made by opendir(3).

Rule 1: readdir(3) reads the snapshot, so a listing cannot fail or shift half-way. The offset is the position in it.
Rule 2: a large directory is returned in pieces, and other requests are served in between.

Event loop's thread only. Functions raise OSError.
"""

import errno
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import trio

from mmirrorfs.attributes import Attributes
from mmirrorfs.listing import Listing
from mmirrorfs.merge.inodes import numbers
from mmirrorfs.source.fetch import LARGE, failure
from mmirrorfs.source.freshness import NEVER
from mmirrorfs.source.singles import Answer
from mmirrorfs.tree import Child, join
from mmirrorfs.view.nodes import FileNode, MergedNode, Node
from mmirrorfs.view.replies import Listed
from mmirrorfs.view.view import View

SMALL = 1 << 16
"""Bytes: a larger listing is not compared by content with the one that has replaced it in the cache."""
PIECE = 256
"""Entries unpacked at once, enough for a few replies."""

Entry = tuple[bytes, Node, Attributes | None, float]
"""Name, node, attributes (None: removed since), and when the attributes were valid, in monotonic seconds."""


@dataclass(slots=True)
class _Opened:
    ino: int
    listing: "_Inside | _Merged"
    begun: bool = False


class Directories:
    """All directory handles of a view."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._open: dict[int, _Opened] = {}
        self._last = 0

    async def open(self, ino: int) -> int:
        """Open a directory: take a snapshot of its listing. Returns the handle."""
        before, _ = self._view.replies.last_answer(self._view.inodes.node(ino))
        listing = await self._take(ino)
        attr, _ = self._view.replies.last_answer(self._view.inodes.node(ino))
        listed = self._view.replies.listed.setdefault(ino, Listed(before))
        listed.attr, listed.handles = attr if attr.is_known else listed.attr, listed.handles + 1
        self._last += 1
        self._open[self._last] = _Opened(ino, listing)
        return self._last

    async def entries(self, handle: int, start: int) -> Iterator[Entry]:
        """Iterate over the entries of an open directory from offset ``start``, in byte order.

        Reading from offset 0 a second time, as after rewinddir(3), takes a new snapshot. EBADF for an unknown handle.
        """
        opened = self._open.get(handle)
        if opened is None:
            raise failure(errno.EBADF)
        if start == 0:
            if opened.begun:
                opened.listing = await self._take(opened.ino)
            opened.begun = True
        return opened.listing.entries(start)

    def release(self, handle: int) -> None:
        """Close the handle. Never raises."""
        opened = self._open.pop(handle, None)
        if opened is not None:
            listed = self._view.replies.listed[opened.ino]
            listed.handles -= 1
            if not listed.handles:
                del self._view.replies.listed[opened.ino]

    def __len__(self) -> int:
        return len(self._open)

    async def _take(self, ino: int) -> "_Inside | _Merged":
        node = self._view.inodes.node(ino)
        if isinstance(node, MergedNode):
            return await self._merged(node)
        if not isinstance(node, FileNode):
            raise failure(errno.ENOTDIR)
        return _Inside(self._view, node, await self._view.revalidation.listing(node))

    async def _merged(self, node: MergedNode) -> "_Merged":
        """List a directory above the depth; outdated leaves are revalidated with one call per source."""
        while True:
            merged = self._view.inodes.current(node)
            children = list(merged.children.items())
            for start in range(0, len(children), LARGE):
                if start:
                    await trio.lowlevel.checkpoint()
                self._view.revalidation.leaves(node, children[start : start + LARGE])
            if self._view.inodes.current(node) is merged:  # no leaf has turned out to be removed
                return _Merged(self._view, node, sorted(children) if len(children) > 1 else children)


class _Inside:
    """The listing of a folder at the depth, or of a directory below one."""

    def __init__(self, view: View, above: FileNode, listing: Listing) -> None:
        self._view = view
        self._above = above
        self._listing = listing
        self._numbers = _numbers(above, listing)
        self._prefix = join(above.source_path, b"")
        self._is_same_path = above.path is above.source_path

    def entries(self, start: int) -> Iterator[Entry]:
        """Iterate from offset ``start``."""
        if start >= len(self._numbers):
            return  # the kernel reads until it gets an empty reply
        known, path = self._view.known[self._above.source.rank], self._above.source_path
        since, fetched_at, all_when = known.since(path), self._listing.fetched_at, self._when()
        held = self._view.inodes.held.get
        while piece := list(self._listing.entries(start, PIECE)):
            for ino, (name, attr) in zip(self._numbers[start : start + PIECE], piece, strict=True):
                node, when = held(ino), all_when if known.is_reported(path, name, attr) else fetched_at
                if name in since:
                    attr, when = _since(attr, known.entry(path, name))
                if node is None:
                    node = self._made(name, attr, ino)
                elif isinstance(node, FileNode) and node.opened:
                    node, attr, when = self._opened(node, attr, when)
                yield name, node, attr, when if attr.is_known else NEVER
            start += PIECE

    def _when(self) -> float:
        """When the snapshot was valid: NEVER if the cache has other contents by now, perhaps known to the kernel."""
        known, path = self._view.known[self._above.source.rank], self._above.source_path
        current = known.listings.peek(path)
        blob = self._listing.blob
        is_current = current is not None and (current.blob is blob or (len(blob) < SMALL and current.blob == blob))
        return known.when(path) if is_current else NEVER

    def _made(self, name: bytes, attr: Attributes, ino: int) -> Node:
        source_path = self._prefix + name
        path = source_path if self._is_same_path else join(self._above.path, name)
        return FileNode(self._above.source, source_path, path, attr.kind, False, ino=ino)

    def _opened(self, node: FileNode, attr: Attributes, when: float) -> tuple[Node, Attributes, float]:
        """The entry for the path of an open file: that file, by fstat(2), or the one that has replaced it."""
        own = self._view.inodes.identified(node, attr)
        if own.held is not None and own.held.attr is not None:
            return own, own.held.attr, own.held.when
        return own, attr, when


def _since(attr: Attributes, later: Answer | None) -> tuple[Attributes, float]:
    """Attributes of an entry that was revalidated by itself; it stays in the snapshot even if it was removed."""
    if later is None or later.attr is None or later.attr.kind != attr.kind:
        return attr, NEVER
    return later.attr, later.when


def _numbers(above: FileNode, listing: Listing) -> "array[int]":
    """Inode numbers of the entries by position; cached in the directory's node as long as the kernel holds it."""
    if above.numbers is None or above.numbers[0] is not listing.blob:
        number = numbers(above.source.root, above.source_path)
        above.numbers = listing.blob, array("Q", [number(name, kind) for name, kind in listing.kinds()])
    return above.numbers[1]


class _Merged:
    """The listing of a directory above the depth."""

    def __init__(self, view: View, above: MergedNode, children: list[tuple[bytes, Child]]) -> None:
        self._view = view
        self._above = above
        self._children = children

    def entries(self, start: int) -> Iterator[Entry]:
        """Iterate from offset ``start``."""
        inodes, answer = self._view.inodes, self._view.replies.last_answer
        for position in range(start, len(self._children)):
            name, child = self._children[position]
            node = inodes.child(self._above, name, child)
            attr, when = answer(node)
            yield name, node, attr if attr.is_known or not self._view.replies.is_outdated(node) else None, when
