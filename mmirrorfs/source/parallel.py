"""Calls for several arguments: one after the other, or in threads once a call mostly waits (network filesystems).

Blocking; any thread may call it.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import perf_counter, thread_time
from typing import TypeVar

T = TypeVar("T")

SLOW = 0.0005
"""Seconds that a call takes at least before threads are used."""
IDLE = 8
"""Ratio of waiting to CPU time from which threads are used: those that work contend for the interpreter's lock. Seen: a
directory of ten takes 1 ms on GlusterFS, 50 ms on sshfs with a round trip of 20 ms, 0.3 ms on mergerfs; 0.1 ms of that
is CPU time."""
THREADS = 8


def each(call: Callable[[T], None], things: Sequence[T]) -> None:
    """Call it with each, in order; after the first call that mostly waited, in THREADS threads.

    After an exception no call is started; it is raised when all running calls have returned. The threads are daemons:
    one may hang.
    """
    at = 0
    for at, thing in enumerate(things, 1):  # noqa: B007  # used below
        begun, worked = perf_counter(), thread_time()
        call(thing)
        if perf_counter() - begun > max(SLOW, IDLE * (thread_time() - worked)):
            break
    _concurrently(call, things[at:])


def _concurrently(call: Callable[[T], None], things: Sequence[T]) -> None:
    left, failed = iter(things), list[BaseException]()

    def work() -> None:
        for thing in left:  # next() is atomic under the interpreter's lock
            if failed:
                return
            try:
                call(thing)
            except BaseException as error:
                failed.append(error)

    started = []
    for _ in range(min(THREADS, len(things)) - 1):
        thread = threading.Thread(target=work, daemon=True)
        with suppress(RuntimeError):  # no more threads: fewer will do
            thread.start()
            started.append(thread)
    work()
    for thread in started:
        thread.join()
    if failed:
        raise failed[0]
