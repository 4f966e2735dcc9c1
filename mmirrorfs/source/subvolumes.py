"""Opening the top volume of a btrfs filesystem of which only subvolumes are mounted.

fanotify(7) marks a btrfs filesystem through its top volume alone (EXDEV elsewhere), and then reports events of all
subvolumes. If the top volume is not mounted, it is mounted detached (fsopen(2)), in no mount table, for as long as the
mark takes. It is mounted read-only: the kernel uses the superblock as it is mounted already, and never makes it
writable (seen on Linux 6.18).

For root only. Any thread may call it; it may access the disk. Raises OSError.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
from collections.abc import Iterator
from typing import Final

_SYS_FSOPEN: Final = 430
_SYS_FSCONFIG: Final = 431
_SYS_FSMOUNT: Final = 432
"""The same on every architecture."""
_CLOEXEC: Final = 1
"""Both FSOPEN_CLOEXEC and FSMOUNT_CLOEXEC."""
_SET_FLAG: Final = 0
_SET_STRING: Final = 1
_CMD_CREATE: Final = 6
_ATTR_READ_ONLY: Final = 0x1
_TOP: Final = b"5"
"""BTRFS_FS_TREE_OBJECTID."""
_FS_INFO: Final = 0x8400941F
"""BTRFS_IOC_FS_INFO."""
_FS_INFO_SIZE: Final = 1024

_call = ctypes.CDLL(None, use_errno=True).syscall
_call.restype = ctypes.c_long


@contextlib.contextmanager
def top_of(fd: int, device: bytes) -> Iterator[int]:
    """The top volume of the filesystem of ``fd``, open; ``device`` is its source in the mount table.

    Raises OSError: EPERM, ENOENT if the device does not exist here, ENXIO if it has another filesystem, ENOSYS before
    Linux 5.2.
    """
    with contextlib.ExitStack() as stack:
        context = _opened(stack, _SYS_FSOPEN, b"btrfs", _CLOEXEC)
        _checked(_SYS_FSCONFIG, context, _SET_STRING, b"source", device, 0)
        _checked(_SYS_FSCONFIG, context, _SET_STRING, b"subvolid", _TOP, 0)
        _checked(_SYS_FSCONFIG, context, _SET_FLAG, b"ro", None, 0)
        _checked(_SYS_FSCONFIG, context, _CMD_CREATE, None, None, 0)
        mount = _opened(stack, _SYS_FSMOUNT, context, _CLOEXEC, _ATTR_READ_ONLY)
        top = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mount)
        stack.callback(os.close, top)
        if _uuid(top) != _uuid(fd):
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO), device)
        yield top


def _uuid(fd: int) -> bytes:
    return fcntl.ioctl(fd, _FS_INFO, bytes(_FS_INFO_SIZE))[16:32]


def _opened(stack: contextlib.ExitStack, number: int, *args: int | bytes) -> int:
    fd = _checked(number, *args)
    stack.callback(os.close, fd)
    return fd


def _checked(number: int, *args: int | bytes | None) -> int:
    words = [ctypes.c_long(arg) if isinstance(arg, int) else ctypes.c_char_p(arg) for arg in args]
    found: int = _call(ctypes.c_long(number), *words)
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return found
