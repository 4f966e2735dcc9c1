"""Opening paths beneath a root, without ever leaving it: openat2(2), or a walk where the kernel lacks it.

Rule 1: a path is resolved by one call with RESOLVE_NO_SYMLINKS. No component may be a link, those of the root included,
and none is ``..``; so nothing outside can be reached, not even if a directory is replaced by a link at that moment.
Rule 2: with ``cached`` a call never blocks.

Any thread may call it. Raises OSError.
"""

import ctypes
import errno
import os
import stat
from typing import Final

AT_FDCWD: Final = -100
_SYS_OPENAT2: Final = 437
"""The same on every architecture, as all system calls from 424 on."""
_RESOLVE_NO_MAGICLINKS: Final = 0x02
_RESOLVE_NO_SYMLINKS: Final = 0x04
_RESOLVE_CACHED: Final = 0x20
_SAFE: Final = _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS
_STEP: Final = 4000
"""Bytes of a path for one call; the kernel takes 4095 (PATH_MAX)."""

PATH_ONLY: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
CONTENT: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | os.O_NOFOLLOW
"""O_NONBLOCK: if a FIFO took the place of the file, the open must not wait for its other end."""


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def _syscall(library: type[ctypes.CDLL]) -> "ctypes._NamedFuncPointer":
    function = library(None, use_errno=True).syscall
    function.restype = ctypes.c_long
    function.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)
    return function


_call = _syscall(ctypes.CDLL)
_call_cached = _syscall(ctypes.PyDLL)
"""RESOLVE_CACHED never blocks, so the interpreter's lock is kept: releasing it costs more than the call."""

_hows: dict[tuple[int, bool], tuple[_OpenHow, int]] = {}


class Support:
    """What this kernel and sandbox support; detected by the first calls."""

    openat2 = True
    cached = True


def open_beneath(root: bytes, path: bytes, flags: int, cached: bool = False) -> int:
    """Open ``path`` below ``root`` (absolute, free of links) and return the descriptor.

    Raises OSError: ELOOP if a component is a link, or ENOTDIR with O_DIRECTORY; with ``cached`` BlockingIOError on a
    miss of the kernel's caches, and always before Linux 5.12.
    """
    if cached and not (Support.openat2 and Support.cached):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)
    whole = root + b"/" + path if path else root
    if not Support.openat2:
        return _walk(b"/", whole.strip(b"/"), flags)
    if len(whole) > _STEP:
        if cached:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)
        return _in_steps(whole, flags)
    return _openat2(AT_FDCWD, whole, flags, cached)


def open_at(directory: int, name: bytes, flags: int, cached: bool = False) -> int:
    """The same for one name in an open directory."""
    if not Support.openat2 or (cached and not Support.cached):
        if cached:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), name)
        return os.open(name, flags | os.O_NOFOLLOW, dir_fd=directory)
    return _openat2(directory, name, flags, cached)


def _openat2(directory: int, path: bytes, flags: int, cached: bool) -> int:
    how = _hows.get((flags, cached)) or _how(flags, cached)
    call = _call_cached if cached else _call
    fd: int = call(_SYS_OPENAT2, directory, path, how[1], 24)
    if fd >= 0:
        return fd
    code = ctypes.get_errno()
    if code == errno.EINVAL and cached and Support.cached:  # kernels before 5.12
        Support.cached = False
        code = errno.EAGAIN
    if code in (errno.ENOSYS, errno.EPERM) and _is_missing():
        Support.openat2 = False
        if cached:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)
        above = b"/" if directory == AT_FDCWD else b"."
        return _walk(above, path.lstrip(b"/"), flags, directory)
    raise OSError(code, os.strerror(code), path)


def _how(flags: int, cached: bool) -> tuple[_OpenHow, int]:
    how = _OpenHow(flags, 0, _SAFE | (_RESOLVE_CACHED if cached else 0))
    entry = _hows[flags, cached] = (how, ctypes.addressof(how))
    return entry


def _is_missing() -> bool:
    """Whether openat2 itself fails: old kernel (ENOSYS) or seccomp filter (EPERM)."""
    how = _OpenHow(PATH_ONLY, 0, 0)
    fd: int = _call(_SYS_OPENAT2, AT_FDCWD, b"/", ctypes.addressof(how), 24)
    if fd >= 0:
        os.close(fd)
    return fd < 0


def _in_steps(whole: bytes, flags: int) -> int:
    """Open a path that is too long for one call, in several."""
    fd = AT_FDCWD
    try:
        while len(whole) > _STEP:
            cut = whole.rindex(b"/", 1, _STEP)
            inner = _openat2(fd, whole[:cut], PATH_ONLY | os.O_DIRECTORY, False)
            if fd >= 0:
                os.close(fd)
            fd, whole = inner, whole[cut + 1 :]
        return _openat2(fd, whole, flags, False)
    finally:
        if fd >= 0:
            os.close(fd)


def _walk(root: bytes, path: bytes, flags: int, directory: int = AT_FDCWD) -> int:
    """The same without openat2: component by component, none of them a link."""
    fd = os.open(root, PATH_ONLY | os.O_DIRECTORY, dir_fd=directory)
    try:
        *above, last = path.split(b"/") if path else [b"."]
        for name in above:
            inner = _step(fd, name)
            os.close(fd)
            fd = inner
        return os.open(last, flags, dir_fd=fd)
    finally:
        os.close(fd)


def _step(directory: int, name: bytes) -> int:
    """Open one directory. O_DIRECTORY on a link gives ENOTDIR; this gives ELOOP, as openat2 does."""
    try:
        return os.open(name, PATH_ONLY | os.O_DIRECTORY, dir_fd=directory)
    except NotADirectoryError:
        if not stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            raise
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
