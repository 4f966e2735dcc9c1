"""A faster wait for the next FUSE request, which bypasses trio's scheduler.

pyfuse3's loop takes a trio lock, waits on epoll and passes through trio's scheduler once per request. Of the 110 us
that open, read and close of a file took, 84 us were spent there. pyfuse3 reaches trio through the name ``trio`` in its
module, as its asyncio mode does; ``install`` replaces that name by a namespace in which

- ``lowlevel.wait_readable`` polls the descriptor up to TRIES times before it calls trio's,
- ``Lock`` is free while the same task serves request after request.

Rule 1: after TURNS requests in a row there is a checkpoint, for thread results, timers and signals.
Rule 2: an idle mount uses no CPU: after TRIES polls, fewer if they have not paid off, the loop sleeps in epoll.
Rule 3: if pyfuse3 lacks the expected names, nothing is replaced.

Event loop's thread only.
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

from mmirrorfs.mount.looplatency import LoopLatency

log = logging.getLogger(__name__)

TRIES = 100
"""Polls before sleeping, some 0.1 ms: a client's next request arrives sooner than a wake-up takes."""
FEWEST = 3
"""Lower bound of polls before sleeping: each long sleep halves their number, a short one restores TRIES."""
SHORT = 0.0003
"""Seconds up to which a sleep is short, and polling would have saved it; a third of it is the wake-up."""
TURNS = 64
"""Requests in a row between two checkpoints."""

LONGEST = 0.0005
"""Seconds of polling at the most: on a busy processor each sched_yield(2) costs milliseconds."""

SWITCH = "MMIRRORFS_REQUEST_LOOP"
"""Environment variable: ``plain`` leaves pyfuse3 as it is, for measuring and for debugging."""


class _Done:
    """An awaitable that completes at once, without a checkpoint."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, None]:
        return
        yield


_DONE = _Done()


class _Lock:
    """An unfair lock: the task that releases it may take it again at once. ``async with`` only.

    pyfuse3 keeps a spare task that waits for the lock. trio's fair lock would be handed over after each request, and
    both tasks would alternate through the scheduler. Here the spare is woken, but gets the lock only if the serving
    task blocks on something else.
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


def _polling_wait(latency: LoopLatency) -> Callable[[int], Awaitable[None]]:
    """A ``wait_readable`` that polls first, for one event loop."""
    pollers: dict[int, Callable[[int], list[tuple[int, int]]]] = {}
    served, tries = 0, TRIES

    def wait_readable(descriptor: int) -> Awaitable[None]:
        """Wait until readable: by polling for up to LONGEST seconds, then by trio's own wait."""
        nonlocal served
        poll = pollers.get(descriptor)
        if poll is None:
            poller = select.poll()
            poller.register(descriptor, select.POLLIN)
            poll = pollers[descriptor] = poller.poll
        served += 1
        if served < TURNS:
            now = perf_counter()
            if now - latency.since > latency.longest:
                latency.longest = now - latency.since
            until = now + LONGEST
            for _ in range(tries):
                if poll(0):
                    latency.since = now
                    return _DONE
                os.sched_yield()
                now = perf_counter()
                if now > until:
                    break
            served, latency.since = 0, now
            return sleep(descriptor)
        served = 0
        return after_checkpoint(descriptor)

    async def sleep(descriptor: int) -> None:
        nonlocal tries
        start = perf_counter()
        await trio.lowlevel.wait_readable(descriptor)
        tries = TRIES if perf_counter() - start < SHORT else max(tries // 2, FEWEST)

    async def after_checkpoint(descriptor: int) -> None:
        await trio.lowlevel.checkpoint()
        await wait_readable(descriptor)

    return wait_readable


def install(latency: LoopLatency) -> bool:
    """Install the faster wait in pyfuse3 before ``pyfuse3.main``; returns False if nothing was replaced.

    The wait records its polls in ``latency``.
    """
    if os.environ.get(SWITCH) == "plain":
        return False
    needed = ("ClosedResourceError", "Lock", "lowlevel", "open_nursery")
    if getattr(pyfuse3, "trio", None) is not trio or not all(hasattr(trio, name) for name in needed):
        log.info("pyfuse3 is not as expected: its own request loop is used")
        return False
    lowlevel = SimpleNamespace(
        wait_readable=_polling_wait(latency),
        current_task=trio.lowlevel.current_task,
        current_trio_token=trio.lowlevel.current_trio_token,
        notify_closing=trio.lowlevel.notify_closing,
    )
    replaced = SimpleNamespace(
        Lock=_Lock, lowlevel=lowlevel, open_nursery=trio.open_nursery, ClosedResourceError=trio.ClosedResourceError
    )
    pyfuse3.trio = replaced  # type: ignore[attr-defined]
    return True
