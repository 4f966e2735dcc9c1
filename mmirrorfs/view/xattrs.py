"""Extended attributes and statfs.

Event loop's thread only. Functions raise OSError.
"""

import errno
import os

from mmirrorfs.source.fetch import BRIEFLY, failure
from mmirrorfs.source.source import Source, SourceLost
from mmirrorfs.view.labels import PREFIX, Labels
from mmirrorfs.view.nodes import FileNode, MergedNode, Node
from mmirrorfs.view.view import View

BLOCK = 4096
"""Bytes: the block size of the sums, as the sources may have different ones."""

STATFS = 1.0
"""Seconds that statfs(2) waits for a source: no directory is locked meanwhile. One that hangs is not waited for."""


class Xattrs:
    """Extended attributes and statfs of one view."""

    def __init__(self, view: View, labels: Labels) -> None:
        self._view = view
        self._labels = labels

    async def getxattr(self, ino: int, name: bytes) -> bytes:
        """The value from the winner. Raises ENODATA. ``security.*``, which ``ls -l`` asks for, needs no disk access."""
        if name.startswith(b"security."):
            raise failure(errno.ENODATA)
        node = self._view.inodes.node(ino)
        if name.startswith(PREFIX):
            return await self._label(node, name[len(PREFIX) :])
        source, source_path, merged = self._winner(node)
        return await self._view.fetch[source.rank].value(source_path, name, briefly=merged)

    async def _label(self, node: Node, name: bytes) -> bytes:
        value = await self._labels.get(node, name)
        if value is None:
            raise failure(errno.ENODATA)
        return value

    async def listxattr(self, ino: int, uid: int = 0) -> list[bytes]:
        """The names from the winner; none if its source is lost. Only root gets ``trusted.*``."""
        source, source_path, merged = self._winner(self._view.inodes.node(ino))
        try:
            if merged:
                names = await source.within(BRIEFLY, source.reader.listxattr, source_path)
            else:
                names, _ = await source.with_fallback(list, source.reader.listxattr, source_path)
        except (SourceLost, TimeoutError):
            return []
        hidden = (b"security.", PREFIX) if uid == 0 else (b"security.", b"trusted.", PREFIX)
        return [name for name in names if not name.startswith(hidden)]

    def _winner(self, node: Node) -> tuple[Source, bytes, bool]:
        if isinstance(node, FileNode):
            return node.source, node.source_path, node.indexed
        assert isinstance(node, MergedNode)
        merged = self._view.inodes.current(node)
        rank = next((rank for rank in self._view.inodes.order if merged.inputs[rank] is not None), None)
        if rank is None:
            raise failure(errno.ENODATA)
        return self._view.sources[rank], node.path_in(rank), True

    async def statfs(self) -> dict[str, int]:
        """Sums over the distinct filesystems of the sources, in BLOCK units. Those that do not answer are left out."""
        by_device: dict[int, os.statvfs_result] = {}
        for source in self._view.sources:
            try:
                device, figures = await source.within(STATFS, source.reader.statvfs)
            except OSError:
                continue
            by_device[device] = figures
        return {
            "f_bsize": BLOCK,
            "f_frsize": BLOCK,
            "f_blocks": sum(s.f_blocks * s.f_frsize for s in by_device.values()) // BLOCK,
            "f_files": sum(s.f_files for s in by_device.values()),
            "f_namemax": min([s.f_namemax for s in by_device.values()], default=255),
        }
