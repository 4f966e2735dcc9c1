"""The table of open files: file handles, and the descriptors behind them. ``view.reads`` reads from them.

- A descriptor is closed after its last read, also if release(2) overtakes that read: its number is reused at once.
- On a network or FUSE source, fstat(2) and close(2) run in a thread of the source.

Event loop's thread only.
"""

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import trio

from mmirrorfs.attributes import Attributes
from mmirrorfs.source.fetch import failure
from mmirrorfs.source.reader import attributes
from mmirrorfs.source.singles import Answer
from mmirrorfs.source.source import Source, SourceLost
from mmirrorfs.view.nodes import FileNode, Validator


@dataclass(slots=True, eq=False)
class OpenFile:
    """One descriptor. ``reading`` counts the calls in flight; ``validator`` belongs to the pages that the kernel has.

    For ``view.reads``: ``nowait`` is false once the filesystem has refused RWF_NOWAIT, ``position`` is where the last
    read ended, and ``run`` the number of bytes read in order up to there.
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
    refreshing: bool = False
    local: bool = True

    async def attributes(self, fallback: Callable[[], Attributes | None]) -> tuple[Attributes, bool]:
        """The attributes of the open file itself, and True. If the source hangs, fails or is lost, ``fallback()`` and
        False. Raises OSError.
        """
        if self.local:
            return attributes(os.fstat(self.fd)), True
        self.reading += 1
        try:
            return await self.source.with_fallback(fallback, _fstat, self.fd)
        except SourceLost:
            if (cached := fallback()) is None:
                raise
            return cached, False
        finally:
            self.end_read()

    async def refresh(self, update: Callable[["OpenFile", Attributes], None]) -> None:
        """Fetch the attributes and pass them to ``update``, one fetch at a time. Errors are ignored."""
        if self.refreshing:
            return
        self.refreshing = True
        with contextlib.suppress(OSError):
            attr, _ = await self.attributes(lambda: None)
            update(self, attr)
        self.refreshing = False

    def end_read(self) -> None:
        """Count a call as finished."""
        self.reading -= 1
        self.close_idle()

    def close_idle(self) -> None:
        """Close the descriptor if it is released and no call uses it."""
        if self.released and not self.reading and self.fd >= 0:
            fd, self.fd = self.fd, -1
            self.source.threads.close(fd, self.local)


class Files:
    """All open files of a view, by file handle."""

    def __init__(self) -> None:
        self._files: dict[int, OpenFile] = {}
        self.opened = 0
        """Files opened so far; also the last handle issued."""
        self._added = trio.Event()

    def add(self, fd: int, node: FileNode, attr: Attributes, when: float) -> int:
        """Take ownership of a descriptor whose attributes were fetched at ``when``; returns its file handle."""
        self.opened += 1
        local = node.source.is_local(node.source_path)
        self._files[self.opened] = OpenFile(fd, node, node.source, validator=(attr, time.time_ns()), local=local)
        node.opened += 1
        node.held, node.content = Answer(attr, when), (attr.dev, attr.ino)
        self._added.set()
        return self.opened

    async def some(self) -> None:
        """Wait until at least one file is open."""
        while not self._files:
            if self._added.is_set():
                self._added = trio.Event()
            await self._added.wait()

    def get(self, handle: int) -> OpenFile:
        """The file of a handle. Raises EBADF."""
        file = self._files.get(handle)
        if file is None:
            raise failure(errno.EBADF)
        return file

    def of(self, node: FileNode) -> OpenFile | None:
        """Any open file of a node."""
        if not node.opened:
            return None
        return next((file for file in self._files.values() if file.node is node), None)

    def release(self, handle: int) -> None:
        """Drop a handle. Never raises."""
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
