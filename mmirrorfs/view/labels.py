"""The ``user.mmirrorfs.*`` extended attributes of a view: where each path comes from, and the state of the view.

- Every node has ``source`` (the source's name), ``path`` (the real path), ``shadowed`` (the paths that it hides) and
  ``skipped`` (those of them that would have won if they were not empty), one a line; ``role`` (merged, folder, loose or
  inside); and ``explain``, all of these and the reason, as JSON.
- The root also has ``status``, ``metrics`` and ``identity``.
- listxattr(2) leaves them out, so that copying tools do not copy them.

Answered from memory, except ``explain``. Event loop's thread only.
"""

import json
from collections.abc import Awaitable, Callable, Iterable

from mmirrorfs.attributes import DIR
from mmirrorfs.merge.explain import Claim, Place, place_of
from mmirrorfs.tree import Merged, Rank, join
from mmirrorfs.view.nodes import FileNode, MergedNode, Node
from mmirrorfs.view.view import View

PREFIX = b"user.mmirrorfs."


class Labels:
    """The attributes of one view, from what ``status``, ``metrics`` (for Prometheus) and ``explain`` return.

    ``identity`` is unique to the view.
    """

    def __init__(
        self,
        view: View,
        identity: str = "",
        status: Callable[[], Awaitable[dict[str, object]]] | None = None,
        explain: Callable[[bytes], Awaitable[dict[str, object]]] | None = None,
        metrics: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        self._view = view
        self._identity = identity
        self._status = status
        self._explain = explain
        self._metrics = metrics

    async def get(self, node: Node, name: bytes) -> bytes | None:
        """The value of an attribute, named without PREFIX; None if the node does not have it."""
        if node.path == b"" and name == b"identity":
            return self._identity.encode()
        if node.path == b"" and name == b"status" and self._status is not None:
            return json.dumps(await self._status()).encode()
        if node.path == b"" and name == b"metrics" and self._metrics is not None:
            return (await self._metrics()).encode()
        if name == b"explain" and self._explain is not None:  # asks the sources, with a short timeout
            return json.dumps(await self._explain(node.path)).encode()
        if name == b"source":
            return b"\n".join(self._view.sources[rank].name.encode() for rank, _ in self._shown(node))
        if name == b"path":
            return b"\n".join(self._real(rank, path) for rank, path in self._shown(node))
        if name == b"role":
            return _role(node)
        if name in (b"shadowed", b"skipped") and (place := self._place(node)) is not None:
            return self._paths(place.hidden if name == b"shadowed" else place.skipped)
        return None

    def _real(self, rank: Rank, path: bytes) -> bytes:
        return join(self._view.sources[rank].root, path) if path else self._view.sources[rank].root

    def _shown(self, node: Node) -> list[tuple[Rank, bytes]]:
        """The sources of a merged directory, in the view's order, or the source of any other node, with the paths."""
        if isinstance(node, MergedNode):
            merged = self._view.inodes.current(node)
            return [(rank, node.path_in(rank)) for rank in self._view.inodes.order if merged.inputs[rank] is not None]
        assert isinstance(node, FileNode)
        return [(node.source.rank, node.source_path)]

    def _place(self, node: Node) -> Place | None:
        """The place in the index of a node, or of its folder; None if it is removed."""
        inodes = self._view.inodes
        place = place_of(inodes.index, inodes.order, self._view.pairing, node.path)
        return None if place.rest and isinstance(place.found, Merged) else place

    def _paths(self, claims: Iterable[Claim]) -> bytes | None:
        return b"\n".join(self._real(claim.rank, claim.path) for claim in claims) or None


def _role(node: Node) -> bytes:
    """merged; folder (at the depth); loose (a file at or above the depth); or inside (below a folder)."""
    if isinstance(node, FileNode):
        return b"inside" if not node.indexed else b"folder" if node.kind == DIR else b"loose"
    return b"merged"
