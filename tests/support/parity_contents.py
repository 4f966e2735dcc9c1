"""A table of system calls on the content of files: open, read, mmap, copy, poll, ioctl."""

import ctypes
import fcntl
import mmap
import os
import select
import socket
import subprocess
import termios
from collections.abc import Callable

from tests.support.parity import Call, Calls, Where
from tests.support.syscalls import MAP_PRIVATE, MAP_SHARED, libc, mapped, opened

RWF_HIPRI, RWF_NOWAIT, RWF_DONTCACHE = 1, 8, 0x80
FIGETBSZ, FIBMAP, FIONREAD = 2, 1, termios.FIONREAD
FS_IOC_GETFLAGS, FS_IOC_GETVERSION, FS_IOC_FSGETXATTR, FS_IOC_FIEMAP = 0x80086601, 0x80087601, 0x801C581F, 0xC020660B
FICLONE = 0x40049409
SYNC_FILE_RANGE_WRITE = 2
PAGE = mmap.PAGESIZE


def on(function: Callable[[int], object], flags: int = os.O_RDONLY) -> Call:
    """A call on a descriptor."""

    def call(where: Where) -> object:
        with opened(where.path, flags) as fd:
            return function(fd)

    return call


def opening(flags: int) -> Call:
    """An open; the outcome is the descriptor's flags."""
    return on(lambda fd: fcntl.fcntl(fd, fcntl.F_GETFL), flags)


OPENS: Calls = {
    "open O_RDONLY": opening(os.O_RDONLY),
    "open O_DIRECTORY": opening(os.O_DIRECTORY),
    "open O_NOFOLLOW": opening(os.O_NOFOLLOW),
    "open O_PATH": opening(os.O_PATH),
    "open O_PATH | O_NOFOLLOW": opening(os.O_PATH | os.O_NOFOLLOW),
    "open O_NOATIME": opening(os.O_NOATIME),
    "open O_DIRECT": opening(os.O_DIRECT),
    "open O_SYNC": opening(os.O_SYNC),
    "open O_ASYNC": opening(os.O_ASYNC),
    "open O_APPEND": opening(os.O_APPEND),
    "open O_CREAT | O_EXCL of what is there": lambda where: (
        opening(os.O_CREAT | os.O_EXCL)(where) if os.path.lexists(where.path) else None
    ),
    "execve": lambda where: subprocess.run([where.path], capture_output=True, check=False).stdout,
}


def _pieces(fd: int) -> bytes:
    return b"".join(iter(lambda: os.read(fd, 70_001), b""))


def _readv(fd: int) -> object:
    buffers = [bytearray(10), bytearray(5000), bytearray(1)]
    return os.readv(fd, buffers), buffers[0], buffers[2]


def _preadv(flags: int, offset: int = 4000) -> Call:
    def read(fd: int) -> object:
        buffers = [bytearray(10), bytearray(5000)]
        return os.preadv(fd, buffers, offset, flags), buffers[0]

    return on(read)


def _nowait(fd: int) -> object:
    """A read from the page cache, after another read."""
    os.pread(fd, 4096, 0)
    return os.preadv(fd, [bytearray(10)], 0, RWF_NOWAIT)


def _direct(size: int, offset: int) -> Call:
    def read(fd: int) -> object:
        buffer = mmap.mmap(-1, 8 * PAGE)
        view = memoryview(buffer)[:size]
        count = os.preadv(fd, [view], offset)
        return count, bytes(view[:count])

    return on(read, os.O_DIRECT)


READS: Calls = {
    "read": on(lambda fd: os.read(fd, 100)),
    "read of nothing": on(lambda fd: os.read(fd, 0)),
    "read to the end": on(_pieces),
    "read of O_PATH": on(lambda fd: os.read(fd, 100), os.O_PATH),
    "read in turns": on(lambda fd: (os.read(fd, 10), os.lseek(fd, 0, os.SEEK_CUR), os.read(fd, 5000)[-10:])),
    "pread": on(lambda fd: os.pread(fd, 10_000, 70_000)),
    "pread over the end": on(lambda fd: os.pread(fd, 10_000, 299_990)),
    "pread past the end": on(lambda fd: os.pread(fd, 10, 1 << 40)),
    "pread at a negative offset": on(lambda fd: os.pread(fd, 10, -1)),
    "readv": on(_readv),
    "preadv": _preadv(0),
    "preadv2 RWF_HIPRI": _preadv(RWF_HIPRI),
    "preadv2 RWF_NOWAIT": on(_nowait),
    "preadv2 RWF_DONTCACHE": _preadv(RWF_DONTCACHE),
    "preadv2 of an unknown flag": _preadv(1 << 30),
    "O_DIRECT, aligned": _direct(2 * PAGE, PAGE),
    "O_DIRECT, at no multiple of a block": _direct(PAGE, 1),
    "O_DIRECT, of no multiple of a block": _direct(100, 0),
    "O_DIRECT, over the end": _direct(8 * PAGE, 299_008),
}


