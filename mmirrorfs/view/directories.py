"""Open directories: whole listings in byte order, taken once, when a directory is opened.

Rule 1: what was opened is what is listed; a listing cannot fail or shift half-way. Its position is the cookie.
Rule 2: a large directory is handed out in pieces, so that others are served in between.

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
from mmirrorfs.source.walks import join
from mmirrorfs.tree import Child
from mmirrorfs.view.nodes import FileNode, MergedNode, Node
from mmirrorfs.view.replies import Listed
from mmirrorfs.view.view import View

SMALL = 1 << 16
"""Bytes of a listing that are compared with others each time that some of it is handed out."""
PIECE = 256
"""Entries that are unpacked at once: what a few replies take."""

Entry = tuple[bytes, Node, Attributes | None, float]
"""A name, its node, its attributes (None: gone meanwhile), and when these were true, in monotonic seconds."""


@dataclass(slots=True)
class _Opened:
    ino: int
    listing: "_Inside | _Merged"
    begun: bool = False


class Directories:
    """The open directories of a view, by handle."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._open: dict[int, _Opened] = {}
        self._last = 0

    async def open(self, ino: int) -> int:
        """Take the listing of a directory; returns its handle."""
        before, _ = self._view.last_answer(self._view.inodes.node(ino))
        listing = await self._take(ino)
        attr, _ = self._view.last_answer(self._view.inodes.node(ino))
        listed = self._view.listed.setdefault(ino, Listed(before))
        listed.attr, listed.handles = attr if attr.is_known else listed.attr, listed.handles + 1
        self._last += 1
        self._open[self._last] = _Opened(ino, listing)
        return self._last

    async def entries(self, handle: int, start: int) -> Iterator[Entry]:
        """The entries of an open directory from a position on, in byte order, made one by one.

        Read from its beginning a second time, as rewinddir(3) does, the directory is listed anew.
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
        """The kernel has no use for the handle any more. Never raises."""
        opened = self._open.pop(handle, None)
        if opened is not None:
            listed = self._view.listed[opened.ino]
            listed.handles -= 1
            if not listed.handles:
                del self._view.listed[opened.ino]

    def __len__(self) -> int:
        return len(self._open)

    async def _take(self, ino: int) -> "_Inside | _Merged":
        node = self._view.inodes.node(ino)
        if isinstance(node, MergedNode):
            return await self._merged(node)
        if not isinstance(node, FileNode):
            raise failure(errno.ENOTDIR)
        return _Inside(self._view, node, await self._view.listing(node))

    async def _merged(self, node: MergedNode) -> "_Merged":
        """The leaves that are too old are asked about at once, in as few calls as can be."""
        while True:
            merged = self._view.inodes.current(node)
            children = list(merged.children.items())
            for start in range(0, len(children), LARGE):
                if start:
                    await trio.lowlevel.checkpoint()
                self._view.prove_leaves(node, children[start : start + LARGE])
            if self._view.inodes.current(node) is merged:  # nothing was found gone
                return _Merged(self._view, node, sorted(children) if len(children) > 1 else children)


class _Inside:
    """What is in a folder, or in a directory below one."""

    def __init__(self, view: View, above: FileNode, listing: Listing) -> None:
        self._view = view
        self._above = above
        self._listing = listing
        self._numbers = _numbers(above, listing)
        self._prefix = join(above.source_path, b"")
        self._is_same_path = above.path is above.source_path

    def entries(self, start: int) -> Iterator[Entry]:
        """From a position on."""
        if start >= len(self._numbers):
            return  # as for each second request: the kernel asks until nothing comes
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
        """When the listing is true: it may have another by now in its place, of which the kernel was told already."""
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
        """What has the path of a file that is open: itself, as its descriptor tells, or what took its place."""
        own = self._view.inodes.identified(node, attr)
        if own.held is not None and own.held.attr is not None:
            return own, own.held.attr, own.held.when
        return own, attr, when


def _since(attr: Attributes, later: Answer | None) -> tuple[Attributes, float]:
    """What is told of an entry that was looked at by itself: it stays in the listing, whatever became of it."""
    if later is None or later.attr is None or later.attr.kind != attr.kind:
        return attr, NEVER
    return later.attr, later.when


def _numbers(above: FileNode, listing: Listing) -> "array[int]":
    """The inode numbers of what is in a directory, by position; they are kept with its node as long as that is held."""
    if above.numbers is None or above.numbers[0] is not listing.blob:
        number = numbers(above.source.root, above.source_path)
        above.numbers = listing.blob, array("Q", [number(name, kind) for name, kind in listing.kinds()])
    return above.numbers[1]


class _Merged:
    """What is in a directory above the depth."""

    def __init__(self, view: View, above: MergedNode, children: list[tuple[bytes, Child]]) -> None:
        self._view = view
        self._above = above
        self._children = children

    def entries(self, start: int) -> Iterator[Entry]:
        """From a position on."""
        inodes, answer = self._view.inodes, self._view.last_answer
        for position in range(start, len(self._children)):
            name, child = self._children[position]
            node = inodes.child(self._above, name, child)
            attr, when = answer(node)
            yield name, node, attr if attr.is_known or not self._view.is_outdated(node) else None, when
