"""A table of locks, leases, inotify, statfs, sockets and FIFOs, also between a path and the same path in its source."""

import ctypes
import errno
import fcntl
import os
import select
import socket
import stat
import struct
from collections.abc import Callable
from pathlib import Path

from tests.support.handles import AT_FDCWD, Handle, handle_of
from tests.support.parity import Call, Calls, Where
from tests.support.parity_contents import on
from tests.support.syscalls import libc, opened

IN_OPEN = 0x20
FAN_MARK_ADD, FAN_CLASS_NOTIF, FAN_REPORT_FID = 1, 0, 0x200
F_OFD_GETLK, F_OFD_SETLK = 36, 37
_FLOCK = struct.Struct("hhqqi4x")


def _lock(command: int, kind: int, start: int = 0, length: int = 0) -> Call:
    """fcntl(2) with a struct flock; the outcome is the structure without the process id."""

    def call(fd: int) -> object:
        found = fcntl.fcntl(fd, command, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))
        return _FLOCK.unpack(found)[:4]

    return on(call)


def _locked_twice(where: Where) -> object:
    """An exclusive flock of one descriptor; the outcome is that of the same on a second one."""
    with opened(where.path) as one, opened(where.path) as other:
        fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _refused(lambda: fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB))


def _refused(call: Callable[[], object]) -> str:
    try:
        call()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "done"


def _lease(kind: int) -> Call:
    def call(fd: int) -> object:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, kind)
        held = fcntl.fcntl(fd, fcntl.F_GETLEASE)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return held

    return on(call)


LOCKS: Calls = {
    "flock LOCK_SH": on(lambda fd: fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)),
    "flock LOCK_EX": on(lambda fd: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)),
    "flock LOCK_UN": on(lambda fd: fcntl.flock(fd, fcntl.LOCK_UN)),
    "flock of what is locked": _locked_twice,
    "F_SETLK F_RDLCK": _lock(fcntl.F_SETLK, fcntl.F_RDLCK),
    "F_SETLK of a range": _lock(fcntl.F_SETLK, fcntl.F_RDLCK, 10, 20),
    "F_SETLK F_WRLCK": _lock(fcntl.F_SETLK, fcntl.F_WRLCK),
    "F_SETLK F_UNLCK": _lock(fcntl.F_SETLK, fcntl.F_UNLCK),
    "F_GETLK": _lock(fcntl.F_GETLK, fcntl.F_RDLCK),
    "F_GETLK F_WRLCK": _lock(fcntl.F_GETLK, fcntl.F_WRLCK),
    "F_OFD_SETLK": _lock(F_OFD_SETLK, fcntl.F_RDLCK),
    "F_OFD_GETLK": _lock(F_OFD_GETLK, fcntl.F_WRLCK),
    "F_SETLEASE F_RDLCK": _lease(fcntl.F_RDLCK),
    "F_SETLEASE F_WRLCK": _lease(fcntl.F_WRLCK),
    "F_NOTIFY": on(lambda fd: fcntl.fcntl(fd, fcntl.F_NOTIFY, fcntl.DN_CREATE)),
}


def _watched(where: Where, opened_path: str) -> object:
    """The inotify events of a path when the other one is opened."""
    fd = libc("inotify_init1", os.O_NONBLOCK)
    try:
        libc("inotify_add_watch", fd, where.path, IN_OPEN)
        with opened(opened_path):
            pass
        return bool(select.select([fd], [], [], 0)[0])
    finally:
        os.close(fd)


def _marked(flags: int) -> Call:
    def call(where: Where) -> object:
        fd = libc("fanotify_init", FAN_CLASS_NOTIF | flags, os.O_RDONLY)
        try:
            return libc("fanotify_mark", fd, FAN_MARK_ADD, IN_OPEN, AT_FDCWD, where.path)
        finally:
            os.close(fd)

    return call


def _handle(path: str, size: int) -> object:
    handle = Handle(size)
    return libc("name_to_handle_at", AT_FDCWD, path, ctypes.byref(handle), ctypes.byref(ctypes.c_int()), 0)


def _figures(*fields: str) -> Call:
    return lambda where: [getattr(os.statvfs(where.path), field) for field in fields]


def _fstatvfs(fd: int) -> object:
    return os.fstatvfs(fd).f_namemax


def _statfs(first: int, count: int) -> Call:
    """Some fields of struct statfs."""

    def call(where: Where) -> object:
        buffer = (ctypes.c_long * 32)()
        libc("statfs", where.path, buffer)
        return list(buffer[first : first + count])

    return call


WATCHES: Calls = {
    "inotify_add_watch": lambda where: _watched(where, where.path),
    "fanotify_mark": _marked(0),
    "fanotify_mark FAN_REPORT_FID": _marked(FAN_REPORT_FID),
    "name_to_handle_at": lambda where: handle_of(Path(where.path)).size > 0,
    "name_to_handle_at into nothing": lambda where: _handle(where.path, 0),
    "the bytes of name_to_handle_at": lambda where: bytes(handle_of(Path(where.path)).data).rstrip(b"\0"),
    "statvfs: block and name sizes": _figures("f_bsize", "f_frsize", "f_namemax"),
    "statvfs: blocks and files": _figures("f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree"),
    "statvfs: flags": _figures("f_flag"),
    "statfs' f_type": _statfs(0, 1),
    "statfs' f_fsid": _statfs(7, 1),
    "fstatvfs": on(_fstatvfs),
    "fstatvfs of O_PATH": on(_fstatvfs, os.O_PATH),
}


def _connected(where: Where) -> None:
    """Connect to a socket by its path while the one in the source has a listener."""
    if stat.S_ISSOCK(os.lstat(where.real).st_mode):
        with socket.socket(socket.AF_UNIX) as to:
            to.connect(where.path)


def _written(where: Where) -> object:
    """What a reader of the FIFO in the source gets when the path is written to."""
    if not stat.S_ISFIFO(os.lstat(where.real).st_mode):
        return None
    with opened(where.real) as reading, opened(where.path, os.O_WRONLY) as writing:
        return os.write(writing, b"bytes"), os.read(reading, 10)


def _locked_there(where: Where) -> object:
    with opened(where.real) as real, opened(where.path) as fd:
        fcntl.flock(real, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _refused(lambda: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB))


def _leased_there(where: Where) -> object:
    """Whether a lease of the path is broken when the file in the source is opened for writing."""
    with opened(where.path) as fd:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        return _refused(lambda: os.close(os.open(where.real, os.O_WRONLY | os.O_NONBLOCK)))


BETWEEN: Calls = {
    "inotify of what happens in the source": lambda where: _watched(where, where.real),
    "connect to a socket of the source": _connected,
    "write to a FIFO that is read in the source": _written,
    "flock of what is locked in the source": _locked_there,
    "a lease of what is opened in the source": _leased_there,
}

CALLS: Calls = {**LOCKS, **WATCHES, **BETWEEN}
