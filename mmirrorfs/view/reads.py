"""Reads of open files that never block the event loop on a disk.

- Pages in the page cache are read on the loop (preadv with RWF_NOWAIT, 3 us), all others in a thread of the source.
- A short read in mid-file is completed: the kernel would take it for the end of the file.
- On a network or FUSE source, the next bytes are requested too: as many as were read in order so far, at most AHEAD. A
  stream keeps a slow link busy, and a program that reads only the tags at the start of a file costs it nothing.

Event loop's thread only, except for the blocking reads themselves.
"""

import contextlib
import errno
import os
from functools import partial

import trio

from mmirrorfs.view.files import Files, OpenFile

LARGEST = 1 << 20
"""Bytes: the largest read that the kernel requests (256 pages)."""
AHEAD = 4 << 20
"""Bytes of the largest readahead window: a link with 20 ms a read is kept busy."""
STEP = 128 << 10
"""Bytes in one posix_fadvise(2): the kernel cuts off what exceeds its own readahead, by default this much. It drops
requests while the link is congested; they are repeated with the next read, at no cost for what is cached."""


class Reads:
    """Reads from the open files of a view, through one shared buffer."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._buffer = memoryview(bytearray(LARGEST))

    async def read(self, handle: int, offset: int, size: int) -> bytes | memoryview:
        """``size`` bytes from ``offset``; fewer only at the end of the file. Raises OSError.

        The result may be a view of the shared buffer: copy it out before the next await.
        """
        file = self._files.get(handle)
        got = self._read_cached(file, offset, min(size, LARGEST)) if file.nowait else 0
        if got == size or (got and _is_end(file, offset + got)):
            return self._buffer[:got]
        head = bytes(self._buffer[:got])
        window = range(0) if file.local else _window(file, offset, size)
        rest = await _read_in_thread(file, offset + got, size - got, window)
        return head + rest if head else rest

    def _read_cached(self, file: OpenFile, offset: int, size: int) -> int:
        """Read from the page cache into the buffer; returns the number of bytes."""
        try:
            return os.preadv(file.fd, [self._buffer[:size]], offset, os.RWF_NOWAIT)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
            file.nowait = False
            return 0


def _is_end(file: OpenFile, position: int) -> bool:
    """Whether the file ends there. False where fstat(2) may block."""
    return file.local and position >= os.fstat(file.fd).st_size


def _window(file: OpenFile, offset: int, size: int) -> range:
    """The offsets to request ahead, STEP apart, given the read that begins now."""
    if abs(offset - file.position) > AHEAD:
        file.run = 0
    end = file.position = offset + size
    steps = range(end, end + min(AHEAD, file.run), STEP)
    file.run += size
    return steps


async def _read_in_thread(file: OpenFile, offset: int, size: int, window: range) -> bytes:
    """A cancelled caller leaves the read running: the descriptor stays open until it is over."""
    token = trio.lowlevel.current_trio_token()

    def abandoned(read: bytes | None) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(file.end_read)

    file.reading += 1
    try:
        read = await file.source.threads.owned(partial(_read_whole, file.fd, offset, size, window), abandoned)
    except trio.Cancelled:
        raise
    except BaseException:
        file.end_read()
        raise
    file.end_read()
    return read


def _read_whole(fd: int, offset: int, size: int, window: range) -> bytes:
    """Request the window, then read until ``size`` bytes or the end of the file. Blocking."""
    with contextlib.suppress(OSError):
        for start in window:
            os.posix_fadvise(fd, start, STEP, os.POSIX_FADV_WILLNEED)
    parts: list[bytes] = []
    while size > 0:
        part = os.pread(fd, size, offset)
        if not part:
            break
        parts.append(part)
        offset += len(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
