"""Telling the kernel what it should not believe any longer.

Threads and queues that the event loop never waits for: an invalidation waits in the kernel for requests that are
pending in the same directory, and on the loop's own thread that is a deadlock which not even SIGKILL ends. Each way has
a thread of its own, so that one that is stuck holds up no other, and these are daemons: they do not keep the process.
"""

import errno
import logging
import os
import struct
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

import pyfuse3
from pyfuse3 import FileNameT, InodeT

log = logging.getLogger(__name__)

_Message = tuple[InodeT, bytes | None, bool] | Callable[[], None]
"""(inode, None, attributes only) or (directory, name, unused); or what is to be done once all before it is told."""


_EPOCH = struct.pack("=IiQ", 16, 8, 0)
"""struct fuse_out_header (linux/fuse.h): its length, FUSE_NOTIFY_INC_EPOCH in place of an error, no request."""


class Notifier:
    """What the kernel is to be told, over ``ways`` of which each is in order. ``device`` gives the descriptor by which
    the mount is served.
    """

    def __init__(self, ways: int = 1, device: Callable[[], int] = lambda: -1) -> None:
        self._device = device
        self._ways = [_Way() for _ in range(ways)]

    def start(self) -> None:
        """Start the threads; not before the process has gone to the background, as threads do not survive a fork."""
        for way in self._ways:
            way.start()

    def stop(self, seconds: float) -> bool:
        """End each thread after the call that it is in; False where one is still in it after ``seconds``.

        libfuse's session must then not be freed.
        """
        for way in self._ways:
            way.end()
        until = time.monotonic() + seconds
        over = [way.is_over(max(0.0, until - time.monotonic())) for way in self._ways]
        return all(over)

    def everything(self) -> bool:
        """Whatever the kernel has of names may be another by now: it asks for each again. Nobody waits for that.

        FUSE_NOTIFY_INC_EPOCH, since Linux 6.16; before that nothing happens, and False is returned.
        """
        try:
            return os.write(self._device(), _EPOCH) == len(_EPOCH)
        except OSError:
            return False

    def name(self, directory: int, name: bytes, way: int = 0) -> None:
        """A name came, went, or means something else now."""
        self._ways[way].put((InodeT(directory), name, False))

    def attributes(self, ino: int, way: int = 0) -> None:
        """The attributes of an inode moved."""
        self._ways[way].put((InodeT(ino), None, True))

    def contents(self, ino: int, way: int = 0) -> None:
        """The contents of a file moved: its cached pages are worth nothing."""
        self._ways[way].put((InodeT(ino), None, False))

    def then(self, way: int, call: Callable[[], None]) -> None:
        """Have this called, in the way's thread, once the kernel was told of all before."""
        self._ways[way].put(call)


class _Way:
    """A queue, and a thread that works it off."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[_Message | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)
        self._ending = False
        self.start = self._thread.start
        self.put = self._queue.put

    def end(self) -> None:
        """End it after the call that it is in."""
        self._ending = True
        self._queue.put(None)

    def is_over(self, seconds: float) -> bool:
        """Whether it has ended, within so long."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (message := self._queue.get()) is not None and not self._ending:
            if callable(message):
                message()
                continue
            ino, name, attributes_only = message
            try:
                if name is None:
                    pyfuse3.invalidate_inode(ino, attr_only=attributes_only)
                else:
                    pyfuse3.invalidate_entry(ino, FileNameT(name))
            except OSError as error:
                if error.errno not in (
                    errno.ENOENT,
                    errno.ENOTDIR,
                    errno.EBADF,
                ):  # what the kernel does not know
                    log.debug("invalidation of inode %d: %s", ino, error)
