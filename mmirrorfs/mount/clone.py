"""Two mounts of one superblock: the visible one, which is read-only, and a private one for a moment, which is not.

Needs CAP_SYS_ADMIN and, for mount_setattr(2), Linux 5.12. The calls are alike on every architecture.
"""

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator

from mmirrorfs.mount.capabilities import DAC_OVERRIDE, SYS_ADMIN, has, raised
from mmirrorfs.mount.reference import Reference

_SYS_OPEN_TREE, _SYS_MOUNT_SETATTR = 428, 442
_AT_FDCWD, _AT_EMPTY_PATH, _AT_NO_AUTOMOUNT = -100, 0x1000, 0x800
_OPEN_TREE_CLONE, _MOUNT_ATTR_RDONLY = 1, 1
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT, _MS_BIND = 1, 2, 4, 32, 4096
_libc = ctypes.CDLL(None, use_errno=True)


class _Attributes(ctypes.Structure):
    """struct mount_attr (linux/mount.h)."""

    _fields_ = tuple((name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns"))


def why_not() -> str:
    """Why a view that is mounted now could not be had a second time, writable; "" where it could."""
    if os.geteuid() or not has(SYS_ADMIN, DAC_OVERRIDE):
        return "only root may"
    attributes = _Attributes()
    _libc.syscall(_SYS_MOUNT_SETATTR, -1, b"", _AT_EMPTY_PATH, ctypes.byref(attributes), ctypes.sizeof(attributes))
    if ctypes.get_errno() in (errno.ENOSYS, errno.EPERM):
        return "this kernel cannot (mount_setattr(2), Linux 5.12)"
    return ""


def make_read_only(mountpoint: bytes) -> None:
    """Have the mount there read-only, whatever its superblock is. Raises OSError."""
    flags = _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV
    if _libc.mount(None, mountpoint, None, ctypes.c_ulong(flags), None):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@contextlib.contextmanager
def writable(own: Reference) -> Iterator[int]:
    """A descriptor of the root of a private, writable mount of the same view, to which root may write all.

    Raises OSError, ENODEV where something else is at the mountpoint by now. In a thread: the view itself is asked.
    """
    fd = _libc.syscall(_SYS_OPEN_TREE, _AT_FDCWD, own.where, _OPEN_TREE_CLONE | _AT_NO_AUTOMOUNT | os.O_CLOEXEC)
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    try:
        device = os.fstat(fd).st_dev
        if f"{os.major(device)}:{os.minor(device)}" != own.device:
            raise OSError(errno.ENODEV, "it is not mounted there any more")
        attributes = _Attributes(0, _MOUNT_ATTR_RDONLY, 0, 0)
        size = ctypes.sizeof(attributes)
        if _libc.syscall(_SYS_MOUNT_SETATTR, fd, b"", _AT_EMPTY_PATH, ctypes.byref(attributes), size):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        with raised(DAC_OVERRIDE):
            yield fd
    finally:
        os.close(fd)
