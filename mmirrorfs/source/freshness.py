"""The one place that says whether what is known may still be told, and for how long the kernel may keep it. No I/O."""

from collections.abc import Callable
from dataclasses import dataclass

NEVER = -1e9
"""A time before all others, in monotonic seconds."""
COARSE = 2.5
"""Seconds: a bit more than the coarsest clock among the filesystems (FAT, 2 s)."""


@dataclass(slots=True)
class Freshness:
    """How the promise is divided, in seconds: what is kept here, what the kernel keeps, and how often is looked.

    ``period`` is None where only a signal starts a look. ``clock`` gives monotonic seconds; nothing of before
    ``doubted`` is fresh.
    """

    keep: float
    kernel: float
    period: float | None
    clock: Callable[[], float]
    doubted: float = NEVER

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
        """Seconds for which the kernel may keep what was true then: none for the last that is known and is too old."""
        return self.kernel if self.is_fresh(when) else 0.0
