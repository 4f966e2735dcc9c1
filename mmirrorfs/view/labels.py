"""What a view says about itself, as extended attributes: where things come from, and how the view is.

``user.mmirrorfs.source`` (the source's name), ``.path`` (the real path), ``.shadowed`` (what it hides) and ``.skipped``
(what of that would have won, were it not empty) on everything, one a line where there are several, and ``.role``
(merged, folder, loose or inside); ``.status`` and ``.identity`` on the root. None of them is listed, so that copying
tools do not copy them. Answered from memory; event loop's thread only.
"""

import json
from collections.abc import Callable

from mmirrorfs.attributes import DIR
from mmirrorfs.source.walks import join
from mmirrorfs.tree import Leaf, Merged, Rank
from mmirrorfs.view.nodes import FileNode, MergedNode, Node
from mmirrorfs.view.view import View

PREFIX = b"user.mmirrorfs."


class Labels:
    """The attributes of one view. ``identity`` tells views apart; ``status`` gives what monitoring asks for."""

    def __init__(self, view: View, identity: str = "", status: Callable[[], dict[str, object]] = dict) -> None:
        self._view = view
        self._identity = identity
        self._status = status

    def get(self, node: Node, name: bytes) -> bytes | None:
        """The value of one of our attributes (without PREFIX); None where the node has none of that name."""
        if node.path == b"" and name == b"identity":
            return self._identity.encode()
        if node.path == b"" and name == b"status":
            return json.dumps(self._status()).encode()
        if name == b"source":
            return b"\n".join(self._view.sources[rank].name.encode() for rank, _ in self._shown(node))
        if name == b"path":
            return b"\n".join(self._real(rank, path) for rank, path in self._shown(node))
        if name == b"role":
            return _role(node)
        if name == b"shadowed":
            return b"\n".join(self._real(rank, path) for rank, path, _ in self._shadowed(node)) or None
        if name == b"skipped":
            return b"\n".join(self._real(rank, path) for rank, path, skipped in self._shadowed(node) if skipped) or None
        return None

    def _real(self, rank: Rank, path: bytes) -> bytes:
        return join(self._view.sources[rank].root, path) if path else self._view.sources[rank].root

    def _shown(self, node: Node) -> list[tuple[Rank, bytes]]:
        """Where the node comes from: every source of a merged directory, in the view's order; one of anything else."""
        if isinstance(node, MergedNode):
            merged = self._view.inodes.current(node)
            return [(rank, node.path_in(rank)) for rank in self._view.inodes.order if merged.inputs[rank] is not None]
        assert isinstance(node, FileNode)
        return [(node.source.rank, node.inner)]

    def _shadowed(self, node: Node) -> list[tuple[Rank, bytes, bool]]:
        """What the folder, or the loose file, that the node is or lies in takes the place of, and whether that is a
        folder that was skipped, being empty.
        """
        found: Merged | Leaf | None = self._view.inodes.index
        place: MergedNode | None = self._view.inodes.root
        for name in node.path.split(b"/") if node.path else ():
            if not isinstance(found, Merged) or place is None:
                break
            child = found.children.get(name)
            if isinstance(child, Leaf):
                return self._beside(found, place, name, child)
            inner = self._view.inodes.child(place, name, child) if child is not None else None
            found, place = child, inner if isinstance(inner, MergedNode) else None
        return []

    def _beside(self, above: Merged, place: MergedNode, name: bytes, leaf: Leaf) -> list[tuple[Rank, bytes, bool]]:
        """The entries of other sources that were paired with it, in the view's order."""
        group = next(group for group in self._view.pairing(above.inputs, place.path) if group[0] == name)
        own = group[2] or [name] * len(above.inputs)
        order, found = self._view.inodes.order, list[tuple[Rank, bytes, bool]]()
        for number, rank in enumerate(order):
            entry = group[1][rank]
            if entry is not None and rank != leaf.source:
                skipped = isinstance(entry, Leaf) and entry.is_empty and leaf.source in order[number:]
                found.append((rank, join(place.path_in(rank), own[rank] or name), skipped))
        return found


def _role(node: Node) -> bytes:
    """What the merge makes of it: merged, a folder at the depth, loose at or above it, or inside a folder."""
    if isinstance(node, FileNode):
        return b"inside" if not node.indexed else b"folder" if node.kind == DIR else b"loose"
    return b"merged"
