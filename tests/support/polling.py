"""Waiting for what happens elsewhere: the only place in the tests that sleeps, and never without a bound."""

import time
from collections.abc import Callable

INTERVAL = 0.02
"""Seconds between two looks."""


def holds(condition: Callable[[], object], seconds: float = 10) -> bool:
    """Whether ``condition()`` becomes true within ``seconds``; returns as soon as it does.

    The last look begins after that time: a machine that stood still meanwhile is given one.
    """
    deadline = time.monotonic() + seconds
    while True:
        last = time.monotonic() > deadline
        if condition():
            return True
        if last:
            return False
        time.sleep(INTERVAL)


def poll(condition: Callable[[], object], what: str, seconds: float = 10) -> None:
    """Wait until ``condition()`` is true. Raises AssertionError, saying ``what`` did not come, after ``seconds``."""
    assert holds(condition, seconds), f"not within {seconds} s: {what}"
