"""The announcers: threads that replay changes of the view through the mount, so that inotify watchers get events.

Invariant 1: a change is announced after the caches have it, and after the kernel was notified of it.
Invariant 2: it is announced through a private mount of the view, the only one that is not read-only. It is made for
each burst: one that is kept would keep the view's superblock alive after an unmount.
Invariant 3: nothing waits for an announcer. It may block behind a request that is pending in the same directory, so
each queue of the notifier has an announcer of its own. It is dropped with the mount.
Invariant 4: the number of pending announcements is bounded, as watchers have queues that overflow. Above FILES one file
a directory is announced, which makes watchers list it; above ALL none.

CAP_DAC_OVERRIDE is in effect in these threads only, and while they announce.
"""

import contextlib
import ctypes
import errno
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager

from mmirrorfs.attributes import DIR
from mmirrorfs.serve.acts import AT_INODE, Act, Step
from mmirrorfs.serve.queuethread import QueueThread, stop_all
from mmirrorfs.serve.stage import Announcement, Stage

log = logging.getLogger(__name__)

TRIES = 5
"""Times that a step is tried: a lookup by another process between two calls gives the kernel the real entry."""
AGAIN = frozenset((errno.ENOENT, errno.ESTALE, errno.ENOTDIR, errno.EISDIR, errno.EEXIST))
"""The errors that this causes."""
_OVER = frozenset((errno.ECONNABORTED, errno.ENOTCONN, errno.ENODEV))
"""The view was unmounted, or covered by another mount."""
PAUSE = 0.002
"""Seconds between two tries."""
FILES = 2000
"""Pending announcements above which a file is skipped if another one of its directory is pending."""
ALL = 8000
"""Pending announcements at the most: inotify's queue has 16,384 events by default (inotify(7))."""
BURST = 0.25
"""Seconds after which the private mount is renewed: it may be the last mount of this view."""
_PIECE = 3000
"""Bytes of a path in one system call; the kernel takes 4095 (PATH_MAX)."""


class _Timespec(ctypes.Structure):
    """struct timespec."""

    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


_NOW, _OMIT = (1 << 30) - 1, (1 << 30) - 2
_MTIME_NOW = (_Timespec * 2)(_Timespec(0, _OMIT), _Timespec(0, _NOW))
"""(access, modification), for utimensat(2)."""
_libc = ctypes.CDLL(None, use_errno=True)

Mounted = Callable[[], AbstractContextManager[int]]
"""Makes a writable private mount; gives a descriptor of its root. Raises OSError."""
Expire = Callable[[int, bytes], None]
"""Has the kernel look up a name of a directory (an inode number) anew: ``Notifier.expire_now``."""


class Announcer(QueueThread):
    """One thread with its queue; ``mounted`` makes the private mount. Any thread may call this."""

    def __init__(self, stage: Stage, mounted: Mounted, expire: Expire) -> None:
        super().__init__("announcer")
        self._stage = stage
        self._expire = expire
        self._mounted = mounted
        self._pending: dict[tuple[bytes, Step], Act] = {}
        self._pending_in: Counter[int] = Counter()
        self._condition = threading.Condition()
        self._has_warned = False
        self.left_out = 0
        """Announcements dropped because too many were pending."""

    def put(self, acts: Iterable[Act]) -> None:
        """Enqueue announcements, in order. Of equal steps at one path only the last is announced."""
        with self._condition:
            for act in acts:
                self._remove((act.path, act.step))
                is_essential = (act.kind == DIR and act.step is not Step.TOUCH) or not self._pending_in[act.above]
                if len(self._pending) < (ALL if is_essential else FILES):
                    self._pending[act.path, act.step] = act
                    self._pending_in[act.above] += 1
                else:
                    self.left_out += 1
            self._condition.notify()

    def _remove(self, key: tuple[bytes, Step]) -> Act | None:
        act = self._pending.pop(key, None)
        if act is not None:
            self._pending_in[act.above] -= 1
            if not self._pending_in[act.above]:
                del self._pending_in[act.above]
        return act

    def request_stop(self) -> None:
        """Stop after the current system call. Does not wait."""
        with self._condition:
            self._stopping = True
            self._condition.notify()

    def _run(self) -> None:
        while self._wait_for_work():
            try:
                with self._mounted() as root:
                    self._burst(root)
            except OSError as error:
                self._give_up(error)

    def _wait_for_work(self) -> bool:
        """Wait for an announcement; returns False if the thread is to stop."""
        with self._condition:
            self._condition.wait_for(lambda: self._pending or self._stopping)
            return not self._stopping

    def _give_up(self, error: OSError) -> None:
        """Drop the queue: there is no private mount, as the view was unmounted or is covered by another mount."""
        with self._condition:
            self._pending.clear()
            self._pending_in.clear()
        if not self._has_warned and error.errno not in _OVER:
            self._has_warned = True
            log.warning("changes in the view cannot be announced to its watchers: %s", error.strerror)

    def _burst(self, root: int) -> None:
        until = time.monotonic() + BURST
        for act in self._dequeue():
            thread = threading.get_native_id()
            self._stage.under_way[thread] = Announcement(act)
            try:
                self._perform(root, act)
            except OSError as error:  # it was removed or replaced, which has its own announcement
                log.debug("no announcement of %r: %s", act, error)
            finally:
                del self._stage.under_way[thread]
            if time.monotonic() > until:
                return

    def _perform(self, root: int, act: Act) -> None:
        """Perform a step, again if a lookup has interfered. Raises OSError."""
        for left in reversed(range(TRIES)):
            if act.step not in AT_INODE:  # the kernel may have cached the real entry, or that there is none
                self._expire(act.above, act.path.rpartition(b"/")[2])
            try:
                perform(root, act, self._stage.name)
                return
            except OSError as error:
                if error.errno not in AGAIN or self._stopping or not left:
                    raise
            time.sleep(PAUSE)

    def _dequeue(self) -> Iterator[Act]:
        while True:
            with self._condition:
                act = self._remove(next(iter(self._pending))) if self._pending and not self._stopping else None
            if act is None:
                return
            yield act


