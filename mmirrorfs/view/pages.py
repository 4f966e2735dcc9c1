"""``kernel_attr``: which version of a file the kernel's cached pages belong to.

It is set when a reply is written, and nowhere else. Event loop's thread only.
"""

import time

from mmirrorfs.attributes import DIR, Attributes
from mmirrorfs.view.nodes import FileNode, Node, is_coarse, is_same
from mmirrorfs.view.reports import Reports
from mmirrorfs.view.state import State


class Pages:
    """The cached pages of the files of one view; ``reports`` receives those to invalidate."""

    def __init__(self, state: State, reports: Reports) -> None:
        self._inodes = state.inodes
        self._clock = state.freshness.clock
        self._reports = reports

    def replied(self, node: Node, attr: Attributes, when: float) -> None:
        """Record that these attributes of a node, fetched at ``when``, are being replied.

        The kernel drops cached pages by itself if mtime or size changed. Any other change it cannot see: the pages are
        invalidated explicitly, and stay suspect until the file is opened again.
        """
        if not isinstance(node, FileNode) or node.kind == DIR:
            return
        last = node.kernel_attr
        if last is not None and last[0] == attr and not is_coarse(attr):
            return  # the common case, and what follows would do nothing
        if last is None or (last[0].size, last[0].mtime_ns) != (attr.size, attr.mtime_ns):
            node.kernel_attr = (attr, self._wall(when))
        elif not is_same(last, attr):
            self._reports.contents(node)

    def opened(self, ino: int) -> None:
        """Record the reply to an open: cached pages were either found valid, or are dropped by it."""
        node = self._inodes.file_node(ino)
        if node.held is not None and node.held.attr is not None and not is_same(node.kernel_attr, node.held.attr):
            node.kernel_attr = (node.held.attr, self._wall(node.held.when))

    def _wall(self, when: float) -> int:
        """A monotonic time in nanoseconds since the epoch."""
        now = self._clock()
        return time.time_ns() - int((now - min(when, now)) * 1e9)
