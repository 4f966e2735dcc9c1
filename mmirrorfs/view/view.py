"""The filesystem without FUSE: one view of the sources, as awaitable functions on inode numbers.

Rule 1: what is kept is used for ``Freshness.keep`` seconds only, so that with the kernel's own timeouts the promise
of freshness holds.
Rule 2: places above the depth are looked up in the index anew when it was swapped; what lies in one source stays
what it is, so that what is open goes on.
Rule 3: one inode number is one file. A file that took another's name while that one is open gets its own.

Everything runs on the event loop's thread; between two awaits nothing else does. Functions raise OSError.
"""

import errno
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import trio

from mmirrorfs.merge.index import Pairing, exact
from mmirrorfs.merge.inodes import ROOT, InodeTable, number
from mmirrorfs.source.reader import NotAFile
from mmirrorfs.source.source import Source, SourceLost
from mmirrorfs.tree import DIR, Attributes, Leaf, Merged, Rank
from mmirrorfs.view.files import Files, OpenFile
from mmirrorfs.view.folders import LONGEST, Folders, join
from mmirrorfs.view.memory import Memory
from mmirrorfs.view.nodes import FileNode, MergedNode, Node, contents, first_input, is_same, merged_attributes
from mmirrorfs.view.witness import Witness, failure

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


