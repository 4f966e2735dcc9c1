"""Event loop latency: the longest time for which the loop polled for neither events nor requests.

Rule 1: every interval between two polls is measured, by trio's I/O wait and by ``requestloop``. The loop is never woken
for it.
Rule 2: the maximum of the last WINDOW to 2 * WINDOW seconds is reported; reading it does not reset it.

It does not measure how late the loop gets the processor, or the GIL, after a wait for events. Event loop's thread only.
"""

import math
from collections.abc import Callable
from time import perf_counter

from trio.abc import Instrument

WINDOW = 300.0
"""Seconds."""


class LoopLatency(Instrument):
    """A trio instrument. The request loop writes ``since`` and ``longest`` itself: a call would cost more."""

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self._clock = clock
        self._started = clock()
        self._previous = 0.0
        self.since = math.inf
        """When the last poll returned."""
        self.longest = 0.0
        """Seconds: the longest interval in the current window."""

    def before_io_wait(self, timeout: float) -> None:
        """The loop polls: an interval ends."""
        now = self._clock()
        if now > self._started + WINDOW:
            self._rotate(now)
        if now - self.since > self.longest:
            self.longest = now - self.since

    def after_io_wait(self, timeout: float) -> None:
        """The poll has returned: an interval begins."""
        self.since = self._clock()

    def longest_pause(self) -> float:
        """The longest interval, in seconds (rule 2)."""
        self._rotate(self._clock())
        return max(self.longest, self._previous)

    def _rotate(self, now: float) -> None:
        """Start a new window if the current one is over."""
        past = (now - self._started) // WINDOW
        if past:
            self._previous = self.longest if past == 1 else 0.0
            self._started, self.longest = now, 0.0
