"""The attributes to reply for a node, from cached metadata, and when they were fetched: nothing is awaited here.

Of an open directory that was removed meanwhile the last known attributes are replied: fstat(2) does not fail.
Event loop's thread only.
"""

import errno
from dataclasses import dataclass

from mmirrorfs.attributes import Attributes, Kind, bare
from mmirrorfs.source.fetch import failure
from mmirrorfs.source.freshness import INDEXED, NEVER, WATCHED
from mmirrorfs.source.singles import Answer
from mmirrorfs.tree import Rank
from mmirrorfs.view.nodes import FileNode, MergedNode, Node
from mmirrorfs.view.state import State


@dataclass(slots=True)
class Listed:
    """An open directory: its attributes when it was opened last, and the number of its handles."""

    attr: Attributes
    handles: int = 0


class Replies:
    """What one view replies about its nodes."""

    def __init__(self, state: State) -> None:
        self._known = state.known
        self.listed: dict[int, Listed] = {}
        """The open directories, by inode number."""

    def answer(self, node: Node) -> tuple[Attributes, float]:
        """Attributes, and when they were fetched, in monotonic seconds. Raises EIO if they were never known."""
        found = self.last_answer(node)
        if found[0].is_known:
            return found
        if not self.is_listed(node):
            raise failure(errno.EIO)
        return self.listed[node.ino].attr, NEVER

    def last_answer(self, node: Node) -> tuple[Attributes, float]:
        """The same for a listing: the type alone if the attributes were never known."""
        if isinstance(node, MergedNode):
            return node.attr, self.indexed(node)
        assert isinstance(node, FileNode)
        found = node.held or self._known[node.source.rank].entry(node.above, node.name)
        if found is None or found.attr is None or found.attr.kind != node.kind:
            return bare(node.kind), NEVER
        return node.shown(found.attr), found.when

    def indexed(self, node: MergedNode) -> float:
        """When the index was valid for a merged directory: WATCHED only if all its inputs are watched."""
        inputs = [(rank, found) for rank, found in enumerate(node.merged.inputs) if found is not None]
        is_watched = all(self._known[rank].when(node.path_in(Rank(rank))) == WATCHED for rank, _ in inputs)
        return WATCHED if is_watched else INDEXED

    def is_listed(self, node: Node) -> bool:
        """Whether a directory is open, and its attributes were known when it was opened."""
        listed = self.listed.get(node.ino)
        return listed is not None and listed.attr.is_known

    def is_outdated(self, node: Node) -> bool:
        """Whether a leaf of an index that was replaced since is known to be removed, or to have another type."""
        if not isinstance(node, FileNode) or node.held is not None:
            return False
        known = self._known[node.source.rank]
        found = known.entry(node.above, node.name)
        return not has_kind(found, node.kind) and (found is not None or known.listing(node.above) is None)


def has_kind(answer: Answer | None, kind: Kind) -> bool:
    """Whether something of that type is known to exist."""
    return answer is not None and answer.attr is not None and answer.attr.kind == kind
