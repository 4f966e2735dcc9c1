"""What the time of day was at a moment of the monotonic clock. No I/O; any thread may call it."""


class Walls:
    """What the time of day was at a moment of the monotonic clock, or earlier: never later.

    The monotonic clock stands still while the machine sleeps, and the other one is set: the least difference that was
    ever seen is what counts. To be told of both before anything is read that is asked about later.
    """

    def __init__(self) -> None:
        self._offset: int | None = None

    def see(self, now: float, wall_ns: int) -> None:
        """Both clocks were looked at: seconds, and nanoseconds since the epoch."""
        offset = wall_ns - int(now * 1e9)
        self._offset = offset if self._offset is None else min(self._offset, offset)

    def at(self, when: float) -> int:
        """Nanoseconds since the epoch; 0 where no clock was looked at yet."""
        return int(when * 1e9) + self._offset if self._offset is not None else 0
