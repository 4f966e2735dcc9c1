"""The FUSE protocol, translated. Decides nothing.

Every handler is wrapped once, by ``guarded``: the one place where an OSError becomes a FUSEError. Anything else
that came out of a handler would end the mount, so it is logged and becomes EIO. ENOSYS never passes from a source:
the kernel would not ask for that operation again as long as the mount lives.
"""

import errno
import functools
import logging
import os
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

import pyfuse3
import trio
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
from mmirrorfs.view.directories import Directories
from mmirrorfs.view.extras import Extras
from mmirrorfs.view.finder import Finder
from mmirrorfs.view.labels import Labels
from mmirrorfs.view.nodes import Node
from mmirrorfs.view.view import View

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


_OTHERWISE = {
    errno.ENOSYS: errno.EOPNOTSUPP,
    errno.ENOTCONN: errno.EIO,
    errno.ECONNABORTED: errno.EIO,
}
"""What does not pass from a source: the last two would say that this mount is dead, when a source's is."""


def guarded(
    handler: Callable[Concatenate["Operations", P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate["Operations", P], Coroutine[Any, Any, R]]:
    """Let nothing but FUSEError out of a handler, and the cancellation of a mount that is not ending."""

    @functools.wraps(handler)
    async def wrapped(self: "Operations", *args: P.args, **kwargs: P.kwargs) -> R:
        """The handler; raises FUSEError, or Cancelled where the mount is not ending."""
        if self.ending:
            raise FUSEError(errno.EIO)
        self.served += 1
        try:
            if not self.timeout:
                return await handler(self, *args, **kwargs)
            with trio.fail_after(self.timeout):
                return await handler(self, *args, **kwargs)
        except trio.TooSlowError:
            raise FUSEError(errno.EIO) from None
        except OSError as error:
            code = error.errno or errno.EIO
            raise FUSEError(_OTHERWISE.get(code, code)) from None
        except FUSEError:
            raise
        except trio.Cancelled:
            if self.ending:  # a reader stuck in a hung source gets an answer before the mount goes
                raise FUSEError(errno.EIO) from None
            raise
        except Exception:
            log.exception("internal error in %s", handler.__name__)
            raise FUSEError(errno.EIO) from None

    return wrapped  # type: ignore[return-value]  # wraps() hides the coroutine's type


class Operations(pyfuse3.Operations):
    """The request handlers of one mount. ``ending`` is set when stuck requests are given up: all get EIO then.

    So does each that takes longer than ``timeout`` seconds (0: none does).
    """

    supports_dot_lookup = True
    enable_acl = True

    def __init__(
        self, view: View, directories: Directories, finder: Finder, labels: Labels, timeout: float = 0.0
    ) -> None:
        super().__init__()
        self.ending = False
        self.timeout = timeout
        self.served = 0
        """Requests so far."""
        self._view = view
        self._directories = directories
        self._finder = finder
        self._extras = Extras(view, labels)

    def _told(self, node: Node) -> EntryAttributes:
        """The reply that is written now."""
        attr, when = self._view.answer(node)
        self._view.pages.replied(node, attr, when)
        return self._filled(EntryAttributes(), node.ino, attr, self._view.freshness.timeout(when))

    @staticmethod
    def _filled(entry: EntryAttributes, ino: int, attr: Attributes, timeout: float) -> EntryAttributes:
        """Done for each entry of a listing: unpacked at once, for it costs as much as a stat."""
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
        """A dot is how the kernel asks for an NFS handle: its inode may have been forgotten, or be of a past mount."""
        if name in (b".", b"..") and self._view.inodes.held.get(parent) is None:
            found = await self._finder.find(parent)
            if found is None:
                raise FUSEError(errno.ESTALE)
            return await self._view.dots(found, name)
        return await self._view.lookup(parent, name)

    @guarded
    async def lookup(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> EntryAttributes:
        """Answer a name, absent ones with inode 0: the kernel then remembers the absence for the entry timeout."""
        try:
            node = await self._lookup(parent_inode, name)
        except FileNotFoundError:
            absent = EntryAttributes()
            absent.st_ino = InodeT(0)
            when = self._view.absence(parent_inode, name)
            absent.entry_timeout = absent.attr_timeout = self._view.freshness.timeout(when)
            return absent
        self._view.inodes.held.count(node)
        return self._told(node)

    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        """Take references back. Nobody waits for an answer, and an exception of any kind would end the mount."""
        try:
            for ino, nlookup in inode_list:
                self._view.inodes.held.forget(ino, nlookup)
        except Exception:
            log.exception("internal error in forget")

    @guarded
    async def getattr(self, inode: InodeT, ctx: RequestContext) -> EntryAttributes:
        """Answer stat(2)."""
        return self._told(await self._view.getattr(inode))

    @guarded
    async def readlink(self, inode: InodeT, ctx: RequestContext) -> FileNameT:
        """Answer readlink(2)."""
        return FileNameT(await self._view.readlink(inode))

    @guarded
    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> FileInfo:
        """Open for reading. What the kernel has cached is dropped when it is not true any more."""
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise FUSEError(errno.EROFS)
        handle, unchanged = await self._view.open(inode)
        if not unchanged:  # seen never to block with attr_only, also while requests on the inode are pending
            pyfuse3.invalidate_inode(inode, attr_only=True)
        self._view.pages.opened(inode)
        return FileInfo(fh=FileHandleT(handle), keep_cache=unchanged)

    @guarded
    async def read(self, fh: FileHandleT, off: int, size: int) -> Any:  # noqa: ANN401  # any buffer will do
        """Answer read(2): the buffer is copied out before anything else runs."""
        return await self._view.files.read(fh, off, size)

    @guarded
    async def flush(self, fh: FileHandleT) -> None:
        """Nothing to flush: said once, the kernel saves this request at every close from then on."""
        raise FUSEError(errno.ENOSYS)

    @guarded
    async def release(self, fh: FileHandleT) -> None:
        """The last descriptor of an open file was closed."""
        self._view.files.release(fh)

    @guarded
    async def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        """Take the listing of a directory."""
        return FileHandleT(await self._directories.open(inode))

    @guarded
    async def readdir(self, fh: FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """Hand over entries from ``start_id`` on, until the buffer is full; each one is counted as a lookup."""
        entries = await self._directories.entries(fh, start_id)
        view, entry, told = self._view, EntryAttributes(), list[Node]()
        last, timeout = None, 0.0
        for position, (name, node, attr, when) in enumerate(entries, start_id + 1):
            if attr is None:
                continue
            if when != last:
                last, timeout = when, view.freshness.timeout(when)
            if not pyfuse3.readdir_reply(token, name, self._filled(entry, node.ino, attr, timeout), position):
                break
            view.pages.replied(node, attr, when)
            told.append(node)
        view.inodes.held.count_all(told)

    @guarded
    async def releasedir(self, fh: FileHandleT) -> None:
        """The last descriptor of an open directory was closed."""
        self._directories.release(fh)

    @guarded
    async def statfs(self, ctx: RequestContext) -> pyfuse3.StatvfsData:
        """Answer statvfs(2)."""
        data = pyfuse3.StatvfsData()
        for name, value in (await self._extras.statfs()).items():
            setattr(data, name, value)
        return data

    @guarded
    async def getxattr(self, inode: InodeT, name: pyfuse3.XAttrNameT, ctx: RequestContext) -> bytes:
        """Answer getxattr(2)."""
        return await self._extras.getxattr(inode, name)

    @guarded
    async def listxattr(self, inode: InodeT, ctx: RequestContext) -> Sequence[pyfuse3.XAttrNameT]:
        """Answer listxattr(2)."""
        return [pyfuse3.XAttrNameT(name) for name in await self._extras.listxattr(inode, ctx.uid)]
