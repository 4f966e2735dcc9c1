"""Handlers of requests that write: EROFS, except for the steps of announcers, which change nothing.

The kernel refuses all of these on the visible mount. They arrive through the announcers' private mount, or if an
administrator has mounted the view read-write.
"""

import errno

from pyfuse3 import (
    EntryAttributes,
    FileHandleT,
    FileInfo,
    FileNameT,
    FlagT,
    FUSEError,
    InodeT,
    ModeT,
    RequestContext,
    XAttrNameT,
)

from mmirrorfs.serve.acts import Step
from mmirrorfs.serve.guard import Guarded, guarded
from mmirrorfs.serve.stage import Stage


class Writes(Guarded):
    """The handlers of requests that write. All raise FUSEError only."""

    def __init__(self, timeout: float, stage: Stage) -> None:
        super().__init__(timeout)
        self.stage = stage

    @guarded
    async def rename(
        self,
        parent_inode_old: InodeT,
        name_old: FileNameT,
        parent_inode_new: InodeT,
        name_new: FileNameT,
        flags: FlagT,
        ctx: RequestContext,
    ) -> None:
        """Succeed for an announcer's rename out of the hidden directory."""
        self.stage.check_rename(ctx.pid, parent_inode_old, name_old, parent_inode_new, name_new)

    @guarded
    async def unlink(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        """Succeed for an announcer: the file is gone already."""
        self.stage.check_name(ctx.pid, Step.DEPART, parent_inode, name)

    @guarded
    async def rmdir(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        """Succeed for an announcer: the directory is gone already."""
        self.stage.check_name(ctx.pid, Step.DEPART, parent_inode, name)

    @guarded
    async def mkdir(self, parent_inode: InodeT, name: FileNameT, mode: ModeT, ctx: RequestContext) -> EntryAttributes:
        """Refuse."""
        raise FUSEError(errno.EROFS)

    @guarded
    async def mknod(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, rdev: int, ctx: RequestContext
    ) -> EntryAttributes:
        """Refuse."""
        raise FUSEError(errno.EROFS)

    @guarded
    async def create(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, flags: FlagT, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        """Refuse."""
        raise FUSEError(errno.EROFS)

    @guarded
    async def symlink(
        self, parent_inode: InodeT, name: FileNameT, target: FileNameT, ctx: RequestContext
    ) -> EntryAttributes:
        """Refuse."""
        raise FUSEError(errno.EROFS)

    @guarded
    async def link(
        self, inode: InodeT, new_parent_inode: InodeT, new_name: FileNameT, ctx: RequestContext
    ) -> EntryAttributes:
        """Refuse."""
        raise FUSEError(errno.EROFS)

    @guarded
    async def write(self, fh: FileHandleT, off: int, buf: bytes) -> int:
        """Refuse; announcers do not write either."""
        raise FUSEError(errno.EROFS)

    @guarded
    async def setxattr(self, inode: InodeT, name: XAttrNameT, value: bytes, ctx: RequestContext) -> None:
        """Refuse."""
        raise FUSEError(errno.EROFS)

    @guarded
    async def removexattr(self, inode: InodeT, name: XAttrNameT, ctx: RequestContext) -> None:
        """Refuse."""
        raise FUSEError(errno.EROFS)
