"""What the kernel was told of a file's contents: as new as that are the pages that it has in memory.

Set where a reply is written, and nowhere else. Event loop's thread only.
"""

import time

from mmirrorfs.attributes import DIR, Attributes
from mmirrorfs.view.nodes import FileNode, Node, is_coarse, is_same
from mmirrorfs.view.reports import Reports
from mmirrorfs.view.state import State


class Pages:
    """The kernel's pages of the files of one view; ``reports`` is told of those that it has to drop."""

    def __init__(self, state: State, reports: Reports) -> None:
        self._inodes = state.inodes
        self._clock = state.freshness.clock
        self._reports = reports

    def replied(self, node: Node, attr: Attributes, when: float) -> None:
        """The kernel is told of a node's attributes, now: from then on its pages are as new as these.

        It drops pages by itself when mtime or size moved. What else moved it cannot see: it is told explicitly, and
        the pages stay suspect until the file is opened again.
        """
        if not isinstance(node, FileNode) or node.kind == DIR:
            return
        last = node.kernel_attr
        if last is not None and last[0] == attr and not is_coarse(attr):
            return  # of nearly all: what follows says the same of them
        if last is None or (last[0].size, last[0].mtime_ns) != (attr.size, attr.mtime_ns):
            node.kernel_attr = (attr, self._wall(when))
        elif not is_same(last, attr):
            self._reports.contents(node)

    def opened(self, ino: int) -> None:
        """The kernel is told that a file is open: it reads its pages anew, or has those that were found true."""
        node = self._inodes.file_node(ino)
        if node.held is not None and node.held.attr is not None and not is_same(node.kernel_attr, node.held.attr):
            node.kernel_attr = (node.held.attr, self._wall(node.held.when))

    def _wall(self, when: float) -> int:
        """A moment of the monotonic clock, in nanoseconds since the epoch."""
        now = self._clock()
        return time.time_ns() - int((now - min(when, now)) * 1e9)
