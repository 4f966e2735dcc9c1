"""The wait for the next request, without the scheduler.

pyfuse3's loop takes a trio lock, waits on epoll and goes through trio's scheduler once for each request: of 110 us
that a file took to open, read and close, 84 us were spent there. pyfuse3 reaches that layer through its module's
``trio`` name, as its own asyncio mode does; here the name is given a namespace in which

- ``lowlevel.wait_readable`` first polls the descriptor TRIES times without waiting, and only then hands over to trio's,
- ``Lock`` costs nothing while the same task serves request after request.

Rule 1: after TURNS requests in a row trio gets its turn, so that threads' results, timers and signals are served.
Rule 2: an idle mount costs nothing: after TRIES polls, fewer where they do not pay, the loop sleeps in epoll as ever.
Rule 3: where pyfuse3 is not as expected, nothing is replaced.
"""

import logging
import os
import select
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import pyfuse3
import trio

from mmirrorfs.mount.pulse import Pulse

log = logging.getLogger(__name__)

TRIES = 100
"""Polls before sleeping, some 0.1 ms: a client that has its answer asks again sooner than a wake-up takes."""
FEWEST = 3
"""Polls before sleeping where that was long lately: each long sleep halves their number, a short one restores it."""
SHORT = 0.0003
"""Seconds of sleep that polling would have saved: the wake-up itself takes a third of it."""
TURNS = 64
"""Requests in a row before trio gets a turn."""

LONGEST = 0.0005
"""Seconds of polling: where others want the processor, each yield gives it away for milliseconds."""

SWITCH = "MMIRRORFS_REQUEST_LOOP"
"""Set to ``plain`` in the environment, it leaves pyfuse3 as it is: for measuring, and for finding faults."""


class _Done:
    """Something to await that is there already."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, None]:
        return
        yield


_DONE = _Done()


class _Lock:
    """Mutual exclusion without handing over: whoever gives it up may have it again at once; ``async with`` only.

    pyfuse3 keeps a spare task that waits for the lock. trio's own lock would be handed to it after each request, and
    the two would take turns through the scheduler; here the spare is woken, but it gets the lock only when the task
    that serves is really waiting for something else.
    """

    def __init__(self) -> None:
        self._held = False
        self._waiting: deque[trio.lowlevel.Task] = deque()
        self._waking = False

    def __aenter__(self) -> Awaitable[None]:
        if self._held:
            return self._wait()
        self._held = True
        return _DONE

    async def _wait(self) -> None:
        while self._held:
            task = trio.lowlevel.current_task()
            self._waiting.append(task)
            await trio.lowlevel.wait_task_rescheduled(partial(self._abort, task))
            self._waking = False
        self._held = True

    def _abort(self, task: trio.lowlevel.Task, _: object) -> trio.lowlevel.Abort:
        self._waiting.remove(task)
        return trio.lowlevel.Abort.SUCCEEDED

    def __aexit__(self, *error: object) -> Awaitable[None]:
        self._held = False
        if self._waiting and not self._waking:
            self._waking = True
            trio.lowlevel.reschedule(self._waiting.popleft())
        return _DONE


def _patient_poll(pulse: Pulse) -> Callable[[int], Awaitable[None]]:
    """A ``wait_readable`` that polls first. Belongs to one event loop."""
    pollers: dict[int, Callable[[int], list[tuple[int, int]]]] = {}
    turns, tries = 0, TRIES

    def wait_readable(descriptor: int) -> Awaitable[None]:
        """Until there is something to read: found by polling for LONGEST seconds, or by trio's own wait after that."""
        nonlocal turns
        poll = pollers.get(descriptor)
        if poll is None:
            poller = select.poll()
            poller.register(descriptor, select.POLLIN)
            poll = pollers[descriptor] = poller.poll
        turns += 1
        if turns < TURNS:
            now = perf_counter()
            if now - pulse.since > pulse.longest:
                pulse.longest = now - pulse.since
            until = now + LONGEST
            for _ in range(tries):
                if poll(0):
                    pulse.since = now
                    return _DONE
                os.sched_yield()
                now = perf_counter()
                if now > until:
                    break
            turns, pulse.since = 0, now
            return sleep(descriptor)
        turns = 0
        return _after_turn(descriptor)

    async def sleep(descriptor: int) -> None:
        nonlocal tries
        start = perf_counter()
        await trio.lowlevel.wait_readable(descriptor)
        tries = TRIES if perf_counter() - start < SHORT else max(tries // 2, FEWEST)

    async def _after_turn(descriptor: int) -> None:
        await trio.lowlevel.checkpoint()
        await wait_readable(descriptor)

    return wait_readable


def install(pulse: Pulse) -> bool:
    """Give pyfuse3 the faster wait; returns whether that was done. Before ``pyfuse3.main``, in its process.

    ``pulse`` is told when it looks for requests.
    """
    if os.environ.get(SWITCH) == "plain":
        return False
    needed = ("ClosedResourceError", "Lock", "lowlevel", "open_nursery")
    if getattr(pyfuse3, "trio", None) is not trio or not all(hasattr(trio, name) for name in needed):
        log.info("pyfuse3 is not as expected: its own request loop is used")
        return False
    lowlevel = SimpleNamespace(
        wait_readable=_patient_poll(pulse),
        current_task=trio.lowlevel.current_task,
        current_trio_token=trio.lowlevel.current_trio_token,
        notify_closing=trio.lowlevel.notify_closing,
    )
    replaced = SimpleNamespace(
        Lock=_Lock, lowlevel=lowlevel, open_nursery=trio.open_nursery, ClosedResourceError=trio.ClosedResourceError
    )
    pyfuse3.trio = replaced  # type: ignore[attr-defined]
    return True
