"""The filesystem without FUSE: one view of the sources, as awaitable functions on inode numbers.

Rule 1: what is kept is used for ``Freshness.keep`` seconds only, so that with the kernel's own timeouts the promise
of freshness holds.
Rule 2: places above the depth are looked up in the index anew when it was swapped; what lies in one source stays
what it is, so that what is open goes on.
Rule 3: one inode number is one file. A file that took another's name while that one is open gets its own.

Everything runs on the event loop's thread; between two awaits nothing else does. Functions raise OSError.
"""

import errno
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import trio

from mmirrorfs.merge.index import Pairing, exact
from mmirrorfs.source.pace import beside
from mmirrorfs.source.reader import NotAFile, attributes
from mmirrorfs.source.source import ABSENT, Source, SourceLost
from mmirrorfs.tree import DIR, Attributes, Directory, Merged, Rank
from mmirrorfs.view.fallback import Fallback, failure
from mmirrorfs.view.files import Files, OpenFile
from mmirrorfs.view.folders import LONGEST, Folders
from mmirrorfs.view.leaves import Leaves
from mmirrorfs.view.memory import Memory
from mmirrorfs.view.nodes import NEVER, FileNode, MergedNode, Node, is_replaced, is_same
from mmirrorfs.view.places import Places

REMEMBER = 1_000_000
"""Entries remembered by default."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """How the promise is divided, in seconds: what is kept here, what the kernel keeps, and how often is looked.

    ``period`` is None where only a signal starts a look.
    """

    keep: float
    kernel: float
    period: float | None

    @classmethod
    def promised(cls, seconds: float) -> "Freshness":
        """What shows within ``seconds``: half the time to notice, a bit less than half in the kernel's cache."""
        if seconds <= 0:
            return cls(0.5, 0.5, None)
        return cls(0.45 * seconds, 0.45 * seconds, 0.5 * seconds)


class Reports(Protocol):
    """Who is told of what a view finds out while it answers."""

    def lost(self, source: Source) -> None:
        """A source is lost."""

    def missing(self, source: Source, path: bytes) -> None:
        """What the index has at a path of a source is not there, or is something else now."""

    def contents(self, ino: int) -> None:
        """The contents of a file changed in a way that the kernel cannot see from its attributes."""


