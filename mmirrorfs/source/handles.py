"""The event key of an open directory: fsid and file handle (name_to_handle_at(2)), as fanotify(7) events have them.

Rule 1: a key equals the bytes of an event from ``fsid`` to the end of ``f_handle``, so events are compared unparsed.
Rule 2: a handle is never opened: that fails for a removed directory, and may hang.
Rule 3: a key survives renaming, and is not reused after removal (the handle has the inode's generation).

Any thread may call it. A handle needs no disk access; ``fsid_of`` may (vfat counts its free clusters).
"""

import ctypes
import errno
import os
import threading
from typing import Final

_AT_EMPTY_PATH: Final = 0x1000
_AT_HANDLE_FID: Final = 0x200
"""Linux 6.5: a handle that identifies a file only, which is what fanotify reports; some filesystems have no other."""
_MAX_HANDLE_SZ: Final = 128
_NONE: Final = (errno.EOPNOTSUPP, errno.EOVERFLOW)

_fstatfs = ctypes.CDLL(None, use_errno=True).fstatfs
_fstatfs.argtypes = (ctypes.c_int, ctypes.c_void_p)
_LONGS: Final = 7
"""Fields before f_fsid in struct statfs, each of the size of a long."""
_name_to_handle_at = ctypes.PyDLL(None, use_errno=True).name_to_handle_at
"""Keeps the interpreter's lock: the call needs no disk, and releasing the lock costs more than it.

Without argtypes, for arguments of the right type: that saves a tenth of the time.
"""
_NOTHING: Final = ctypes.c_char_p(b"")


class _Handle(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_uint),
        ("type", ctypes.c_int),
        ("handle", ctypes.c_ubyte * _MAX_HANDLE_SZ),
        ("mount", ctypes.c_int),
    )


_HEAD: Final = _Handle.handle.offset


class _Buffer(threading.local):
    """One a thread: a handle, its bytes, and the addresses of it and of the mount id."""

    def __init__(self) -> None:
        handle = _Handle()
        address = ctypes.addressof(handle)
        mount = ctypes.c_void_p(address + _Handle.mount.offset)
        self.parts = handle, memoryview(handle).cast("B"), ctypes.c_void_p(address), mount


_buffer = _Buffer()


class Support:
    """What this kernel supports; detected by the first call."""

    flags = _AT_EMPTY_PATH | _AT_HANDLE_FID


def fsid_of(fd: int) -> bytes:
    """The 8 bytes that events have for the filesystem of an open file, on btrfs for its subvolume. Raises OSError.

    Not from os.fstatvfs: not every C library has all 8 there.
    """
    numbers = (ctypes.c_long * 32)()
    if _fstatfs(fd, ctypes.addressof(numbers)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    start = _LONGS * ctypes.sizeof(ctypes.c_long)
    return bytes(numbers)[start : start + 8]


def handle_of(fd: int, fsid: bytes | None = None) -> bytes:
    """The key of an open directory; b"" if its filesystem has no handles. Raises OSError (EBADF, EPERM in a sandbox).

    Pass the ``fsid_of`` its filesystem when there are many: 2.5 us a key instead of 4.5 (Linux 6.18).
    """
    handle, whole, address, mount = _buffer.parts
    handle.size = _MAX_HANDLE_SZ
    if _name_to_handle_at(fd, _NOTHING, address, mount, Support.flags) != 0:
        return _failed(fd, fsid, ctypes.get_errno())
    return (fsid_of(fd) if fsid is None else fsid) + whole[: _HEAD + handle.size].tobytes()


def _failed(fd: int, fsid: bytes | None, code: int) -> bytes:
    if code == errno.EINVAL and Support.flags & _AT_HANDLE_FID:  # kernels before 6.5
        Support.flags = _AT_EMPTY_PATH
        return handle_of(fd, fsid)
    if code in _NONE:
        return b""
    raise OSError(code, os.strerror(code))
