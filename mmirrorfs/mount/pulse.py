"""How long the event loop keeps everybody waiting: the longest time between two looks for something to do.

Rule 1: the loop looks when it asks the kernel for events, and when it asks for the next request (``requestloop``).
Between two looks nobody is answered. Each such time is measured, none is missed, and the loop is never woken for it.
Rule 2: what is told is the longest of the last WINDOW to 2 * WINDOW seconds, however many ask.

What it does not see: that the machine, or a thread of the view's, keeps the processor from the loop while it waits for
events. Event loop's thread only.
"""

import math
from collections.abc import Callable
from time import perf_counter

from trio.abc import Instrument

WINDOW = 300.0
"""Seconds."""


class Pulse(Instrument):
    """Looks on at a loop. The request loop writes ``since`` and ``longest`` itself: a call would cost more."""

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self._clock = clock
        self._begun = clock()
        self._before = 0.0
        self.since = math.inf
        """When the last look ended."""
        self.longest = 0.0
        """Seconds: the longest time in this window, that before it left out."""

    def before_io_wait(self, timeout: float) -> None:
        """The loop looks, and waits for up to so many seconds if there is nothing."""
        now = self._clock()
        if now > self._begun + WINDOW:
            self._turn(now)
        if now - self.since > self.longest:
            self.longest = now - self.since

    def after_io_wait(self, timeout: float) -> None:
        """It has found what there is."""
        self.since = self._clock()

    def pause(self) -> float:
        """The longest, in seconds."""
        self._turn(self._clock())
        return max(self.longest, self._before)

    def _turn(self, now: float) -> None:
        """Begin another window where it is time."""
        past = (now - self._begun) // WINDOW
        if past:
            self._before = self.longest if past == 1 else 0.0
            self._begun, self.longest = now, 0.0
