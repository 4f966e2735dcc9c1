"""A private, writable, short-lived second mount of the view's superblock. The visible mount stays read-only.

Needs CAP_SYS_ADMIN, CAP_DAC_OVERRIDE and mount_setattr(2), Linux 5.12. The system call numbers are the same on every
architecture.
"""

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator

from mmirrorfs.mount.reference import Reference
from mmirrorfs.source.capabilities import DAC_OVERRIDE, SYS_ADMIN, has, raised

_SYS_OPEN_TREE, _SYS_FSCONFIG, _SYS_FSPICK, _SYS_MOUNT_SETATTR = 428, 431, 433, 442
_AT_FDCWD, _AT_EMPTY_PATH, _AT_NO_AUTOMOUNT = -100, 0x1000, 0x800
_OPEN_TREE_CLONE, _MOUNT_ATTR_RDONLY = 1, 1
_FSPICK_CLOEXEC, _FSPICK_NO_AUTOMOUNT = 1, 4
_FSCONFIG_SET_FLAG, _FSCONFIG_CMD_RECONFIGURE = 0, 7
_libc = ctypes.CDLL(None, use_errno=True)


class _Attributes(ctypes.Structure):
    """struct mount_attr (linux/mount.h)."""

    _fields_ = tuple((name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns"))


def why_not() -> str:
    """Why a view mounted now could not be mounted a second time, writable; "" if it could."""
    if os.geteuid() or not has(SYS_ADMIN, DAC_OVERRIDE):
        return "only root may"
    attributes = _Attributes()
    _libc.syscall(_SYS_MOUNT_SETATTR, -1, b"", _AT_EMPTY_PATH, ctypes.byref(attributes), ctypes.sizeof(attributes))
    if ctypes.get_errno() in (errno.ENOSYS, errno.EPERM):
        return "this kernel cannot (mount_setattr(2), Linux 5.12)"
    return ""


def let_write(mountpoint: bytes) -> None:
    """Make the superblock of the mount writable. Raises OSError.

    Superblock and mount both start read-only, and the mount stays so: at no time can anybody write.
    """
    context = _checked(_libc.syscall(_SYS_FSPICK, _AT_FDCWD, mountpoint, _FSPICK_CLOEXEC | _FSPICK_NO_AUTOMOUNT))
    try:
        _checked(_libc.syscall(_SYS_FSCONFIG, context, _FSCONFIG_SET_FLAG, b"rw", None, 0))
        _checked(_libc.syscall(_SYS_FSCONFIG, context, _FSCONFIG_CMD_RECONFIGURE, None, None, 0))
    finally:
        os.close(context)


@contextlib.contextmanager
def writable(own: Reference) -> Iterator[int]:
    """A descriptor of the root of a private, writable clone of the mount, with CAP_DAC_OVERRIDE raised.

    Raises OSError; ENODEV if something else is mounted there now. Not on the event loop: it sends requests to the view.
    """
    flags = _OPEN_TREE_CLONE | _AT_NO_AUTOMOUNT | os.O_CLOEXEC
    fd = _checked(_libc.syscall(_SYS_OPEN_TREE, _AT_FDCWD, own.where, flags))
    try:
        device = os.fstat(fd).st_dev
        if f"{os.major(device)}:{os.minor(device)}" != own.device:
            raise OSError(errno.ENODEV, "it is not mounted there any more")
        attributes = _Attributes(0, _MOUNT_ATTR_RDONLY, 0, 0)
        size = ctypes.sizeof(attributes)
        _checked(_libc.syscall(_SYS_MOUNT_SETATTR, fd, b"", _AT_EMPTY_PATH, ctypes.byref(attributes), size))
        with raised(DAC_OVERRIDE):
            yield fd
    finally:
        os.close(fd)


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
