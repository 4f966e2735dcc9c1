"""Invalidates what the kernel has cached: entries, attributes and pages.

Invariant 1: the event loop never makes these calls, nor waits for them. An invalidation blocks in the kernel behind
requests that are pending in the same directory: on the loop's thread that is a deadlock which not even SIGKILL ends.
Invariant 2: each queue has a thread of its own, so that one that is blocked delays no other. They are daemon threads,
which do not keep the process alive.

Any thread may call this.
"""

import errno
import logging
import os
import struct
from collections.abc import Callable
from queue import SimpleQueue

import pyfuse3
from pyfuse3 import FileNameT, InodeT

from mmirrorfs.serve.queuethread import QueueThread, stop_all

log = logging.getLogger(__name__)

_Message = tuple[InodeT, bytes | None, bool] | Callable[[], None]
"""(inode, None, attributes only), or (directory, name, expire only), or a call to make once all before it is done."""

_INVAL_ENTRY, _EXPIRE_ONLY = 3, 1
_HEAD = struct.Struct("=IiQQII")
"""struct fuse_out_header (linux/fuse.h): length, FUSE_NOTIFY_INVAL_ENTRY as the error, no request; then struct
fuse_notify_inval_entry_out: directory, length of the name, flags. The name follows, with a zero byte."""
_NOT_CACHED = frozenset((errno.ENOENT, errno.ENOTDIR, errno.EBADF))
"""The kernel has no such inode or entry."""


class Notifier:
    """The invalidations of one mount, in a number of queues, each of which is in order.

    ``device`` gives the descriptor of /dev/fuse that the mount is served by; with -1 what is to expire is invalidated.
    """

    def __init__(self, queues: int, device: Callable[[], int]) -> None:
        self._find_device = device
        self._device = -1
        self._queues = [_Queue(self.expire_now) for _ in range(queues)]

    def start(self) -> None:
        """Start the threads; not before the process has gone to the background, as threads do not survive a fork."""
        self._device = self._find_device()
        for one in self._queues:
            one.start()

    def stop(self, seconds: float) -> bool:
        """Stop each thread after its current call; returns False if one is in it still after ``seconds``.

        libfuse's session must then not be freed.
        """
        return stop_all(self._queues, seconds)

    def name(self, directory: int, name: bytes, queue: int = 0) -> None:
        """Invalidate an entry: a name was added, removed, or leads to something else."""
        self._queues[queue].put((InodeT(directory), name, False))

    def expire(self, directory: int, name: bytes, queue: int = 0) -> None:
        """Have the kernel look up an entry anew. Where it leads to the same inode, the dentry stays.

        So a process that is in that directory, and what is mounted there, notices nothing. A reply that the kernel got
        before, and has not read yet, may outlive this: what is known to have changed has to be invalidated. Before
        Linux 6.2, which has no FUSE_EXPIRE_ONLY, the entry is invalidated.
        """
        self._queues[queue].put((InodeT(directory), name, True))

    def expire_now(self, directory: int, name: bytes) -> None:
        """The same at once. Blocking: in a thread, not the event loop's. Raises nothing."""
        message = _HEAD.pack(_HEAD.size + len(name) + 1, _INVAL_ENTRY, 0, directory, len(name), _EXPIRE_ONLY)
        try:
            if self._device >= 0:
                os.write(self._device, message + name + b"\0")
            else:
                pyfuse3.invalidate_entry(InodeT(directory), FileNameT(name))
        except OSError as error:
            _log_unless_not_cached(error, directory)

    def attributes(self, ino: int, queue: int = 0) -> None:
        """Invalidate the attributes of an inode."""
        self._queues[queue].put((InodeT(ino), None, True))

    def contents(self, ino: int, queue: int = 0) -> None:
        """Invalidate the attributes and cached pages of a file."""
        self._queues[queue].put((InodeT(ino), None, False))

    def then(self, queue: int, call: Callable[[], None]) -> None:
        """Call this in the queue's thread, after all invalidations before it."""
        self._queues[queue].put(call)


class _Queue(QueueThread):
    """One queue and its thread."""

    def __init__(self, expire_now: Callable[[int, bytes], None]) -> None:
        super().__init__("notifier")
        self._expire_now = expire_now
        self._messages: SimpleQueue[_Message | None] = SimpleQueue()
        self.put = self._messages.put

    def request_stop(self) -> None:
        """Stop after the current call. Does not wait."""
        self._stopping = True
        self._messages.put(None)

    def _run(self) -> None:
        while (message := self._messages.get()) is not None and not self._stopping:
            if callable(message):
                message()
                continue
            ino, name, is_limited = message
            try:
                if name is None:
                    pyfuse3.invalidate_inode(ino, attr_only=is_limited)
                elif is_limited:
                    self._expire_now(ino, name)
                else:
                    pyfuse3.invalidate_entry(ino, FileNameT(name))
            except OSError as error:
                _log_unless_not_cached(error, ino)


def _log_unless_not_cached(error: OSError, ino: int) -> None:
    if error.errno not in _NOT_CACHED:
        log.debug("invalidation of inode %d: %s", ino, error)
