"""File handles as NFS servers use them: name_to_handle_at(2) and open_by_handle_at(2). Root only."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

AT_FDCWD = -100
FORGET = Path("/proc/sys/vm/drop_caches")


def forget() -> None:
    """Drop the kernel's unused dentries and inodes."""
    FORGET.write_text("2")


class Handle(ctypes.Structure):
    """struct file_handle of name_to_handle_at(2)."""

    _fields_ = (("size", ctypes.c_uint), ("type", ctypes.c_int), ("data", ctypes.c_ubyte * 128))


_libc = ctypes.CDLL(None, use_errno=True)


def handle_of(path: Path) -> Handle:
    """The handle of a path. Raises OSError."""
    handle, mount = Handle(128), ctypes.c_int()
    if _libc.name_to_handle_at(AT_FDCWD, os.fsencode(path), ctypes.byref(handle), ctypes.byref(mount), 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
    return handle


@contextmanager
def opened(mountpoint: Path, handle: Handle) -> Iterator[int]:
    """A descriptor of the file that a handle identifies. Raises OSError: ESTALE where there is none."""
    at = os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fd = _libc.open_by_handle_at(at, ctypes.byref(handle), os.O_RDONLY)
        if fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(at)
    try:
        yield fd
    finally:
        os.close(fd)