class Announcers:
    """The announcers of a view, by queue. ``silent`` is why nothing is announced; "" if changes are."""

    def __init__(self, queues: int, stage: Stage, silent: str, expire: Expire) -> None:
        self.silent = silent
        self._count = queues
        self._stage = stage
        self._expire = expire
        self._all: list[Announcer] = []

    def open(self, mounted: Mounted) -> None:
        """Create the announcers; ``mounted`` makes their private mounts."""
        self._all = [Announcer(self._stage, mounted, self._expire) for _ in range(self._count)]

    def put(self, queue: int, acts: Iterable[Act]) -> None:
        """Enqueue announcements, in order."""
        self._all[queue].put(acts)

    def start(self) -> None:
        """Start the threads; not before the process has gone to the background, as threads do not survive a fork."""
        for one in self._all:
            one.start()

    def stop(self, seconds: float) -> bool:
        """Stop each after its current system call; returns False if one is in it still after ``seconds``."""
        return stop_all(self._all, seconds)

    def report(self) -> dict[str, object]:
        """``on``: whether changes are announced; ``why`` not; ``left_out``: how many were dropped so far."""
        left_out = sum(one.left_out for one in self._all)
        return {"on": not self.silent, "why": self.silent, "left_out": left_out}


def perform(root: int, act: Act, hidden: bytes) -> None:
    """Perform one step in the view whose root ``root`` is a descriptor of. Raises OSError."""
    above, _, name = act.path.rpartition(b"/")
    with _directory(root, above) as fd:
        if act.step is Step.ARRIVE:
            os.rename(hidden + b"/" + name, name, src_dir_fd=root, dst_dir_fd=fd)
        elif act.step is Step.DEPART:
            (os.rmdir if act.kind == DIR else os.unlink)(name, dir_fd=fd)
        elif act.step is Step.EDIT:
            file = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            try:
                touch_mtime(file)
            finally:
                os.close(file)
        else:
            os.utime(name or b".", dir_fd=fd, follow_symlinks=False)


def touch_mtime(file: int) -> None:
    """Set the mtime of an open file, and no other time: the kernel reports that as a write."""
    if _libc.futimens(file, _MTIME_NOW):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@contextlib.contextmanager
def _directory(root: int, path: bytes) -> Iterator[int]:
    """Open a directory of the view, also with a path longer than PATH_MAX."""
    fd = os.dup(root)
    try:
        for part in _pieces(path):
            inner = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


def _pieces(path: bytes) -> Iterator[bytes]:
    """Split a path into pieces shorter than PATH_MAX."""
    piece = b""
    for name in path.split(b"/") if path else ():
        if piece and len(piece) + len(name) > _PIECE:
            yield piece
            piece = b""
        piece = piece + b"/" + name if piece else name
    if piece:
        yield piece
