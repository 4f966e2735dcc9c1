"""Bounded polling for what happens in other processes and in the kernel: the only place in the tests that sleeps."""

import time
from collections.abc import Callable

SHORTEST, LONGEST = 0.002, 0.02
"""Seconds between two checks. The interval grows with the time waited, to a tenth of it at most."""


def holds(condition: Callable[[], object], seconds: float = 10) -> bool:
    """Return True as soon as ``condition()`` is true, or False when it has not been within ``seconds``.

    One more check starts after that time, so that a machine that was suspended in between gets one.
    """
    start = time.monotonic()
    while True:
        waited = time.monotonic() - start
        if condition():
            return True
        if waited > seconds:
            return False
        time.sleep(min(max(waited / 10, SHORTEST), LONGEST))


def poll(condition: Callable[[], object], what: str, seconds: float = 10) -> None:
    """Wait until ``condition()`` is true. Raises AssertionError, naming ``what`` did not happen, after ``seconds``."""
    assert holds(condition, seconds), f"not within {seconds} s: {what}"
