"""A name for an open directory that the kernel's events bear too: its file handle, name_to_handle_at(2).

Rule 1: a key is made of the bytes of a fanotify(7) event from ``fsid`` to the end of ``f_handle``: what comes in is
compared as it is. Rule 2: a handle is never opened: what was deleted has none any more, and opening has hung others.
Rule 3: a key says nothing of where the directory is and outlives its renaming; after its removal no other gets it
(the handle holds the inode's generation).

Any thread may call this. Nothing is read from the disk for a handle; ``fsid_of`` may (vfat counts its free clusters).
"""

import ctypes
import errno
import os
import threading
from typing import Final

_AT_EMPTY_PATH: Final = 0x1000
_AT_HANDLE_FID: Final = 0x200
"""Linux 6.5: a handle to tell files apart by, which is what fanotify reports. Some filesystems have no other."""
_MAX_HANDLE_SZ: Final = 128
_NONE: Final = (errno.EOPNOTSUPP, errno.EOVERFLOW)

_fstatfs = ctypes.CDLL(None, use_errno=True).fstatfs
_fstatfs.argtypes = (ctypes.c_int, ctypes.c_void_p)
_LONGS: Final = 7
"""What comes before f_fsid in struct statfs: numbers of the size of a long."""
_name_to_handle_at = ctypes.PyDLL(None, use_errno=True).name_to_handle_at
"""Keeps the interpreter's lock: it is answered from memory, and giving the lock away would cost more than the call.

Without argtypes, and so for arguments that are of the right type already: that saves a tenth of the time.
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


class _Room(threading.local):
    """Of each thread: a handle, its bytes, and the addresses of it and of what follows it."""

    def __init__(self) -> None:
        handle = _Handle()
        address = ctypes.addressof(handle)
        mount = ctypes.c_void_p(address + _Handle.mount.offset)
        self.parts = handle, memoryview(handle).cast("B"), ctypes.c_void_p(address), mount


_room = _Room()


class Support:
    """What this kernel takes; found out by trying, once."""

    flags = _AT_EMPTY_PATH | _AT_HANDLE_FID


def fsid_of(fd: int) -> bytes:
    """The 8 bytes that events have for the filesystem of an open file; of its subvolume on btrfs. Raises OSError.

    Not os.fstatvfs: not every C library gives all of it there.
    """
    numbers = (ctypes.c_long * 32)()
    if _fstatfs(fd, ctypes.addressof(numbers)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    start = _LONGS * ctypes.sizeof(ctypes.c_long)
    return bytes(numbers)[start : start + 8]


def handle_of(fd: int, fsid: bytes | None = None) -> bytes:
    """The key of an open directory; b"" where its filesystem has none. Raises OSError (EBADF, EPERM of a sandbox).

    Whoever asks for many on one filesystem gives the ``fsid_of`` it: 2.5 us a key instead of 4.5 (Linux 6.18).
    """
    handle, whole, address, mount = _room.parts
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
