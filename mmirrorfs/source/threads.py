"""The threads of one source for blocking calls, and whether the source hangs.

Rule 1: the event loop never blocks on a disk. Calls on it pass ``cached`` and raise BlockingIOError on a cache miss;
all others run in a thread.
Rule 2: each source has its own threads, so a hung source takes none from the others.
Rule 3: slow is not hung. A source hangs if calls are in progress and none has returned for HUNG seconds, until one
returns.
Rule 4: a request falls back to the cache after ``limit`` seconds, even if the source does not hang.
Rule 5: a descriptor is closed on the loop on local filesystems only: close(2) on a FUSE filesystem waits for its flush,
and not even SIGKILL ends that.

Event loop's thread only, except ``answered``.
"""

import errno
import logging
import math
import os
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from time import perf_counter
from typing import Generic, TypeVar, TypeVarTuple

import trio

from mmirrorfs.text import fields

log = logging.getLogger(__name__)

T = TypeVar("T")
A = TypeVarTuple("A")

HUNG = 5.0
"""Seconds without a response after which a source hangs."""
PAUSE = 0.5
"""Seconds between checks of a hung source that a request has to wait for."""
THREADS = 32
"""Threads a source; more concurrent reads of one disk gain nothing."""
AGAIN = 1.0
"""Seconds until the next attempt to close a descriptor if no thread could be started."""


class NoThread(OSError):
    """No thread could be started (setrlimit(2), cgroups(7)). errno is ENOMEM, which read(2) may give."""

    def __init__(self) -> None:
        super().__init__(errno.ENOMEM, os.strerror(errno.ENOMEM))


async def threaded(call: Callable[[], T], limiter: trio.CapacityLimiter | None = None) -> T:
    """Call it in a thread, which goes on if the caller is cancelled. Raises NoThread."""
    try:
        return await trio.to_thread.run_sync(call, limiter=limiter, abandon_on_cancel=True)
    except RuntimeError as error:
        if "start new thread" not in str(error):
            raise
        raise NoThread from None


def spawn(task: Callable[[*A], Awaitable[None]], *args: *A) -> None:
    """Start a background task. Logs unexpected exceptions, which would make trio end the mount."""

    async def guarded() -> None:
        try:
            await task(*args)
        except Exception:
            log.exception("internal error in %s", getattr(task, "__name__", task))

    trio.lowlevel.spawn_system_task(guarded)


class _Owned(Generic[T]):
    """A call that may be abandoned; a lock decides whether its caller or ``late`` gets the result."""

    def __init__(self, call: Callable[[], T], late: Callable[[T | None], None]) -> None:
        self._call = call
        self._late = late
        self._lock = threading.Lock()
        self._begun = self._over = self._abandoned = False
        self._given: T | None = None

    def run(self) -> T:
        """In the thread."""
        with self._lock:
            if self._abandoned:
                raise NoThread
            self._begun = True
        try:
            given = self._given = self._call()
        finally:
            with self._lock:
                self._over, abandoned = True, self._abandoned
            if abandoned:
                self._late(self._given)
        return given

    def abandon(self) -> None:
        """The caller was cancelled."""
        with self._lock:
            self._abandoned = True
            is_running = self._begun and not self._over
        if not is_running:
            self._late(self._given)


class SourceThreads:
    """The threads of one source, ``name`` in the log, and when it last responded."""

    def __init__(
        self, threads: int = THREADS, clock: Callable[[], float] = perf_counter, name: str = "", limit: float = math.inf
    ) -> None:
        self._limit = limit
        self._limiter = trio.CapacityLimiter(threads)
        self._clock = clock
        self._in_progress: dict[object, float] = {}
        self._answered = self._begun = 0.0
        self._name = name
        self._is_hung_logged = False

    @property
    def busy(self) -> bool:
        """Whether a thread is in a call, even an abandoned one."""
        return self._limiter.borrowed_tokens > 0

    @property
    def now(self) -> float:
        """The time of its clock, in seconds."""
        return self._clock()

    def pause(self, since: float) -> float:
        """Seconds until a request that waits ``since`` then should check ``is_enough``."""
        left = since + self._limit - self._clock()
        return min(self.patience or PAUSE, left if left > 0 else PAUSE)

    def is_enough(self, since: float) -> bool:
        """Whether a request that waits since then falls back to the cache (rules 3 and 4)."""
        return self.hung or self._clock() - since >= self._limit

    @property
    def rests(self) -> bool:
        """Whether the source hangs and a call was started less than HUNG seconds ago: another one would wait, too."""
        return self.hung and self._clock() - self._begun < HUNG

    @property
    def patience(self) -> float:
        """Seconds until the source hangs; 0 if it does (rule 3)."""
        if not self._in_progress:
            return HUNG
        left = max(0.0, self._answered + HUNG - self._clock())
        if not left and not self._is_hung_logged:
            self._is_hung_logged = True
            about = fields("hung", source=self._name)
            log.info("source %s has not answered for %.0f s", self._name, HUNG, extra=about)
        return left

    @property
    def hung(self) -> bool:
        """Rule 3."""
        return not self.patience

    def waits(self) -> list[float]:
        """How many seconds each call in progress has taken so far, the longest first."""
        now = self._clock()
        return sorted((now - begun for begun in list(self._in_progress.values())), reverse=True)

    def answered(self) -> None:
        """Note a response, in calls that make many requests before they return. Any thread."""
        last, self._answered = self._answered, self._clock()
        if self._is_hung_logged:
            self._is_hung_logged = False
            waited = self._answered - last
            about = fields("answers", source=self._name, seconds=round(waited, 3))
            log.info("source %s answers again, after %.1f s", self._name, waited, extra=about)

    async def in_thread(self, call: Callable[[], T], limiter: trio.CapacityLimiter | None = None) -> T:
        """Call it in a thread of the source, which goes on if the caller is cancelled."""
        return await threaded(partial(self._watched, call), limiter or self._limiter)

    async def owned(self, call: Callable[[], T], late: Callable[[T | None], None]) -> T:
        """The same for a result that has to be released: if the caller is cancelled, ``late`` gets it, once, in any
        thread; None if the call failed or never ran.
        """
        owned = _Owned(call, late)
        try:
            return await self.in_thread(owned.run)
        except trio.Cancelled:
            owned.abandon()
            raise

    def _watched(self, call: Callable[[], T]) -> T:
        """In the thread: record the call while it is in progress."""
        token = object()
        self._begun = self._clock()
        if not self._in_progress:
            self.answered()
        self._in_progress[token] = self._clock()  # atomic under the interpreter's lock, unlike a counter
        try:
            return call()
        finally:
            self._in_progress.pop(token, None)
            self.answered()

    def close(self, fd: int, local: bool) -> None:
        """Close a descriptor of the source in the background, or at once if it is local (rule 5), which may raise."""
        if local:
            os.close(fd)
        else:
            spawn(self._close, fd)

    async def _close(self, fd: int) -> None:
        try:
            await self.in_thread(partial(os.close, fd))
        except NoThread:
            await trio.sleep(AGAIN)
            self.close(fd, local=False)
        except OSError:
            pass
