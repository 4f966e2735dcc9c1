"""The inodes of one view: the index, its nodes and their inode numbers, and which of them the kernel holds.

- After the index was replaced, a merged directory is resolved again when it is next used.
- One number is one file: a file that replaced an open one gets a number of its own.

Event loop's thread only. Functions raise OSError.
"""

import errno
from collections.abc import Iterator, Sequence

from mmirrorfs.attributes import DIR, Attributes, Kind, bare
from mmirrorfs.merge.inodes import ROOT, InodeTable, number
from mmirrorfs.source.fetch import failure
from mmirrorfs.source.source import Source
from mmirrorfs.tree import Leaf, Merged, Rank, join
from mmirrorfs.view.nodes import FileNode, MergedNode, Node, is_replaced, merged_attributes


class Inodes:
    """The inodes of one view. ``order`` lists the ranks of the sources, the most preferred first."""

    def __init__(self, sources: Sequence[Source], order: tuple[Rank, ...], index: Merged) -> None:
        self.sources = sources
        self.order = order
        self.index = index
        self.held: InodeTable[Node] = InodeTable()
        self._generation = 0
        self._salts = 0
        self.root = MergedNode(ROOT, b"", None, index, 0, merged_attributes(index, order, bare(DIR)))
        self.held.count(self.root)

    def install(self, index: Merged) -> None:
        """Replace the index."""
        self._generation += 1
        self.index = index

    def node(self, ino: int) -> Node:
        """The node of an inode number. Raises ESTALE if the kernel does not hold it."""
        node = self.held.get(ino)
        if node is None:
            raise failure(errno.ESTALE)
        return node

    def file_node(self, ino: int) -> FileNode:
        """The same for a node of a single source. Raises EINVAL for a merged directory."""
        node = self.node(ino)
        if not isinstance(node, FileNode):
            raise failure(errno.EINVAL)
        return node

    def find(self, path: bytes) -> Merged | Leaf | None:
        """The entry of the index at a path of the view."""
        found: Merged | Leaf | None = self.index
        for name in path.split(b"/") if path else ():
            found = found.children.get(name) if isinstance(found, Merged) else None
        return found

    def node_at(self, path: bytes) -> Node | None:
        """The node at a path of the view, or of the leaf on the way there; None if the index has neither."""
        place: Node = self.root
        for name in path.split(b"/") if path else ():
            if not isinstance(place, MergedNode):
                return place
            child = self.current(place).children.get(name)
            if child is None:
                return None
            place = self.child(place, name, child)
        return place

    def current(self, node: MergedNode) -> Merged:
        """The entry of a node in the current index. Raises ENOENT if no merged directory is there any more."""
        if node.generation != self._generation:
            found, paths = self._resolve(node.path)
            if found is not node.merged:
                node.merged = found
                node.attr = merged_attributes(found, self.order, node.attr)
            node.paths, node.generation = paths, self._generation
        return node.merged

    def _resolve(self, path: bytes) -> tuple[Merged, tuple[bytes, ...] | None]:
        """The merged directory at a path of the view, and its paths in the sources. Raises ENOENT."""
        found, paths, above = self.index, None, b""
        for name in path.split(b"/") if path else ():
            child = found.children.get(name)
            if not isinstance(child, Merged):
                raise failure(errno.ENOENT)
            paths = self._paths(paths, above, name, child)
            found, above = child, join(above, name)
        return found, paths

    def _paths(
        self, above: tuple[bytes, ...] | None, path: bytes, name: bytes, child: Merged
    ) -> tuple[bytes, ...] | None:
        """The paths of a merged directory in the sources, given those of its parent (at ``path``)."""
        if above is None and child.names is None:
            return None
        own = child.names or (None,) * len(self.sources)
        return tuple(join(above[rank] if above else path, spelled or name) for rank, spelled in enumerate(own))

    def child(self, above: MergedNode, name: bytes, child: Merged | Leaf) -> Node:
        """The node of an entry of the index."""
        path = join(above.path, name)
        if isinstance(child, Merged):
            return self._merged_node(above, name, path, child)
        source_path = path
        if above.paths is not None or child.name is not None:
            source_path = join(above.path_in(child.source), child.name or name)
        node = self.interned(FileNode(self.sources[child.source], source_path, path, child.kind, True))
        node.min_mtime_ns = (above.merged.min_mtimes or {}).get(name, 0)
        return node

    def _merged_node(self, above: MergedNode, name: bytes, path: bytes, child: Merged) -> Node:
        ino = number(b"", path, DIR)
        node = self.held.get(ino)
        if isinstance(node, MergedNode):
            self.current(node)
            return node
        paths = self._paths(above.paths, above.path, name, child)
        attr = merged_attributes(child, self.order, bare(DIR))
        return MergedNode(ino, path, paths, child, self._generation, attr)

    def interned(self, node: FileNode) -> FileNode:
        """The node of that number that the kernel already holds, or this one."""
        old = self.held.get(node.ino)
        return old if isinstance(old, FileNode) else node

    def identified(self, node: FileNode, attr: Attributes) -> FileNode:
        """The node of the file with these attributes, given the node of its path.

        It is another node if the path had another file that is still open: one inode number is one page cache.
        """
        own, attempt = node, 0
        while is_replaced(own, attr):
            attempt += 1
            salt = _salt(attempt)
            own = self.interned(FileNode(node.source, node.source_path, node.path, node.kind, node.indexed, salt))
            own.min_mtime_ns = node.min_mtime_ns
        self._salts = max(self._salts, attempt)
        return own

    def held_at(self, source: Source, source_path: bytes, kind: Kind) -> Iterator[int]:
        """The numbers that the kernel holds of what has had this path: the path's own, and those of ``identified``."""
        for attempt in range(self._salts + 1):
            ino = number(source.root + _salt(attempt), source_path, kind)
            if self.held.get(ino) is not None:
                yield ino

    def is_shown(self, path: bytes) -> bool:
        """Whether the index has every name of a path, down to its leaf."""
        found: Merged | Leaf | None = self.index
        for name in path.split(b"/"):
            found = found.children.get(name) if isinstance(found, Merged) else found
            if not isinstance(found, Merged):
                return found is not None
        return True


def _salt(attempt: int) -> bytes:
    """What tells apart the files of one path; nothing for the first."""
    return b"\0%d" % attempt if attempt else b""
