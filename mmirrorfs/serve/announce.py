"""The announcers: threads that do in the view what changed there, so that whoever watches it is told.

Rule 1: an announcement comes last: what is known has changed by then, and the kernel has been told.
Rule 2: it goes through a private mount of the view, the only one that is not read-only, which is made for each burst
and taken away after it: one that is kept would keep the view's superblock after an unmount.
Rule 3: it is never waited for. It may be stuck behind a request that is pending in the same directory, so each way of
the notifier has an announcer of its own; and it is dropped with the mount.
Rule 4: there are only so many: watchers have queues that overflow. Above FILES a directory has one of its files
announced at a time, by which whoever watches looks at it; what is above ALL is left out.

CAP_DAC_OVERRIDE is in effect in these threads alone, and while they announce.
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

import pyfuse3
from pyfuse3 import FileNameT, InodeT

from mmirrorfs.attributes import DIR
from mmirrorfs.serve.acts import Act, Step
from mmirrorfs.serve.stage import Announcement, Stage

log = logging.getLogger(__name__)

TRIES = 5
"""Times that one is tried: whoever asks for the name between two calls has the kernel know better than is announced."""
AGAIN = frozenset((errno.ENOENT, errno.ESTALE, errno.ENOTDIR, errno.EISDIR, errno.EEXIST))
"""What that looks like."""
_OVER = frozenset((errno.ECONNABORTED, errno.ENOTCONN, errno.ENODEV))
"""The view was unmounted, or something else is mounted in its place."""
PAUSE = 0.002
"""Seconds between two tries."""
FILES = 2000
"""Announcements waiting above which a file has none where another of its directory is waiting."""
ALL = 8000
"""Announcements waiting at the most: inotify's queue has 16,384 events by default (inotify(7))."""
BURST = 0.25
"""Seconds after which the private mount is made anew: it may be the last one of this view."""
_STEP = 3000
"""Bytes of a path handed over at once; the kernel takes 4095 (PATH_MAX)."""


class _Time(ctypes.Structure):
    """struct timespec."""

    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


_NOW, _OMIT = (1 << 30) - 1, (1 << 30) - 2
_MODIFIED_NOW = (_Time * 2)(_Time(0, _OMIT), _Time(0, _NOW))
"""(access, modification), for utimensat(2)."""
_libc = ctypes.CDLL(None, use_errno=True)

Mounted = Callable[[], AbstractContextManager[int]]
"""Gives a descriptor of the root of a private mount that may be written to. Raises OSError."""


class Announcer:
    """One thread, and what it is to announce; ``mounted`` is the way to the view. Any thread may call this."""

    def __init__(self, stage: Stage, mounted: Mounted) -> None:
        self._stage = stage
        self._mounted = mounted
        self._waiting: dict[tuple[bytes, Step], Act] = {}
        self._inside: Counter[int] = Counter()
        self._changed = threading.Condition()
        self._ending = self._has_warned = False
        self._thread = threading.Thread(target=self._run, name="announcer", daemon=True)
        self.start = self._thread.start
        self.left_out = 0
        """How many were left out, for there were too many."""

    def put(self, acts: Iterable[Act]) -> None:
        """Announce these next, in order. The same at the same place is announced once."""
        with self._changed:
            for act in acts:
                self._drop_one((act.path, act.step))
                is_wanted = (act.kind == DIR and act.step is not Step.TOUCH) or not self._inside[act.above]
                if len(self._waiting) < (ALL if is_wanted else FILES):
                    self._waiting[act.path, act.step] = act
                    self._inside[act.above] += 1
                else:
                    self.left_out += 1
            self._changed.notify()

    def _drop_one(self, key: tuple[bytes, Step]) -> Act | None:
        act = self._waiting.pop(key, None)
        if act is not None:
            self._inside[act.above] -= 1
            if not self._inside[act.above]:
                del self._inside[act.above]
        return act

    def end(self) -> None:
        """End it after the call that it is in."""
        with self._changed:
            self._ending = True
            self._changed.notify()

    def is_over(self, seconds: float) -> bool:
        """Whether it has ended, within so long."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while self._wait():
            try:
                with self._mounted() as root:
                    self._burst(root)
            except OSError as error:
                self._drop(error)

    def _wait(self) -> bool:
        """Until there is something to announce; False where it is to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ending)
            return not self._ending

    def _drop(self, error: OSError) -> None:
        """The view cannot be written to: it was unmounted, or another mount lies over it."""
        with self._changed:
            self._waiting.clear()
            self._inside.clear()
        if not self._has_warned and error.errno not in _OVER:
            self._has_warned = True
            log.warning("changes in the view cannot be announced to its watchers: %s", error.strerror)

    def _burst(self, root: int) -> None:
        until = time.monotonic() + BURST
        for act in self._taken():
            own = threading.get_native_id()
            self._stage.under_way[own] = Announcement(act)
            try:
                self._perform(root, act)
            except OSError as error:  # it is not there any more, or another is: that is announced by itself
                log.debug("no announcement of %r: %s", act, error)
            finally:
                del self._stage.under_way[own]
            if time.monotonic() > until:
                return

    def _perform(self, root: int, act: Act) -> None:
        """Take a step. Raises OSError."""
        for left in reversed(range(TRIES)):
            self._forget(act)
            try:
                perform(root, act, self._stage.name)
                return
            except OSError as error:
                if error.errno not in AGAIN or self._ending or not left:
                    raise
            time.sleep(PAUSE)

    @staticmethod
    def _forget(act: Act) -> None:
        """Have the kernel ask for the name: it may know already what everybody else is told."""
        with contextlib.suppress(OSError):
            pyfuse3.invalidate_entry(InodeT(act.above), FileNameT(act.path.rpartition(b"/")[2]))

    def _taken(self) -> Iterator[Act]:
        while True:
            with self._changed:
                act = self._drop_one(next(iter(self._waiting))) if self._waiting and not self._ending else None
            if act is None:
                return
            yield act