class View:
    """One view. ``order`` lists the ranks of the sources from the most preferred on.

    ``outdated`` is called with the number of an inode whose contents changed unseen by the kernel, and the
    witness's ``surprised`` with a source that is not as the index says.
    """

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
        self.sources = sources
        self.order = order
        self.index = index
        self.freshness = freshness
        self.pairing = pairing
        self.clock = clock
        self.memory = Memory(remember)
        self.witness = Witness(self.memory)
        self.files = Files()
        self.folders = Folders(self)
        self.nodes: InodeTable[Node] = InodeTable()
        self.outdated: Callable[[int], None] = lambda ino: None
        self._generation = 0
        self.root = MergedNode(ROOT, b"", None, index, 0)
        self.root.attr = merged_attributes(index, order)
        self.nodes.count(self.root)

    def install(self, index: Merged) -> None:
        """Swap the index. Every place in the old one is looked up anew when it is next asked for."""
        self._generation += 1
        self.index = index

    async def lookup(self, parent: int, name: bytes) -> Node:
        """The node of a name in a directory. ENOENT where there is none."""
        above = self.node(parent)
        if name in (b".", b".."):
            return await self.dots(above, name)
        if isinstance(above, MergedNode):
            return await self._lookup_merged(above, name)
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
        """The node, with attributes that are fresh. ENOENT where it is gone."""
        node = self.node(ino)
        if isinstance(node, MergedNode):
            self.current(node)
        elif isinstance(node, FileNode):
            await self.freshen(node)
        return node

    async def readlink(self, ino: int) -> bytes:
        """The target of a symbolic link, as it stands in the source."""
        node = self.file_node(ino)
        return await self.witness.value(node.source, node.inner, b"")

    async def open(self, ino: int) -> tuple[int, bool]:
        """Open a file to read; returns its handle and whether what the kernel has cached of it is still true.

        EIO where the source is lost. ESTALE where the name leads to another file by now while the old one is
        open (rule 3), or to something of another type: the kernel then looks the name up again.
        """
        node = self.file_node(ino)
        try:
            fd, attr = await node.source.run(node.source.reader.open_content, node.inner)
        except SourceLost:
            self.witness.surprised(node.source)
            raise
        except FileNotFoundError:
            raise
        except NotAFile:
            raise self._stale(node) from None
        except OSError:
            if (await self.witness.attributes(node.source, node.inner)).kind != node.kind:
                raise self._stale(node) from None
            raise
        if is_replaced(node, attr):
            node.source.pace.close(fd)
            raise self._stale(node)
        same = is_same(node.told, attr)
        self.saw(node, attr)
        return self.files.add(fd, node), same

    def _stale(self, node: FileNode) -> OSError:
        """The error that makes the kernel look the name up again, and what is kept of the name distrusted for that."""
        node.seen = -1e9
        kept = self.memory.listing((node.source.rank, node.inner.rpartition(b"/")[0]))
        if kept is not None:
            kept.taken = -1e9
        return failure(errno.ESTALE)

    # Nodes

    def node(self, ino: int) -> Node:
        """The node of an inode number that the kernel holds; ESTALE for any other."""
        node = self.nodes.get(ino)
        if node is None:
            raise failure(errno.ESTALE)
        return node

    def file_node(self, ino: int) -> FileNode:
        """The node of something that is in one source; EINVAL for a merged directory."""
        node = self.node(ino)
        if not isinstance(node, FileNode):
            raise failure(errno.EINVAL)
        return node

    def find(self, path: bytes) -> Merged | Leaf | None:
        """What the index has at a path of the view."""
        found: Merged | Leaf | None = self.index
        for name in path.split(b"/") if path else ():
            found = found.children.get(name) if isinstance(found, Merged) else None
        return found

    def current(self, node: MergedNode) -> Merged:
        """What the index has at that place now; ENOENT where it has no merged directory any more."""
        if node.generation != self._generation:
            found = self.find(node.path)
            if not isinstance(found, Merged):
                raise failure(errno.ENOENT)
            if found is not node.merged:
                node.merged, node.reply = found, None
                node.attr = merged_attributes(found, self.order)
            node.generation = self._generation
        return node.merged

    def child(self, above: MergedNode, name: bytes, child: Merged | Leaf) -> Node:
        """The node of an entry of the index. The attributes of a leaf may be old, or missing still."""
        path = join(above.path, name)
        if isinstance(child, Merged):
            return self._merged_node(above, name, path, child)
        inner = path
        if above.paths is not None or child.name is not None:
            inner = join(above.path_in(child.source), child.name or name)
        node = self.known(FileNode(self.sources[child.source], inner, path, child.kind, True))
        touched = (above.merged.touched or {}).get(name, 0)
        if node.touched_ns != touched:
            node.touched_ns, node.seen = touched, -1e9
        return node

    def _merged_node(self, above: MergedNode, name: bytes, path: bytes, child: Merged) -> Node:
        ino = number(b"", path, DIR)
        node = self.nodes.get(ino)
        if isinstance(node, MergedNode):
            self.current(node)
            return node
        paths = above.paths
        if paths is not None or child.names is not None:
            own = child.names or (None,) * len(self.sources)
            paths = tuple(join(above.path_in(Rank(rank)), spelled or name) for rank, spelled in enumerate(own))
        node = MergedNode(ino, path, paths, child, self._generation)
        node.attr = merged_attributes(child, self.order)
        return node

    def known(self, node: FileNode) -> FileNode:
        """The node of that number that the kernel holds already, or this one."""
        old = self.nodes.get(node.ino)
        return old if isinstance(old, FileNode) else node

    async def _directory_of(self, node: Node) -> Node:
        """The directory above: what an NFS server asks for a handle that it kept."""
        above = node.path.rpartition(b"/")[0]
        merged = self.find(above)
        if isinstance(node, FileNode) and not isinstance(merged, Merged):
            inner = node.inner.rpartition(b"/")[0]
            folder = self.known(FileNode(node.source, inner, above, DIR, merged is not None))
            await self.freshen(folder)
            return folder
        place: Node = self.root
        for name in above.split(b"/") if above else ():
            assert isinstance(place, MergedNode)
            place = self.child(place, name, self.current(place).children[name])
        return place

    # Attributes

    def is_fresh(self, seen: float) -> bool:
        """Whether what was seen then, in loop seconds, may be told still."""
        return self.clock() - seen < self.freshness.keep

    async def freshen(self, node: FileNode) -> None:
        """Make ``node.attr`` fresh. ENOENT where the path holds nothing, or something of another type."""
        if self.is_fresh(node.seen):
            return
        file = self.files.of(node)
        try:
            if file is not None:
                attr = await self._of_open(file)
            else:
                otherwise = partial(self.from_above, node) if node.indexed else None
                attr = await self.witness.attributes(node.source, node.inner, otherwise)
            if attr.kind != node.kind:
                raise failure(errno.ENOENT)
        except FileNotFoundError:
            if node.indexed:
                self.witness.surprised(node.source)
            raise
        self.saw(node, attr)

    async def _of_open(self, file: OpenFile) -> Attributes:
        """What is open; what was last seen of it where its source hangs, for it may lie in a merged directory."""
        try:
            return await file.attributes()
        except TimeoutError:
            return file.node.attr

    def saw(self, node: FileNode, attr: Attributes) -> None:
        """Take note of attributes that were just read. A change that mtime and size do not tell is told on."""
        if node.told is not None and node.kind != DIR:
            last = node.told[0]
            if (last.size, last.mtime_ns) == (attr.size, attr.mtime_ns) and not is_same(node.told, attr):
                self.outdated(node.ino)
        node.told = (attr, time.time_ns())
        if node.touched_ns and node.touched_ns > attr.mtime_ns:
            attr = attr._replace(mtime_ns=node.touched_ns, ctime_ns=max(attr.ctime_ns, node.touched_ns))
        node.attr, node.seen, node.reply = attr, self.clock(), None

    def from_above(self, node: FileNode) -> Attributes:
        """What the scan knows of a leaf: its own attributes where it took them, or those of the directory above."""
        merged = self.find(node.path.rpartition(b"/")[0])
        if not isinstance(merged, Merged):
            raise failure(errno.ENOENT)
        directory = merged.inputs[node.source.rank] or first_input(merged, self.order)
        assert directory is not None
        found = (directory.known or {}).get(node.inner.rpartition(b"/")[2])
        if found is not None and found.kind == node.kind:
            return found
        mode = directory.attr.mode & (0o777 if node.kind == DIR else 0o666)
        return directory.attr._replace(mode=node.kind | mode, nlink=1, size=0, blocks=0)

    # Names

    async def _lookup_merged(self, above: MergedNode, name: bytes) -> Node:
        child = self.current(above).children.get(name)
        if child is None:
            raise failure(errno.ENOENT if len(name) <= LONGEST else errno.ENAMETOOLONG)
        node = self.child(above, name, child)
        if isinstance(node, FileNode):
            if node.opened:
                last = partial(getattr, node, "attr")
                return self.identified(node, await self.witness.attributes(node.source, node.inner, last))
            await self.freshen(node)
        return node

    def identified(self, node: FileNode, attr: Attributes) -> FileNode:
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
        self.saw(own, attr)
        return own


def is_replaced(node: FileNode, attr: Attributes) -> bool:
    """Whether the file that is open under that node is another than the one that has its path now."""
    return node.opened > 0 and node.told is not None and contents(node.told[0])[:2] != (attr.dev, attr.ino)
