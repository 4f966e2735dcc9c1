"""The index as nodes: what stands above the depth, looked up anew when the index was swapped.

Owns the index of one view and the nodes that the kernel holds. What becomes of a node's attributes is not known here.
Event loop's thread only. Functions raise OSError.
"""

import errno
from collections.abc import Callable, Sequence

from mmirrorfs.merge.inodes import ROOT, InodeTable, number
from mmirrorfs.source.source import Source
from mmirrorfs.tree import DIR, Directory, Leaf, Merged, Rank, bare
from mmirrorfs.view.fallback import failure
from mmirrorfs.view.folders import join
from mmirrorfs.view.nodes import FileNode, MergedNode, Node, merged_attributes


class Places:
    """The places of one view. ``order`` lists the ranks of the sources from the most preferred on; ``recall_leaf``
    gives a new node the attributes that its directory in the index has of it.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        order: tuple[Rank, ...],
        index: Merged,
        recall_leaf: Callable[[FileNode, Directory | None], None],
    ) -> None:
        self.sources = sources
        self.order = order
        self.index = index
        self.nodes: InodeTable[Node] = InodeTable()
        self._recall_leaf = recall_leaf
        self._generation = 0
        self.root = MergedNode(ROOT, b"", None, index, 0, merged_attributes(index, order, bare(DIR)))
        self.nodes.count(self.root)

    def install(self, index: Merged) -> None:
        """Swap the index. Every place in the old one is looked up anew when it is next asked for."""
        self._generation += 1
        self.index = index

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

    def along(self, path: bytes) -> Node | None:
        """The node at a path of the view, or that of the leaf on the way there; None where the index has neither."""
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
        """What the index has at that place now; ENOENT where it has no merged directory any more."""
        if node.generation != self._generation:
            found, paths = self._place(node.path)
            if found is not node.merged:
                node.merged, node.reply = found, None
                node.attr = merged_attributes(found, self.order, node.attr)
            node.paths, node.generation = paths, self._generation
        return node.merged

    def _place(self, path: bytes) -> tuple[Merged, tuple[bytes, ...] | None]:
        """The merged directory at a path of the view, and its spellings in the sources; raises ENOENT."""
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
        """The paths of a merged directory in the sources, given those of the one that it is in (at ``path``)."""
        if above is None and child.names is None:
            return None
        own = child.names or (None,) * len(self.sources)
        return tuple(join(above[rank] if above else path, spelled or name) for rank, spelled in enumerate(own))

    def child(self, above: MergedNode, name: bytes, child: Merged | Leaf) -> Node:
        """The node of an entry of the index. The attributes of a leaf may be old (``leaves``)."""
        path = join(above.path, name)
        if isinstance(child, Merged):
            return self._merged_node(above, name, path, child)
        inner = path
        if above.paths is not None or child.name is not None:
            inner = join(above.path_in(child.source), child.name or name)
        node = self.known(FileNode(self.sources[child.source], inner, path, child.kind, True))
        if node.proof is None:
            self._recall_leaf(node, above.merged.inputs[child.source])
        touched = (above.merged.touched or {}).get(name, 0)
        if node.touched_ns != touched:
            node.touch(touched)
        return node

    def _merged_node(self, above: MergedNode, name: bytes, path: bytes, child: Merged) -> Node:
        ino = number(b"", path, DIR)
        node = self.nodes.get(ino)
        if isinstance(node, MergedNode):
            self.current(node)
            return node
        paths = self._paths(above.paths, above.path, name, child)
        attr = merged_attributes(child, self.order, bare(DIR))
        return MergedNode(ino, path, paths, child, self._generation, attr)

    def directory_of(self, node: FileNode) -> Directory | None:
        """What the index has of the directory of its source that a leaf is in."""
        merged = self.find(node.path.rpartition(b"/")[0])
        return merged.inputs[node.source.rank] if isinstance(merged, Merged) else None

    def known(self, node: FileNode) -> FileNode:
        """The node of that number that the kernel holds already, or this one."""
        old = self.nodes.get(node.ino)
        return old if isinstance(old, FileNode) else node

    def is_shown(self, path: bytes) -> bool:
        """Whether the index leads to that path: as far as it goes, it has all the names."""
        found: Merged | Leaf | None = self.index
        for name in path.split(b"/"):
            found = found.children.get(name) if isinstance(found, Merged) else found
            if not isinstance(found, Merged):
                return found is not None
        return True
