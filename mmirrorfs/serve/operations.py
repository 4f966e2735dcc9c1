"""FUSE request handlers: translate between pyfuse3 and ``View``. They make no decisions."""

import errno
import logging
import os
from collections.abc import Sequence
from typing import Any

import pyfuse3
from pyfuse3 import (
    EntryAttributes,
    FileHandleT,
    FileInfo,
    FileNameT,
    FlagT,
    FUSEError,
    InodeT,
    RequestContext,
)

from mmirrorfs.attributes import Attributes
from mmirrorfs.serve.acts import Step
from mmirrorfs.serve.guard import guarded
from mmirrorfs.serve.stage import HANDLE, Stage
from mmirrorfs.serve.writes import Writes
from mmirrorfs.source.freshness import INDEXED
from mmirrorfs.view.directories import Directories
from mmirrorfs.view.handles import HandleResolver
from mmirrorfs.view.labels import Labels
from mmirrorfs.view.nodes import Node
from mmirrorfs.view.view import Absent, View
from mmirrorfs.view.xattrs import Xattrs

log = logging.getLogger(__name__)


class Operations(Writes):
    """The request handlers of one mount."""

    supports_dot_lookup = True
    enable_acl = True

    def __init__(
        self,
        view: View,
        directories: Directories,
        resolver: HandleResolver,
        labels: Labels,
        stage: Stage,
        timeout: float = 0.0,
    ) -> None:
        super().__init__(timeout, stage)
        self._view = view
        self._directories = directories
        self._resolver = resolver
        self._bytes_read = 0
        self._xattrs = Xattrs(view, labels)

    def counts(self) -> dict[str, Any]:
        """Request counters (``Guarded.counts``), files ``opened`` and ``bytes_read`` so far."""
        return {**super().counts(), "opened": self._view.files.opened, "bytes_read": self._bytes_read}

    def _reply(self, node: Node) -> EntryAttributes:
        """The reply with a node's attributes, recorded as what the kernel was last given."""
        attr, when = self._view.answer(node)
        self._view.pages.replied(node, attr, when)
        return self._filled(EntryAttributes(), node.ino, attr, self._view.freshness.timeout(when))

    @staticmethod
    def _filled(entry: EntryAttributes, ino: int, attr: Attributes, timeout: float) -> EntryAttributes:
        """Fill in a reply. Unpacking the tuple at once halves the cost, which counts for listings."""
        mode, nlink, uid, gid, rdev, size, blocks, atime_ns, mtime_ns, ctime_ns, _, _ = attr
        entry.entry_timeout = entry.attr_timeout = timeout
        entry.st_ino = InodeT(ino)
        entry.st_mode = mode
        entry.st_nlink = nlink
        entry.st_uid = uid
        entry.st_gid = gid
        entry.st_rdev = rdev
        entry.st_size = size
        entry.st_blocks = blocks
        entry.st_atime_ns = atime_ns
        entry.st_mtime_ns = mtime_ns
        entry.st_ctime_ns = ctime_ns
        return entry

    async def _lookup(self, parent: int, name: bytes) -> Node:
        """Look up a name. NFS handles are looked up as ".": the inode may be forgotten, or of an earlier mount."""
        if name in (b".", b"..") and self._view.inodes.held.get(parent) is None:
            found = await self._resolver.find(parent)
            if found is None:
                raise FUSEError(errno.ESTALE)
            return await self._view.dots(found, name)
        return await self._view.lookup(parent, name)

    @guarded
    async def lookup(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> EntryAttributes:
        """Look up a name. A missing one is answered with inode 0, which the kernel caches for the entry timeout."""
        staged = self.stage.lookup(ctx.pid, parent_inode, name)
        if staged is not None:
            return self._filled(EntryAttributes(), staged.ino, staged.attr, 0.0)
        try:
            node = await self._lookup(parent_inode, name)
        except FileNotFoundError as error:
            absent = EntryAttributes()
            absent.st_ino = InodeT(0)
            when = error.when if isinstance(error, Absent) else INDEXED
            absent.entry_timeout = absent.attr_timeout = self._view.freshness.timeout(when)
            return absent
        self._view.inodes.held.count(node)
        return self._reply(node)

    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        """Drop lookup counts. There is no reply, and any exception would end the mount."""
        try:
            for ino, nlookup in inode_list:
                self._view.inodes.held.forget(ino, nlookup)
        except Exception:
            log.exception("internal error in forget")

    @guarded
    async def getattr(self, inode: InodeT, ctx: RequestContext) -> EntryAttributes:
        """Attributes of an inode."""
        staged = self.stage.getattr(ctx.pid, inode)
        if staged is not None:
            return self._filled(EntryAttributes(), staged.ino, staged.attr, 0.0)
        return self._reply(await self._view.getattr(inode))

    @guarded
    async def setattr(
        self,
        inode: InodeT,
        attr: EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: FileHandleT | None,
        ctx: RequestContext,
    ) -> EntryAttributes:
        """Change nothing and return the attributes, for an announcer; EROFS for everybody else.

        With timeout 0: of all replies only this one overrides an invalidation that was sent after it was written.
        """
        self.stage.check_node(ctx.pid, inode, Step.EDIT, Step.TOUCH)
        found = self._reply(await self._view.getattr(inode))
        found.attr_timeout = 0
        return found

    @guarded
    async def readlink(self, inode: InodeT, ctx: RequestContext) -> FileNameT:
        """Target of a symbolic link."""
        return FileNameT(await self._view.readlink(inode))

    @guarded
    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> FileInfo:
        """Open for reading. Pages that the kernel has cached are kept only if the file has not changed."""
        if flags & os.O_ACCMODE != os.O_RDONLY:
            self.stage.check_node(ctx.pid, inode, Step.EDIT)
            return FileInfo(fh=FileHandleT(HANDLE), keep_cache=True)
        handle, unchanged = await self._view.open(inode)
        if not unchanged:  # with attr_only this does not block, even with requests on the inode pending
            pyfuse3.invalidate_inode(inode, attr_only=True)
        self._view.pages.opened(inode)
        return FileInfo(fh=FileHandleT(handle), keep_cache=unchanged)

    @guarded
    async def read(self, fh: FileHandleT, off: int, size: int) -> Any:  # noqa: ANN401  # any buffer will do
        """Read. The buffer is copied into the reply before any other task runs."""
        data = await self._view.read(fh, off, size)
        self._bytes_read += len(data)
        return data

    @guarded
    async def flush(self, fh: FileHandleT) -> None:
        """Nothing to flush: after one ENOSYS the kernel no longer sends this request."""
        raise FUSEError(errno.ENOSYS)

    @guarded
    async def release(self, fh: FileHandleT) -> None:
        """Close a file handle."""
        self._view.files.release(fh)

    @guarded
    async def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        """Open a directory and take a snapshot of its listing."""
        return FileHandleT(await self._directories.open(inode))

    @guarded
    async def readdir(self, fh: FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """READDIRPLUS from offset ``start_id`` until the buffer is full; each entry counts as a lookup."""
        entries = await self._directories.entries(fh, start_id)
        view, entry, listed = self._view, EntryAttributes(), list[Node]()
        last, timeout = None, 0.0
        for position, (name, node, attr, when) in enumerate(entries, start_id + 1):
            if attr is None:
                continue
            if when != last:
                last, timeout = when, view.freshness.timeout(when)
            if not pyfuse3.readdir_reply(token, name, self._filled(entry, node.ino, attr, timeout), position):
                break
            view.pages.replied(node, attr, when)
            listed.append(node)
        view.inodes.held.count_all(listed)

    @guarded
    async def releasedir(self, fh: FileHandleT) -> None:
        """Close a directory handle."""
        self._directories.release(fh)

    @guarded
    async def statfs(self, ctx: RequestContext) -> pyfuse3.StatvfsData:
        """Filesystem statistics."""
        data = pyfuse3.StatvfsData()
        for name, value in (await self._xattrs.statfs()).items():
            setattr(data, name, value)
        return data

    @guarded
    async def getxattr(self, inode: InodeT, name: pyfuse3.XAttrNameT, ctx: RequestContext) -> bytes:
        """Value of an extended attribute."""
        return await self._xattrs.getxattr(inode, name)

    @guarded
    async def listxattr(self, inode: InodeT, ctx: RequestContext) -> Sequence[pyfuse3.XAttrNameT]:
        """Names of the extended attributes."""
        return [pyfuse3.XAttrNameT(name) for name in await self._xattrs.listxattr(inode, ctx.uid)]