def _seeks(whence: int, *offsets: int) -> Call:
    return on(lambda fd: [os.lseek(fd, offset, whence) for offset in offsets])


SEEKS: Calls = {
    "lseek SEEK_SET": _seeks(os.SEEK_SET, 0, 5, 1 << 30),
    "lseek SEEK_SET to a negative offset": _seeks(os.SEEK_SET, -1),
    "lseek SEEK_SET past all files": _seeks(os.SEEK_SET, (1 << 63) - 1),
    "lseek SEEK_CUR": _seeks(os.SEEK_CUR, 10, 10),
    "lseek SEEK_END": _seeks(os.SEEK_END, 0),
    "lseek SEEK_END past it": _seeks(os.SEEK_END, 10),
    "lseek SEEK_DATA at 0": _seeks(os.SEEK_DATA, 0),
    "lseek SEEK_DATA past the end": _seeks(os.SEEK_DATA, 1 << 30),
    "lseek SEEK_HOLE at 0": _seeks(os.SEEK_HOLE, 0),
    "lseek SEEK_HOLE past the end": _seeks(os.SEEK_HOLE, 1 << 30),
    "lseek of an unknown whence": _seeks(99, 0),
}


def _map(size: int, flags: int, offset: int = 0) -> Call:
    """Map, and read the first and the last bytes."""

    def read(fd: int) -> object:
        with mapped(fd, size, offset, flags) as address:
            if os.fstat(fd).st_size < offset + size:
                return None
            return ctypes.string_at(address, 10), ctypes.string_at(address + size - 10, 10)

    return on(read)


def _fault(fd: int) -> object:
    """The exit status of a process that accesses a page beyond the end."""
    beyond = (os.fstat(fd).st_size + PAGE - 1) // PAGE * PAGE
    with mapped(fd, beyond + PAGE) as address:
        pid = os.fork()
        if pid == 0:
            ctypes.string_at(address + beyond, 1)
            os._exit(0)
        return os.waitpid(pid, 0)[1] & 0x7F  # the signal, whether there is a core or not


def _own_copy(fd: int) -> object:
    with mmap.mmap(fd, 100, access=mmap.ACCESS_COPY) as memory:
        memory[:5] = b"mine!"
        return memory[:10], os.pread(fd, 10, 0)


def _resident(fd: int) -> object:
    """The resident pages after all were accessed (mincore(2))."""
    size, seen = 8 * PAGE, (ctypes.c_ubyte * 8)()
    with mapped(fd, size) as address:
        ctypes.string_at(address, min(size, os.fstat(fd).st_size))
        libc("mincore", address, size, seen)
    return [page & 1 for page in seen]


def _advise(advice: int) -> Call:
    def call(fd: int) -> object:
        with mapped(fd, 4 * PAGE) as address:
            return libc("madvise", address, 4 * PAGE, advice)

    return on(call)


ADVICE = ["NORMAL", "RANDOM", "SEQUENTIAL", "WILLNEED", "DONTNEED", "REMOVE"]
MADVISE = {f"madvise MADV_{name}": _advise(getattr(mmap, f"MADV_{name}")) for name in ADVICE}

MAPS: Calls = {
    "mmap MAP_PRIVATE": _map(5000, MAP_PRIVATE),
    "mmap MAP_SHARED": _map(5000, MAP_SHARED),
    "mmap MAP_SHARED_VALIDATE": _map(5000, 3),
    "mmap at an offset": _map(5000, MAP_SHARED, 2 * PAGE),
    "mmap at no page's offset": _map(5000, MAP_SHARED, 10),
    "mmap of nothing": _map(0, MAP_SHARED),
    "mmap, past the end": on(_fault),
    "mmap, written for oneself": on(lambda fd: _own_copy(fd) if os.fstat(fd).st_size >= 100 else None),
    "mincore": on(_resident),
    **MADVISE,
    "madvise MADV_POPULATE_READ": _advise(22),
    "madvise of an unknown advice": _advise(999),
}


def _to_memory(copy: Callable[[int, int], int]) -> Call:
    """Copy into a file in memory; the outcome is its content."""

    def call(fd: int) -> object:
        to = os.memfd_create("to")
        try:
            return copy(fd, to), os.pread(to, 200_000, 0)
        finally:
            os.close(to)

    return on(call)