class View(Places):
    """One view. ``order`` lists the ranks of the sources from the most preferred on.

    ``reports`` is set by whoever keeps the index current, before the first request.
    """

    reports: Reports

    def __init__(
        self,
        sources: Sequence[Source],
        order: tuple[Rank, ...],
        index: Merged,
        freshness: Freshness,
        remember: int = REMEMBER,
        pairing: Pairing = exact,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        super().__init__(sources, order, index, self._recall)
        self.freshness = freshness
        self.pairing = pairing
        self.clock = clock
        self.memory = Memory(remember)
        self.files = Files()
        self.fallback = Fallback(self.memory, clock, freshness.keep)
        self.fallback.report_lost = self._report_lost
        self.leaves = Leaves(clock, self.nodes.get, self.directory_of, self.report_missing, self._report_lost)
        self.folders = Folders(self)

    def _recall(self, node: FileNode, directory: Directory | None) -> None:
        self.leaves.recall(node, directory)

    def _report_lost(self, source: Source) -> None:
        self.reports.lost(source)

    def report_missing(self, source: Source, path: bytes) -> None:
        """Something that was known of a source is gone: nothing of it is told any longer."""
        self.memory.forget((source.rank, path))
        self.reports.missing(source, path)

    async def lookup(self, parent: int, name: bytes) -> Node:
        """The node of a name in a directory. ENOENT where there is none."""
        above = self.node(parent)
        if name in (b".", b".."):
            return await self.dots(above, name)
        if isinstance(above, MergedNode):
            return self._lookup_merged(above, name)
        assert isinstance(above, FileNode)
        return await self.folders.lookup(above, name)

    async def dots(self, node: Node, name: bytes) -> Node:
        """What ``.`` or ``..`` is for a node, with fresh attributes: what an NFS server asks for a handle."""
        if isinstance(node, FileNode):
            await self.freshen(node)
        elif isinstance(node, MergedNode):
            self.current(node)
        return node if name == b"." else await self._directory_of(node)

    async def getattr(self, ino: int) -> Node:
        """The node, with attributes that are fresh. ENOENT where it is gone, ESTALE where its name has another now."""
        node = self.node(ino)
        if isinstance(node, MergedNode):
            self.current(node)
        elif isinstance(node, FileNode):
            await self.freshen(node)
        return node

    async def readlink(self, ino: int) -> bytes:
        """The target of a symbolic link, as it stands in the source."""
        node = self.file_node(ino)
        return await self.fallback.value(node.source, node.inner, b"", False)

    async def open(self, ino: int) -> tuple[int, bool]:
        """Open a file to read; returns its handle and whether what the kernel has cached of it is still true.

        EIO where the source is lost. ESTALE where the name leads to another file by now while the old one is
        open (rule 3), or to something of another type, or to another source: the kernel then looks the name up again.
        """
        node = self.file_node(ino)
        try:
            try:
                fd, attr = node.source.cached(node.source.reader.open_content, node.inner)
            except BlockingIOError:
                fd, attr = await node.source.run(node.source.reader.open_content, node.inner)
        except SourceLost:
            self.reports.lost(node.source)
            raise
        except NotAFile:
            raise self._stale(node) from None
        except OSError as error:
            raise await self.gone(node) if error.errno in ABSENT else error from None
        if is_replaced(node, attr):
            node.source.pace.close(fd, node.source.is_local(node.inner))
            raise self._stale(node)
        same = is_same(node.kernel_attr, attr)
        node.update((attr, time.time_ns()), self.clock())
        return self.files.add(fd, node), same

    def replied(self, node: Node) -> None:
        """The kernel is told of a node's attributes, now: from then on its pages are as new as these.

        It drops pages by itself when mtime or size moved. What else moved it cannot see: it is told explicitly, and
        the pages stay suspect until the file is opened again.
        """
        if not isinstance(node, FileNode) or node.kind == DIR or node.proof is None:
            return
        last, attr = node.kernel_attr, node.proof[0]
        if last is None or (last[0].size, last[0].mtime_ns) != (attr.size, attr.mtime_ns):
            node.kernel_attr = node.proof
        elif not is_same(last, attr):
            self.reports.contents(node.ino)

    def opened(self, ino: int) -> None:
        """The kernel is told that a file is open: it reads its pages anew, or has those that were found true."""
        node = self.file_node(ino)
        if node.proof is not None and not is_same(node.kernel_attr, node.proof[0]):
            node.kernel_attr = node.proof

    def _stale(self, node: FileNode) -> OSError:
        """The error that makes the kernel look the name up again, and what is kept of the name distrusted for that."""
        node.seen = NEVER
        kept = self.memory.listing((node.source.rank, node.inner.rpartition(b"/")[0]))
        if kept is not None:
            kept.taken = NEVER
        return failure(errno.ESTALE)

    async def gone(self, node: FileNode) -> OSError:
        """What to answer for a node whose source says that its path leads to nothing.

        What is missing is reported, from the shortest path on that is. ESTALE, by which the kernel looks the whole path
        up again, where the view has something else in its place by now; ENOENT where it has not.
        """
        missing = await node.source.run(node.source.reader.first_missing, node.inner, node.kind)
        if missing is not None:
            self.report_missing(node.source, missing)
            self._stale(node)
        return failure(errno.ESTALE if missing is not None and self.is_shown(node.path) else errno.ENOENT)

    async def _directory_of(self, node: Node) -> Node:
        """The directory above: what an NFS server asks for a handle that it kept."""
        above = node.path.rpartition(b"/")[0]
        merged = self.find(above)
        if isinstance(node, FileNode) and not isinstance(merged, Merged):
            inner = node.inner.rpartition(b"/")[0]
            folder = self.known(FileNode(node.source, inner, above, DIR, merged is not None))
            await self.freshen(folder)
            return folder
        place = self.along(above)
        assert isinstance(place, MergedNode)
        return place

    # Attributes

    def is_fresh(self, seen: float) -> bool:
        """Whether what was seen then, in loop seconds, may be told still."""
        return self.clock() - seen < self.freshness.keep

    def freshest(self) -> float:
        """What was seen before that, in loop seconds, may not be told to be kept."""
        return self.clock() - self.freshness.keep

    def expired(self, node: FileNode, by: float) -> bool:
        """Whether a leaf has to be asked about again that must stay true for ``by`` more seconds."""
        return self.clock() - node.seen >= self.freshness.keep - by

    async def freshen(self, node: FileNode) -> None:
        """Make ``node.attr`` fresh, as far as anybody waits for that.

        ENOENT where the path holds nothing, or something of another type; ESTALE where its name in the view has
        something else by now; EIO where its attributes were never to be had.
        """
        if self.is_fresh(node.seen):
            return
        file = self.files.of(node)
        if file is not None:
            await self._freshen_open(file)
        elif node.indexed:
            directory = self.directory_of(node)
            left = directory is None or node.inner.rpartition(b"/")[2] not in directory.entries
            if left or not self.leaves.refresh([node]):
                raise failure(errno.ESTALE if self.is_shown(node.path) else errno.ENOENT)
        else:
            attr, fresh = await self.fallback.attributes(node.source, node.inner)
            if attr.kind != node.kind:
                raise failure(errno.ENOENT)
            node.update((attr, time.time_ns()), self.clock() if fresh else node.seen)
        if not node.attr.is_known:
            raise failure(errno.EIO)

    async def _freshen_open(self, file: OpenFile) -> None:
        """Of what is open, whatever has its name by now. Nobody waits where it is in a merged directory."""
        node = file.node
        if file.local:
            attr, fresh = attributes(os.fstat(file.fd)), True
        elif node.indexed:
            beside(self.files.prove, file, self._prove_open)
            return
        else:
            attr, fresh = await file.attributes(lambda: node.attr)
        node.update((attr, time.time_ns()), self.clock() if fresh else node.seen)

    def _prove_open(self, file: OpenFile, attr: Attributes) -> None:
        file.node.update((attr, time.time_ns()), self.clock())

    # Names

    def _lookup_merged(self, above: MergedNode, name: bytes) -> Node:
        """Nobody waits. A winner that is found gone gives way to the next source at once."""
        for _ in range(len(self.sources) + 1):
            child = self.current(above).children.get(name)
            if child is None:
                raise failure(errno.ENOENT if len(name) <= LONGEST else errno.ENAMETOOLONG)
            node = self.child(above, name, child)
            if not isinstance(node, FileNode):
                return node
            if (not node.opened and self.is_fresh(node.seen)) or self.leaves.refresh([node]):
                return self._beside_open(node) if node.opened else _known(node)
        raise failure(errno.EIO)

    def _beside_open(self, node: FileNode) -> FileNode:
        """What has the name of a leaf that is open: itself, or what took its place."""
        attr = self.leaves.last(node)
        if attr is None or not is_replaced(node, attr):
            return _known(node)
        return self.identified(node, attr, node.source.is_local(node.inner))

    def identified(self, node: FileNode, attr: Attributes, fresh: bool = True) -> FileNode:
        """The node that the file with these attributes has, given the one of its path (rule 3).

        Two files of one number would share one page cache, and readers of either would get bytes of the other.
        """
        if attr.kind != node.kind:
            raise failure(errno.ENOENT)
        own, turn = node, 0
        while is_replaced(own, attr):
            turn += 1
            salt = b"\0%d" % turn
            own = self.known(FileNode(node.source, node.inner, node.path, node.kind, node.indexed, salt))
            own.touched_ns = node.touched_ns
        own.update((attr, time.time_ns()), self.clock() if fresh else own.seen)
        return own


def _known(node: FileNode) -> FileNode:
    """The node, unless its attributes were never to be had: nothing is made up for it."""
    if not node.attr.is_known:
        raise failure(errno.EIO)
    return node
