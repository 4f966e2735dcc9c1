"""What would change the view: EROFS, but for the steps by which an announcer does what was done already.

The kernel itself refuses all of these on the visible mount. They get here through the announcers' private mount, and
where an administrator has mounted the view read-write.
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
    """The handlers of requests that write; none of them changes anything."""

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
        """What arrives comes out of the hidden directory."""
        self.stage.check_rename(ctx.pid, parent_inode_old, name_old, parent_inode_new, name_new)

    @guarded
    async def unlink(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        """What departs is gone already."""
        self.stage.check_name(ctx.pid, Step.DEPART, parent_inode, name)

    @guarded
    async def rmdir(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        """The same for a directory."""
        self.stage.check_name(ctx.pid, Step.DEPART, parent_inode, name)

    @guarded
    async def mkdir(self, parent_inode: InodeT, name: FileNameT, mode: ModeT, ctx: RequestContext) -> EntryAttributes:
        """Never."""
        raise FUSEError(errno.EROFS)

    @guarded
    async def mknod(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, rdev: int, ctx: RequestContext
    ) -> EntryAttributes:
        """Never."""
        raise FUSEError(errno.EROFS)

    @guarded
    async def create(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, flags: FlagT, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        """Never."""
        raise FUSEError(errno.EROFS)

    @guarded
    async def symlink(
        self, parent_inode: InodeT, name: FileNameT, target: FileNameT, ctx: RequestContext
    ) -> EntryAttributes:
        """Never."""
        raise FUSEError(errno.EROFS)

    @guarded
    async def link(
        self, inode: InodeT, new_parent_inode: InodeT, new_name: FileNameT, ctx: RequestContext
    ) -> EntryAttributes:
        """Never."""
        raise FUSEError(errno.EROFS)

    @guarded
    async def write(self, fh: FileHandleT, off: int, buf: bytes) -> int:
        """Never: an announcer writes nothing either."""
        raise FUSEError(errno.EROFS)

    @guarded
    async def setxattr(self, inode: InodeT, name: XAttrNameT, value: bytes, ctx: RequestContext) -> None:
        """Never."""
        raise FUSEError(errno.EROFS)

    @guarded
    async def removexattr(self, inode: InodeT, name: XAttrNameT, ctx: RequestContext) -> None:
        """Never."""
        raise FUSEError(errno.EROFS)