def _to_a_pipe(copy: Callable[[int, int], int]) -> Call:
    def call(fd: int) -> object:
        reading, writing = os.pipe2(os.O_NONBLOCK)
        try:
            count = copy(fd, writing)
            return count, os.read(reading, 100_000) if count else b""
        finally:
            os.close(reading)
            os.close(writing)

    return on(call)


def _to_a_socket(fd: int) -> object:
    one, other = socket.socketpair()
    with one, other:
        count = os.sendfile(one.fileno(), fd, 10, 1000)
        return count, other.recv(2000) if count else b""


def _to_the_same_disk(copy: Callable[[int, int], object]) -> Call:
    def call(where: Where) -> object:
        with opened(where.path) as fd, opened(where.scratch, os.O_TMPFILE | os.O_RDWR) as to:
            return copy(fd, to)

    return call


COPIES: Calls = {
    "sendfile to a file": _to_memory(lambda fd, to: os.sendfile(to, fd, 1000, 150_000)),
    "sendfile to a pipe": _to_a_pipe(lambda fd, to: os.sendfile(to, fd, None, 4000)),
    "sendfile to a socket": on(_to_a_socket),
    "splice to a pipe": _to_a_pipe(lambda fd, to: os.splice(fd, to, 5000)),
    "splice to a pipe from an offset": _to_a_pipe(lambda fd, to: os.splice(fd, to, 5000, 299_000)),
    "copy_file_range to another disk": _to_memory(lambda fd, to: os.copy_file_range(fd, to, 1000)),
    "copy_file_range to the same disk": _to_the_same_disk(lambda fd, to: os.copy_file_range(fd, to, 1000)),
    "FICLONE": _to_the_same_disk(lambda fd, to: fcntl.ioctl(to, FICLONE, fd)),
}


def _polled(fd: int) -> object:
    poll = select.poll()
    poll.register(fd, select.POLLIN | select.POLLOUT | select.POLLPRI)
    return [events for _, events in poll.poll(0)]


def _epolled(fd: int) -> object:
    with select.epoll() as epoll:
        epoll.register(fd, select.EPOLLIN)
        return [events for _, events in epoll.poll(0)]


WAITS: Calls = {
    "poll": on(_polled),
    "select": on(lambda fd: [bool(ready) for ready in select.select([fd], [fd], [fd], 0)]),
    "epoll": on(_epolled),
}


def _asked(request: int, size: int) -> Call:
    return on(lambda fd: bytes(fcntl.ioctl(fd, request, bytes(size))))


def _fadvise(advice: int) -> Call:
    return on(lambda fd: os.posix_fadvise(fd, 0, 0, advice))


FADVICE = ["NORMAL", "RANDOM", "SEQUENTIAL", "WILLNEED", "DONTNEED", "NOREUSE"]
FADVISE = {f"posix_fadvise {name}": _fadvise(getattr(os, f"POSIX_FADV_{name}")) for name in FADVICE}

TELLS: Calls = {
    **FADVISE,
    "posix_fadvise of an unknown advice": _fadvise(99),
    "readahead": on(lambda fd: libc("readahead", fd, 0, 100_000)),
    "fsync": on(os.fsync),
    "fdatasync": on(os.fdatasync),
    "syncfs": on(lambda fd: libc("syncfs", fd)),
    "sync_file_range": on(lambda fd: libc("sync_file_range", fd, 0, 0, SYNC_FILE_RANGE_WRITE)),
    "ioctl FIGETBSZ": _asked(FIGETBSZ, 4),
    "ioctl FIONREAD": _asked(FIONREAD, 4),
    "ioctl FIBMAP": _asked(FIBMAP, 4),
    "ioctl FS_IOC_FIEMAP": on(lambda fd: len(fcntl.ioctl(fd, FS_IOC_FIEMAP, bytes(32)))),
    "ioctl FS_IOC_GETFLAGS": _asked(FS_IOC_GETFLAGS, 8),
    "ioctl FS_IOC_GETVERSION": _asked(FS_IOC_GETVERSION, 8),
    "ioctl FS_IOC_FSGETXATTR": _asked(FS_IOC_FSGETXATTR, 28),
    "ioctl TCGETS": _asked(termios.TCGETS, 64),
    "ioctl of an unknown request": _asked(0x12345678, 8),
}

CALLS: Calls = {**OPENS, **READS, **SEEKS, **MAPS, **COPIES, **WAITS, **TELLS}
