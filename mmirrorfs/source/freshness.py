"""Maximum staleness (``--refresh``): what cached data may be replied, and how long the kernel may cache a reply.

Times are monotonic seconds. No I/O; any thread may call it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

NEVER = -1e9
"""A time before all others."""
WATCHED = math.inf
"""In place of a time: true until the source reports a change."""
INDEXED = 1e18
"""In place of a time: as the index has it, which a scan of the sources renews once a period."""
HOUR = 3600.0
"""Seconds for which the kernel may cache what is watched: each change is invalidated."""
COARSE = 2.5
"""Seconds: a bit more than the resolution of the coarsest timestamps (FAT, 2 s)."""


@dataclass(slots=True)
class Freshness:
    """The staleness budget in seconds: what the cache here gets, what the kernel's gets, and the period of scans.

    ``period`` is None if only a signal starts a scan. ``clock`` gives monotonic seconds; nothing from before
    ``doubted`` is fresh. With ``is_tight`` entries that the kernel has may have been evicted here, so their changes are
    not invalidated, and the kernel caches nothing for longer than the budget.
    """

    keep: float
    kernel: float
    period: float | None
    clock: Callable[[], float]
    doubted: float = NEVER
    is_tight: bool = False

    @classmethod
    def promised(cls, seconds: float, clock: Callable[[], float]) -> "Freshness":
        """Changes show within ``seconds``: half for noticing them, a bit less than half for the kernel's cache."""
        if seconds <= 0:
            return cls(0.5, 0.5, None, clock)
        return cls(0.45 * seconds, 0.45 * seconds, 0.5 * seconds, clock)

    def doubt(self) -> None:
        """Make everything stale that is cached until now."""
        self.doubted = self.clock()

    def is_fresh(self, when: float) -> bool:
        """Whether what was true at that time may be replied."""
        return self.clock() - when < self.keep and when > self.doubted

    def timeout(self, when: float) -> float:
        """Seconds for which the kernel may cache what was true at that time: the rest of the budget if it is polled.

        0 for a stale reply.
        """
        if when == WATCHED:
            return HOUR if not self.is_tight else self.kernel
        if when == INDEXED:
            return self.kernel
        return self.keep + self.kernel - (self.clock() - when) if self.is_fresh(when) else 0.0


class WallClock:
    """The time of day at a moment of the monotonic clock, or earlier: never later.

    The monotonic clock stops while the machine sleeps, and the wall clock can be set. So the least difference ever seen
    counts. Call ``update`` before reading anything that ``at`` is used for.
    """

    def __init__(self) -> None:
        self._offset: int | None = None

    def update(self, now: float, wall_ns: int) -> None:
        """Both clocks were read: monotonic seconds, and nanoseconds since the epoch."""
        offset = wall_ns - int(now * 1e9)
        self._offset = offset if self._offset is None else min(self._offset, offset)

    def at(self, when: float) -> int:
        """Nanoseconds since the epoch at that monotonic time; 0 before the first ``update``."""
        return int(when * 1e9) + self._offset if self._offset is not None else 0
