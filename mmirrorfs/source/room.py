"""How much may be known. Event loop's thread only; no I/O."""

from typing import Protocol

import trio


class Member(Protocol):
    """What is known of one source: ``used`` is the room that it takes, in entries."""

    used: int

    def drop(self, kept: bytes | None) -> bool:
        """Forget what was not used for longest, but for one directory; returns whether there was anything else."""


class Room:
    """How many entries may be known below the depth, of all sources of a view together."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.members: list[Member] = []
        self.tight = trio.Event()
        """Set when something was forgotten for want of room."""

    @property
    def used(self) -> int:
        """How many there are."""
        return sum(member.used for member in self.members)

    @property
    def is_short(self) -> bool:
        """Whether something has to go."""
        return self.used > self.limit
