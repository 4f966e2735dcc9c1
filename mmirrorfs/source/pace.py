"""Where a blocking call on a source runs, and whether the source answers at all.

Rule 1: the event loop never waits for a disk. What runs on it is asked of memory only: the call gets ``cached`` and
raises BlockingIOError where that would not do. Everything else runs in a thread.
Rule 2: each source has its own threads, so a hung one takes none away from the others.
Rule 3: slow is not hung. A source hangs when it has been asked something for HUNG seconds and no call has returned in
that time; it does not hang any longer when any call returns.
Rule 4: what is known answers those who have waited for ``limit`` seconds, whatever the source does meanwhile.
Rule 5: a descriptor is closed on the loop on a local filesystem only: closing a file of a FUSE filesystem asks it to
flush, and not even SIGKILL ends the wait for that.

Belongs to the event loop's thread; the calls themselves may run in any.
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
"""Seconds without any answer after which a source counts as hung."""
PAUSE = 0.5
"""Seconds between looks at whether a source hangs still that has to be waited for."""
THREADS = 32
"""Threads a source; the kernel has no use for more reads of one disk at once."""
AGAIN = 1.0
"""Seconds until a descriptor is closed that there was no thread for."""


class NoThread(OSError):
    """There is no thread to be had (setrlimit(2), cgroups(7)). Its errno is ENOMEM, which read(2) may give."""

    def __init__(self) -> None:
        super().__init__(errno.ENOMEM, os.strerror(errno.ENOMEM))


async def threaded(call: Callable[[], T], limiter: trio.CapacityLimiter | None = None) -> T:
    """Call it in a thread; a cancelled caller leaves the thread to itself. Raises NoThread."""
    try:
        return await trio.to_thread.run_sync(call, limiter=limiter, abandon_on_cancel=True)
    except RuntimeError as error:
        if "start new thread" not in str(error):
            raise
        raise NoThread from None


def beside(task: Callable[[*A], Awaitable[None]], *args: *A) -> None:
    """Run a task that nobody waits for. What nobody foresaw in it is logged: trio would end the mount for it."""

    async def guarded() -> None:
        try:
            await task(*args)
        except Exception:
            log.exception("internal error in %s", getattr(task, "__name__", task))

    trio.lowlevel.spawn_system_task(guarded)


class _Turn(Generic[T]):
    """A call that may be left to itself: who takes what it gives, its caller or ``late``, is settled under a lock."""

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
        """Nobody waits for it any more."""
        with self._lock:
            self._abandoned = True
            under_way = self._begun and not self._over
        if not under_way:
            self._late(self._given)


class Pace:
    """How one source, which is called ``name`` in the log, is asked, and how it answers."""

    def __init__(
        self,
        threads: int = THREADS,
        clock: Callable[[], float] = perf_counter,
        name: str = "",
        limit: float = math.inf,
    ) -> None:
        self._limit = limit
        self._limiter = trio.CapacityLimiter(threads)
        self._clock = clock
        self._under_way: dict[object, float] = {}
        self._answered = self._begun = 0.0
        self._name = name
        self._told_hung = False

    @property
    def busy(self) -> bool:
        """Whether a thread is asking the source, or waits for it still though nobody else does."""
        return self._limiter.borrowed_tokens > 0

    @property
    def now(self) -> float:
        """The time of its clock, in seconds."""
        return self._clock()

    def pause(self, since: float) -> float:
        """Seconds after which who has waited ``since`` then looks whether that ``is_enough``."""
        left = since + self._limit - self._clock()
        return min(self.patience or PAUSE, left if left > 0 else PAUSE)

    def is_enough(self, since: float) -> bool:
        """Whether who has waited since then is answered with what is known (rules 3 and 4)."""
        return self.hung or self._clock() - since >= self._limit

    @property
    def rests(self) -> bool:
        """Whether the source hangs, and was asked something not long ago: the next one would only wait behind that."""
        return self.hung and self._clock() - self._begun < HUNG

    @property
    def patience(self) -> float:
        """Seconds for which an answer may still be waited for; 0 where the source hangs (rule 3)."""
        if not self._under_way:
            return HUNG
        left = max(0.0, self._answered + HUNG - self._clock())
        if not left and not self._told_hung:
            self._told_hung = True
            about = fields("hung", source=self._name)
            log.info("source %s has not answered for %.0f s", self._name, HUNG, extra=about)
        return left

    @property
    def hung(self) -> bool:
        """Rule 3."""
        return not self.patience

    def waits(self) -> list[float]:
        """For how many seconds each call that is under way has been waited for, the longest first."""
        now = self._clock()
        return sorted((now - begun for begun in list(self._under_way.values())), reverse=True)

    def answered(self) -> None:
        """The source has answered: for calls that ask it many things before they return. Any thread may call this."""
        last, self._answered = self._answered, self._clock()
        if self._told_hung:
            self._told_hung = False
            waited = self._answered - last
            about = fields("answers", source=self._name, seconds=round(waited, 3))
            log.info("source %s answers again, after %.1f s", self._name, waited, extra=about)

    async def in_thread(self, call: Callable[[], T], limiter: trio.CapacityLimiter | None = None) -> T:
        """Call it in one of the source's threads; a cancelled caller leaves the thread to itself."""
        return await threaded(partial(self._watched, call), limiter or self._limiter)

    async def owned(self, call: Callable[[], T], late: Callable[[T | None], None]) -> T:
        """The same for what gives something that has to be given back: a cancelled caller does not get it, so ``late``
        does, once: in any thread, with None where the call failed or was never begun.
        """
        turn = _Turn(call, late)
        try:
            return await self.in_thread(turn.run)
        except trio.Cancelled:
            turn.abandon()
            raise

    def _watched(self, call: Callable[[], T]) -> T:
        """In the thread: take note of the call while it is under way."""
        turn = object()
        self._begun = self._clock()
        if not self._under_way:
            self.answered()
        self._under_way[turn] = self._clock()  # one step under the interpreter's lock, as a count would not be
        try:
            return call()
        finally:
            self._under_way.pop(turn, None)
            self.answered()

    def close(self, fd: int, local: bool) -> None:
        """Close a descriptor of the source (rule 5). Nobody waits for it. Never raises on any but a local one."""
        if local:
            os.close(fd)
        else:
            beside(self._close, fd)

    async def _close(self, fd: int) -> None:
        try:
            await self.in_thread(partial(os.close, fd))
        except NoThread:
            await trio.sleep(AGAIN)
            self.close(fd, local=False)
        except OSError:
            pass
