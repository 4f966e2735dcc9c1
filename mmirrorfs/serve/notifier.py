"""Telling the kernel what it should not believe any longer.

One thread and a queue that the event loop never waits for: an invalidation waits in the kernel for requests that are
pending in the same directory, and on the loop's own thread that is a deadlock which not even SIGKILL ends. The thread
is a daemon: one that is stuck does not keep the process.
"""

import errno
import logging
import threading
from queue import SimpleQueue

import pyfuse3
from pyfuse3 import FileNameT, InodeT

log = logging.getLogger(__name__)

_Message = tuple[InodeT, bytes | None, bool]
"""(inode, None, attributes only) or (directory, name, unused)."""


class Notifier:
    """What the kernel is to be told, in order."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[_Message | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)
        self._ending = False

    def start(self) -> None:
        """Start the thread; not before the process has gone to the background, as threads do not survive a fork."""
        self._thread.start()

    def stop(self, seconds: float) -> bool:
        """End the thread after the call that it is in; False where it is still in it after ``seconds``.

        libfuse's session must then not be freed.
        """
        self._ending = True
        self._queue.put(None)
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def name(self, directory: int, name: bytes) -> None:
        """A name came, went, or means something else now."""
        self._queue.put((InodeT(directory), name, False))

    def attributes(self, ino: int) -> None:
        """The attributes of an inode moved."""
        self._queue.put((InodeT(ino), None, True))

    def contents(self, ino: int) -> None:
        """The contents of a file moved: its cached pages are worth nothing."""
        self._queue.put((InodeT(ino), None, False))

    def _run(self) -> None:
        while (message := self._queue.get()) is not None and not self._ending:
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
