"""The same call for several things: one after the other, or, on a link that takes its time, several at once.

Blocking; any thread may call this.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import perf_counter, thread_time
from typing import TypeVar

T = TypeVar("T")

SLOW = 0.0005
"""Seconds that a call takes at the least where others are made beside it."""
IDLE = 8
"""How many times as long as it worked a call has waited there: threads that work take the interpreter's lock from each
other. Seen: a directory of ten takes 1 ms on GlusterFS, 50 ms on sshfs with 20 ms to the server, 0.3 ms on mergerfs; of
that 0.1 ms is work."""
THREADS = 8


def each(call: Callable[[T], None], things: Sequence[T]) -> None:
    """Call it with each, in order; from the first call on that mostly waited, in THREADS threads.

    Raises what the first call that failed raised, when none is under way any more; no other is begun then. The threads
    do not keep the process: one may hang.
    """
    at = 0
    for at, thing in enumerate(things, 1):  # noqa: B007  # used below
        begun, worked = perf_counter(), thread_time()
        call(thing)
        if perf_counter() - begun > max(SLOW, IDLE * (thread_time() - worked)):
            break
    _at_once(call, things[at:])


def _at_once(call: Callable[[T], None], things: Sequence[T]) -> None:
    left, failed = iter(things), list[BaseException]()

    def work() -> None:
        for thing in left:  # one step under the interpreter's lock: nobody else gets that one
            if failed:
                return
            try:
                call(thing)
            except BaseException as error:
                failed.append(error)

    started = []
    for _ in range(min(THREADS, len(things)) - 1):
        thread = threading.Thread(target=work, daemon=True)
        with suppress(RuntimeError):  # there is none to be had: fewer will do
            thread.start()
            started.append(thread)
    work()
    for thread in started:
        thread.join()
    if failed:
        raise failed[0]
