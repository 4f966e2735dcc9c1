"""System calls that Python's os lacks, or whose sizes and flags it hides. All raise OSError."""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from typing import Any

AT_FDCWD, AT_SYMLINK_NOFOLLOW, AT_EACCESS, AT_EMPTY_PATH = -100, 0x100, 0x200, 0x1000
FACCESSAT2, FCHMODAT2 = 439, 452
MAP_SHARED, MAP_PRIVATE, PROT_READ = 1, 2, 1

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = _libc.syscall.restype = _libc.telldir.restype = ctypes.c_long
_libc.opendir.restype = ctypes.c_void_p


def libc(name: str, *args: Any) -> int:  # noqa: ANN401  # whatever ctypes takes
    """Call a function of the C library that returns -1 for an error. Arguments are numbers, strings and buffers."""
    words = [os.fsencode(arg) if isinstance(arg, str) else arg for arg in args]
    ctypes.set_errno(0)
    found: int = getattr(_libc, name)(*[ctypes.c_long(word) if isinstance(word, int) else word for word in words])
    if found == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), name)
    return found


def syscall(number: int, *args: Any) -> int:  # noqa: ANN401
    """Make a system call by its number; only for numbers that are the same on all architectures."""
    return libc("syscall", number, *args)


@contextlib.contextmanager
def opened(path: str, flags: int = os.O_RDONLY) -> Iterator[int]:
    """A descriptor with O_NONBLOCK while the block runs."""
    fd = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def mapped(fd: int, size: int, offset: int = 0, flags: int = MAP_SHARED) -> Iterator[int]:
    """The address of a read-only mapping of a file, which may be shorter than ``size``."""
    address = libc("mmap", None, size, PROT_READ, flags, fd, offset)
    try:
        yield address
    finally:
        libc("munmap", address, size)


class Statx(ctypes.Structure):
    """struct statx; the fields that stat(2) has too are in ``rest``."""

    _fields_ = (
        ("mask", ctypes.c_uint32),
        ("blksize", ctypes.c_uint32),
        ("attributes", ctypes.c_uint64),
        ("nlink", ctypes.c_uint32),
        ("uid", ctypes.c_uint32),
        ("gid", ctypes.c_uint32),
        ("mode", ctypes.c_uint16),
        ("spare", ctypes.c_uint16),
        ("ino", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
        ("blocks", ctypes.c_uint64),
        ("attributes_mask", ctypes.c_uint64),
        ("atime", ctypes.c_uint64 * 2),
        ("btime", ctypes.c_uint64 * 2),
        ("ctime", ctypes.c_uint64 * 2),
        ("mtime", ctypes.c_uint64 * 2),
        ("rest", ctypes.c_uint64 * 16),
    )


def statx(path: str, flags: int, mask: int, *fields: str) -> tuple[Any, ...]:
    """Those fields of struct statx."""
    found = Statx()
    libc("statx", AT_FDCWD, path, flags, mask, ctypes.byref(found))
    values = [getattr(found, field) for field in fields]
    return tuple(tuple(value) if isinstance(value, ctypes.Array) else value for value in values)


class Dirent(ctypes.Structure):
    """struct dirent of readdir(3)."""

    _fields_ = (
        ("ino", ctypes.c_uint64),
        ("off", ctypes.c_int64),
        ("reclen", ctypes.c_ushort),
        ("type", ctypes.c_ubyte),
        ("name", ctypes.c_char * 256),
    )


class Directory:
    """A directory stream of the C library."""

    def __init__(self, path: str) -> None:
        self._stream = ctypes.c_void_p(_libc.opendir(os.fsencode(path)))
        if self._stream.value is None:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
        _libc.readdir.restype = ctypes.POINTER(Dirent)

    def __enter__(self) -> "Directory":
        return self

    def __exit__(self, *error: object) -> None:
        _libc.closedir(self._stream)

    def next(self) -> tuple[bytes, int] | None:
        """The next entry's name and type; None at the end."""
        entry = _libc.readdir(self._stream)
        return (bytes(entry.contents.name), int(entry.contents.type)) if entry else None

    def rest(self) -> list[tuple[bytes, int]]:
        """The remaining entries."""
        found: list[tuple[bytes, int]] = []
        while (entry := self.next()) is not None:
            found.append(entry)
        return found

    def tell(self) -> int:
        """telldir(3)."""
        return int(_libc.telldir(self._stream))

    def seek(self, position: int) -> None:
        """seekdir(3)."""
        _libc.seekdir(self._stream, ctypes.c_long(position))

    def rewind(self) -> None:
        """rewinddir(3)."""
        _libc.rewinddir(self._stream)
