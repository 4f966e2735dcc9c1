"""The one place that says whether what is known may still be told, and for how long the kernel may keep it. No I/O."""

import math
from collections.abc import Callable
from dataclasses import dataclass

NEVER = -1e9
"""A time before all others, in monotonic seconds."""
WATCHED = math.inf
"""In place of a time: true until the source reports something else."""
INDEXED = 1e18
"""In place of a time: as the index has it, which is kept current by looking at the sources once a period."""
HOUR = 3600.0
"""Seconds for which the kernel may keep what is watched: it is told of each change."""
COARSE = 2.5
"""Seconds: a bit more than the coarsest clock among the filesystems (FAT, 2 s)."""


@dataclass(slots=True)
class Freshness:
    """How the promise is divided, in seconds: what is kept here, what the kernel keeps, and how often is looked.

    ``period`` is None where only a signal starts a look. ``clock`` gives monotonic seconds; nothing of before
    ``doubted`` is fresh. With ``is_tight`` not all that the kernel was told of can be known, so it is told of no change
    in what was forgotten, and keeps nothing for longer than was promised. ``forgets`` says that it can be made to
    forget the names that are not there, should reports be lost.
    """

    keep: float
    kernel: float
    period: float | None
    clock: Callable[[], float]
    doubted: float = NEVER
    is_tight: bool = False
    forgets: bool = False

    @classmethod
    def promised(cls, seconds: float, clock: Callable[[], float]) -> "Freshness":
        """What shows within ``seconds``: half the time to notice, a bit less than half in the kernel's cache."""
        if seconds <= 0:
            return cls(0.5, 0.5, None, clock)
        return cls(0.45 * seconds, 0.45 * seconds, 0.5 * seconds, clock)

    def doubt(self) -> None:
        """Somebody wants to see what is true now: what was known until now is too old."""
        self.doubted = self.clock()

    def is_fresh(self, when: float) -> bool:
        """Whether what was true then, in monotonic seconds, may be told still."""
        return self.clock() - when < self.keep and when > self.doubted

    def timeout(self, when: float) -> float:
        """Seconds for which the kernel may keep what was true then: the rest of what was promised where it is polled.

        None for the last that is known and is too old: it stands in.
        """
        if when == WATCHED:
            return HOUR if not self.is_tight else self.kernel
        if when == INDEXED:
            return self.kernel
        return self.keep + self.kernel - (self.clock() - when) if self.is_fresh(when) else 0.0