class Announcers:
    """All of a view, by way. ``silent`` says why nothing is announced; "" where changes are."""

    def __init__(self, ways: int, stage: Stage, silent: str) -> None:
        self.silent = silent
        self._ways = ways
        self._stage = stage
        self._all: list[Announcer] = []

    def open(self, mounted: Mounted) -> None:
        """Have the way to the view."""
        self._all = [Announcer(self._stage, mounted) for _ in range(self._ways)]

    def put(self, way: int, acts: Iterable[Act]) -> None:
        """Announce these next, over that way."""
        self._all[way].put(acts)

    def start(self) -> None:
        """Start the threads; not before the process has gone to the background, as threads do not survive a fork."""
        for one in self._all:
            one.start()

    def stop(self, seconds: float) -> bool:
        """End each after the call that it is in; False where one is still in it after ``seconds``."""
        for one in self._all:
            one.end()
        until = time.monotonic() + seconds
        over = [one.is_over(max(0.0, until - time.monotonic())) for one in self._all]
        return all(over)

    def report(self) -> dict[str, object]:
        """Whether changes are announced, or why not; and how many were left out so far, for there were too many."""
        left_out = sum(one.left_out for one in self._all)
        return {"on": not self.silent, "why": self.silent, "left_out": left_out}


def perform(root: int, act: Act, hidden: bytes) -> None:
    """Take one step in the view that ``root`` is a descriptor of. Raises OSError."""
    above, _, name = act.path.rpartition(b"/")
    with _directory(root, above) as fd:
        if act.step is Step.ARRIVE:
            os.rename(hidden + b"/" + name, name, src_dir_fd=root, dst_dir_fd=fd)
        elif act.step is Step.DEPART:
            (os.rmdir if act.kind == DIR else os.unlink)(name, dir_fd=fd)
        elif act.step is Step.EDIT:
            file = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            try:
                modified(file)
            finally:
                os.close(file)
        else:
            os.utime(name or b".", dir_fd=fd, follow_symlinks=False)


def modified(file: int) -> None:
    """Set the time of the last change of what is open, and no other: the kernel tells of that as of a write."""
    if _libc.futimens(file, _MODIFIED_NOW):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@contextlib.contextmanager
def _directory(root: int, path: bytes) -> Iterator[int]:
    """A descriptor of a directory of the view, however long its path is."""
    fd = os.dup(root)
    try:
        for part in _parts(path):
            source_path = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            os.close(fd)
            fd = source_path
        yield fd
    finally:
        os.close(fd)


def _parts(path: bytes) -> Iterator[bytes]:
    """A path in pieces that the kernel takes."""
    piece = b""
    for name in path.split(b"/") if path else ():
        if piece and len(piece) + len(name) > _STEP:
            yield piece
            piece = b""
        piece = piece + b"/" + name if piece else name
    if piece:
        yield piece
