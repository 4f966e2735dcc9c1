"""Where a blocking call on a source runs: here, or in a thread; and how long anybody waits for it.

Rule 1: a local source that has been answering in well under a millisecond is asked on the event loop, because a
thread hop costs 100 us and a cached answer 3 us; all other sources are asked in threads.
Rule 2: a call on the loop only takes what is in memory: it says so (``cached``) and gets BlockingIOError otherwise.
Rule 3: each source has its own threads, so a hung one takes none away from the others.
Rule 4: a descriptor is closed on the loop on a local source only: closing a file of a FUSE source asks it to flush,
and not even SIGKILL ends the wait for that.

Belongs to the event loop's thread; the calls themselves may run in any.
"""

import errno
import os
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import TypeVar, TypeVarTuple

import trio

T = TypeVar("T")
A = TypeVarTuple("A")

QUICK = 0.001
"""Seconds: a source that took longer was waiting for a disk; it is asked in a thread until it is quick again."""
IDLE = 30.0
"""Seconds without a call after which a disk may have been spun down: the next call is made in a thread."""
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


class Pace:
    """How one source is asked. ``hung`` is true from a call that ran out of time until any call returns."""

    def __init__(self, local: bool, threads: int = THREADS) -> None:
        self.hung = False
        self._local = local
        self._quick = False
        self._used = 0.0
        self._limiter = trio.CapacityLimiter(threads)

    @property
    def busy(self) -> bool:
        """Whether a thread is asking the source, or waits for it still though nobody else does."""
        return self._limiter.borrowed_tokens > 0

    async def run(self, call: Callable[[*A, bool], T], *args: *A) -> T:
        """Call ``call(*args, cached)`` and wait for it as long as it takes; raises what it raises."""
        if self._is_quick():
            try:
                return self._inline(call, *args)
            except BlockingIOError:
                pass
        return await self.in_thread(partial(call, *args, False))

    def _is_quick(self) -> bool:
        return self._quick and perf_counter() - self._used < IDLE

    def _inline(self, call: Callable[[*A, bool], T], *args: *A) -> T:
        """Rule 2: here and now, from memory."""
        start = perf_counter()
        try:
            return call(*args, True)
        finally:
            self._used = perf_counter()
            self._quick = self._used - start < QUICK

    async def in_thread(self, call: Callable[[], T]) -> T:
        """Call it in one of the source's threads; a cancelled caller leaves the thread to itself."""
        return await threaded(partial(self._watched, call), self._limiter)

    async def within(self, seconds: float, call: Callable[[*A, bool], T], *args: *A) -> T:
        """The same, but give up after ``seconds``, at once while the source hangs: TimeoutError (an OSError)."""
        if self._is_quick():
            try:
                return self._inline(call, *args)
            except BlockingIOError:
                pass
        with trio.move_on_after(0 if self.hung else seconds):
            return await self.in_thread(partial(call, *args, False))
        self.hung = True
        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    def close(self, fd: int) -> None:
        """Close a descriptor of the source (rule 4). Nobody waits for it. Never raises on any but a local source."""
        if self._local:
            os.close(fd)
        else:
            trio.lowlevel.spawn_system_task(self._close, fd)

    async def _close(self, fd: int) -> None:
        try:
            await threaded(partial(os.close, fd), self._limiter)
        except NoThread:
            await trio.sleep(AGAIN)
            self.close(fd)
        except OSError:
            pass

    def _watched(self, call: Callable[[], T]) -> T:
        """In the thread: a call that returns at all shows that the source does not hang, or no longer."""
        start = perf_counter()
        try:
            return call()
        finally:
            self._used = perf_counter()
            self._quick = self._local and self._used - start < QUICK
            self.hung = False
