"""Open files: descriptors, and reads that never make the event loop wait for a disk.

Rule 1: what is in the page cache is read at once (preadv with RWF_NOWAIT, 3 us); a thread reads what is not.
Rule 2: a short answer in mid-file is not the end of the file: the kernel would cut it there. The rest is read too.
Rule 3: a descriptor is closed after the last read of it, also when the release overtakes that read, for its number
is given out again at once.
Rule 4: who reads a network or FUSE source in order is read ahead for, as far as was read so far and AHEAD bytes at
the most: a stream soon keeps a slow link busy, and who only wants the tags at a file's start costs it nothing.

Event loop's thread only, but for the blocking reads themselves.
"""

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import trio

from mmirrorfs.attributes import Attributes
from mmirrorfs.source.reader import attributes
from mmirrorfs.source.singles import Answer
from mmirrorfs.source.source import Source, SourceLost
from mmirrorfs.view.nodes import FileNode, Validator

LARGEST = 1 << 20
"""Bytes: the most that the kernel asks for in one read (256 pages)."""

AHEAD = 4 << 20
"""Bytes asked ahead on a network or FUSE source: a link with 20 ms a read is kept busy. They wait in the page cache."""
STEP = 128 << 10
"""Bytes asked ahead in one call: the kernel cuts what is more than its own read-ahead, and that is its default. What
it leaves out while the link is congested is asked for again with the next read; what is there costs nothing."""


@dataclass(slots=True, eq=False)
class OpenFile:
    """One open file. ``reading`` counts the reads under way; ``validator`` is what the kernel's pages are as new as.

    Of the last reads, ``position`` is where they ended, and ``run`` how much they read in order.
    """

    fd: int
    node: FileNode
    source: Source
    nowait: bool = True
    reading: int = 0
    released: bool = False
    position: int = 0
    run: int = 0
    validator: Validator | None = None
    proving: bool = False
    local: bool = True

    async def attributes(self, otherwise: Callable[[], Attributes | None]) -> tuple[Attributes, bool]:
        """What is open here, whatever has its name by now, and True; ``otherwise``, and False, where the source hangs,
        fails or is lost.

        Raises OSError.
        """
        if self.local:
            return attributes(os.fstat(self.fd)), True
        self.reading += 1
        try:
            return await self.source.with_fallback(otherwise, _fstat, self.fd)
        except SourceLost:
            if (last := otherwise()) is None:
                raise
            return last, False
        finally:
            self.read_over()

    def ahead(self, offset: int, size: int) -> range:
        """Where to ask ahead, in steps, of who reads here now (rule 4)."""
        if abs(offset - self.position) > AHEAD:
            self.run = 0
        end = self.position = offset + size
        steps = range(end, end + min(AHEAD, self.run), STEP)
        self.run += size
        return steps

    def read_over(self) -> None:
        """A read has ended."""
        self.reading -= 1
        self.close_idle()

    def close_idle(self) -> None:
        """Close what was released, after the last read of it."""
        if self.released and not self.reading and self.fd >= 0:
            fd, self.fd = self.fd, -1
            self.source.pace.close(fd, self.local)


class Files:
    """All open files of a view, by file handle."""

    def __init__(self) -> None:
        self._files: dict[int, OpenFile] = {}
        self.opened = 0
        """Files opened so far, and the last handle that was given out."""
        self._some = trio.Event()
        self._scratch = memoryview(bytearray(LARGEST))

    def add(self, fd: int, node: FileNode, attr: Attributes, when: float) -> int:
        """Take over a descriptor of what has these attributes since ``when``; returns its file handle."""
        self.opened += 1
        local = node.source.is_local(node.source_path)
        self._files[self.opened] = OpenFile(fd, node, node.source, validator=(attr, time.time_ns()), local=local)
        node.opened += 1
        node.held, node.content = Answer(attr, when), (attr.dev, attr.ino)
        self._some.set()
        return self.opened

    async def some(self) -> None:
        """Wait until a file is open."""
        while not self._files:
            if self._some.is_set():
                self._some = trio.Event()
            await self._some.wait()

    def of(self, node: FileNode) -> OpenFile | None:
        """An open file of that node, if there is one."""
        if not node.opened:
            return None
        return next((file for file in self._files.values() if file.node is node), None)

    async def prove(self, file: OpenFile, took: Callable[[OpenFile, Attributes], None]) -> None:
        """Ask for the attributes of what is open, and hand them to ``took``; nobody waits, and one asks at a time."""
        if file.proving:
            return
        file.proving = True
        with contextlib.suppress(OSError):
            attr, _ = await file.attributes(lambda: None)
            took(file, attr)
        file.proving = False

    async def read(self, handle: int, offset: int, size: int) -> bytes | memoryview:
        """Up to ``size`` bytes from ``offset`` on; fewer only at the end of the file. Raises OSError.

        The answer may lie in a buffer that the next read uses again: it must be sent before anything is awaited.
        """
        file = self._files.get(handle)
        if file is None or file.released:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        got = self._cached(file, offset, min(size, LARGEST)) if file.nowait else 0
        if got == size or (got and self._ends(file, offset + got)):
            return self._scratch[:got]
        head = bytes(self._scratch[:got])
        ahead = range(0) if file.local else file.ahead(offset, size)
        rest = await self._read_in_thread(file, partial(_read_whole, file.fd, offset + got, size - got, ahead))
        return head + rest if head else rest

    @staticmethod
    async def _read_in_thread(file: OpenFile, call: Callable[[], bytes]) -> bytes:
        """Rule 3, also for a read that nobody waits for any more: it goes on in its thread."""
        token = trio.lowlevel.current_trio_token()

        def late(read: bytes | None) -> None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(file.read_over)

        file.reading += 1
        try:
            read = await file.source.pace.owned(call, late)
        except trio.Cancelled:
            raise
        except BaseException:
            file.read_over()
            raise
        file.read_over()
        return read

    def _cached(self, file: OpenFile, offset: int, size: int) -> int:
        """Read what is in memory into the scratch buffer; returns how much that was."""
        try:
            return os.preadv(file.fd, [self._scratch[:size]], offset, os.RWF_NOWAIT)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
            file.nowait = False
            return 0

    @staticmethod
    def _ends(file: OpenFile, position: int) -> bool:
        """Whether the file ends there; known without waiting on a local source only."""
        return file.local and position >= os.fstat(file.fd).st_size

    def release(self, handle: int) -> None:
        """The kernel has no use for the handle any more. Never raises."""
        file = self._files.pop(handle, None)
        if file is not None:
            file.released = True
            file.node.opened -= 1
            if not file.node.opened:
                file.node.held = None
            file.close_idle()

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[OpenFile]:
        return iter(list(self._files.values()))


def _fstat(fd: int) -> Attributes:
    return attributes(os.fstat(fd))


def _read_whole(fd: int, offset: int, size: int, ahead: range = range(0)) -> bytes:
    """Read until ``size`` bytes or the end of the file, having asked for the steps ``ahead`` too. Blocking."""
    with contextlib.suppress(OSError):
        for start in ahead:
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
