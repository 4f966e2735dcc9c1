"""The filesystem without FUSE: the requests of one view, as awaitable functions on inode numbers.

- A request is answered from cached metadata (``source.known``), which is revalidated first if it has expired.
- A request returns a node. Its attributes are read (``answer``) and the reply is written without an await between.
- A node below the depth keeps its source and path when the index is replaced: what is open stays usable.

Event loop's thread only; code between two awaits is atomic. Functions raise OSError.
"""

import errno
import os

from mmirrorfs.attributes import DIR
from mmirrorfs.source.fetch import failure
from mmirrorfs.source.freshness import INDEXED, WATCHED
from mmirrorfs.source.reader import NotAFile
from mmirrorfs.source.singles import Answer
from mmirrorfs.source.source import ABSENT, SourceLost
from mmirrorfs.tree import Merged, join
from mmirrorfs.view.nodes import FileNode, MergedNode, Node, is_replaced, is_same
from mmirrorfs.view.pages import Pages
from mmirrorfs.view.reads import Reads
from mmirrorfs.view.replies import Replies
from mmirrorfs.view.reports import Reports
from mmirrorfs.view.revalidate import Revalidation
from mmirrorfs.view.state import State

LONGEST = 255
"""Bytes (NAME_MAX of most filesystems): a longer name that does not exist is ENAMETOOLONG."""

TRIES = 16
"""Times that a name of a merged directory is looked up while its winners go: with each, the index is another one."""


class Absent(FileNotFoundError):
    """No such name; ``when`` is the time at which that was true, in monotonic seconds."""

    def __init__(self, when: float = INDEXED) -> None:
        super().__init__(errno.ENOENT, os.strerror(errno.ENOENT))
        self.when = when


class View:
    """One view; ``reports`` receives what requests find out."""

    def __init__(self, state: State, reports: Reports) -> None:
        self.sources = state.sources
        self.known = state.known
        self.inodes = state.inodes
        self.files = state.files
        self.freshness = state.freshness
        self.pairing = state.pairing
        self.pages = Pages(state, reports)
        self._absences = state.absences
        self._reports = reports
        self.read = Reads(state.files).read
        self.replies = Replies(state)
        self.answer = self.replies.answer
        self.revalidation = Revalidation(state, reports, self.replies)
        self.fetch = self.revalidation.fetch

    async def lookup(self, parent: int, name: bytes) -> Node:
        """The node of a name in a directory. Raises Absent."""
        above = self.inodes.node(parent)
        if name in (b".", b".."):
            return await self.dots(above, name)
        if isinstance(above, MergedNode):
            return await self._lookup_merged(above, name)
        assert isinstance(above, FileNode)
        return await self._lookup_inside(above, name)

    async def dots(self, node: Node, name: bytes) -> Node:
        """``.`` or ``..`` of a node, revalidated: an NFS server looks these up for a file handle."""
        await self._revalidate(node)
        return node if name == b"." else await self._parent(node)

    async def getattr(self, ino: int) -> Node:
        """The node, revalidated. Raises ENOENT if it is removed, ESTALE if the view has something else there now."""
        node = self.inodes.node(ino)
        try:
            await self._revalidate(node)
        except OSError as error:
            if error.errno not in ABSENT | {errno.ESTALE} or not self.replies.is_listed(node):
                raise
        return node

    async def readlink(self, ino: int) -> bytes:
        """The target of a symbolic link, unchanged."""
        node = self.inodes.file_node(ino)
        return await self.fetch[node.source.rank].value(node.source_path, b"", briefly=False)

    async def open(self, ino: int) -> tuple[int, bool]:
        """Open a file for reading; returns its handle, and whether the kernel's cached pages are still valid.

        Raises EIO if the source is lost; ESTALE, by which the kernel looks the name up again, if the path now has
        another type, or another file while the old one is open, or belongs to another source.
        """
        node, requested_at = self.inodes.file_node(ino), self.freshness.clock()
        source = node.source
        try:
            fd, attr = await source.open_content(node.source_path)
        except SourceLost:
            self._reports.lost(source)
            raise
        except NotAFile:
            raise self.revalidation.stale_error(node) from None
        except OSError as error:
            raise await self.revalidation.missing_error(node) if error.errno in ABSENT else error from None
        if is_replaced(node, attr):
            source.threads.close(fd, source.is_local(node.source_path))
            raise self.revalidation.stale_error(node)
        same, now = is_same(node.kernel_attr, attr), self.freshness.clock()
        if not same:
            self.known[source.rank].amend(node.above, node.name, attr, now, requested_at)
        return self.files.add(fd, node, attr, now), same

    async def _revalidate(self, node: Node) -> None:
        if isinstance(node, FileNode):
            await self.revalidation.revalidate(node)
        elif isinstance(node, MergedNode):
            self.inodes.current(node)

    async def _parent(self, node: Node) -> Node:
        """The directory above a node."""
        above = node.path.rpartition(b"/")[0]
        merged = self.inodes.find(above)
        if isinstance(node, FileNode) and not isinstance(merged, Merged):
            folder = self.inodes.interned(FileNode(node.source, node.above, above, DIR, merged is not None))
            await self.revalidation.revalidate(folder)
            return folder
        place = self.inodes.node_at(above)
        assert isinstance(place, MergedNode)
        return place

    async def _lookup_merged(self, above: MergedNode, name: bytes) -> Node:
        """If the winner turns out to be removed, the next source takes over at once.

        Raises EIO if its attributes were never known; ESTALE, by which the kernel looks up again, if the name changes
        all the time.
        """
        found: Answer | None = None
        for _ in range(TRIES):
            child = self.inodes.current(above).children.get(name)
            if child is None:
                raise self._absence(above, name, self.replies.indexed(above))
            node = self.inodes.child(above, name, child)
            if not isinstance(node, FileNode):
                return node
            found = await self.revalidation.leaf(node)
            if found is not None and found.attr is not None:
                return self.inodes.identified(node, found.attr)
        raise failure(errno.ESTALE if found is None else errno.EIO)

    async def _lookup_inside(self, above: FileNode, name: bytes) -> FileNode:
        """The node of a name in a folder."""
        if above.source.reader.excluded(name) and len(name) <= LONGEST:
            raise Absent(WATCHED)
        found = self.known[above.source.rank].entry(above.source_path, name)
        if found is None or not self.freshness.is_fresh(found.when):
            found = await self._fetch(above, name)
        if found.attr is None:
            raise self._absence(above, name, found.when)
        source_path = join(above.source_path, name)
        path = source_path if above.path is above.source_path else join(above.path, name)
        node = self.inodes.interned(FileNode(above.source, source_path, path, found.attr.kind, False))
        return self.inodes.identified(node, found.attr)

    async def _fetch(self, above: FileNode, name: bytes) -> Answer:
        try:
            return await self.fetch[above.source.rank].entry(above.source_path, name)
        except OSError as error:
            if len(name) > LONGEST and error.errno == errno.ENOENT:
                raise failure(errno.ENAMETOOLONG) from None
            raise await self.revalidation.missing_name_error(above) if error.errno in ABSENT else error from None

    def _absence(self, above: Node, name: bytes, when: float) -> OSError:
        """The error for a name that did not exist at ``when``."""
        if len(name) > LONGEST:
            return failure(errno.ENAMETOOLONG)
        is_kept = when == WATCHED and not self.freshness.is_tight and self._absences.add(above.ino, name)
        return Absent(when if is_kept or when != WATCHED else INDEXED)
