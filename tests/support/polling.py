"""Waiting for what happens elsewhere: the only place in the tests that sleeps, and never without a bound."""

import time
from collections.abc import Callable

INTERVAL = 0.02
"""Seconds between two looks."""


def holds(condition: Callable[[], object], seconds: float = 10) -> bool:
    """Whether ``condition()`` becomes true within ``seconds``; returns as soon as it does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(INTERVAL)
    return True


def poll(condition: Callable[[], object], what: str, seconds: float = 10) -> None:
    """Wait until ``condition()`` is true. Raises AssertionError, saying ``what`` did not come, after ``seconds``."""
    assert holds(condition, seconds), f"not within {seconds} s: {what}"
