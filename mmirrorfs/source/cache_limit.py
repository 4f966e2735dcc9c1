"""The limit of cached entries of a view (``--remember``), and which source evicts first when it is exceeded.

Event loop's thread only; no I/O.
"""

from typing import Protocol

import trio


class Member(Protocol):
    """The cache of one source."""

    @property
    def used(self) -> int:
        """Its size in entries."""

    def evict(self, kept: bytes | None) -> bool:
        """Drop the least recently used entry, but not directory ``kept``; returns whether there was one."""


class CacheLimit:
    """The number of entries that all sources of a view together may cache below the depth."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.members: list[Member] = []
        self.tight = trio.Event()
        """Set when a directory was evicted."""

    @property
    def used(self) -> int:
        """The number of cached entries."""
        return sum(member.used for member in self.members)

    def shrink(self, asking: Member, kept: bytes | None) -> None:
        """Evict down to the limit, the fullest source first; directory ``kept`` of ``asking`` is in use and stays."""
        while self.used > self.limit:
            fullest = max(self.members, key=lambda member: member.used)
            if not fullest.evict(kept if fullest is asking else None) and not asking.evict(kept):
                break
