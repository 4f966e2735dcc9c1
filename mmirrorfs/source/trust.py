"""Since when one source is watched, and which names are in doubt: an event came and they were not fetched since.

Rule 1: an event is a hint. It puts a name in doubt; only a fetch says what is true.
Rule 2: a fetch that began before the event was read may have missed the change: only a later one settles the doubt.
Rule 3: an event may be read before its directory is cached, while that is being listed or under its former path. A
listing older than the last event of its key is in doubt on arrival, and is fetched again (``missed``).

Event loop's thread only; no I/O. Times are monotonic seconds.
"""

import math
from collections.abc import Iterable

import trio

from mmirrorfs.listing import Listing
from mmirrorfs.source.freshness import NEVER, WATCHED

ALL = b""
"""In place of a name: all names in the directory."""
MANY = 1000
"""Names in doubt from which on the whole directory is."""
REPORTED = 20_000
"""Directories for which the time of the last event is kept: some 3 MB."""


class Trust:
    """Which cached entries of one source are true until an event.

    ``since`` is when the watch began; entries from before are polled. Infinite if the source is not watched.
    """

    def __init__(self) -> None:
        self.since = math.inf
        self._doubts: dict[bytes, dict[bytes, float]] = {}
        self._reported: dict[bytes, float] = {}
        self._floor = NEVER
        self._send, self.missed = trio.open_memory_channel[tuple[bytes, bytes]](math.inf)

    @property
    def is_begun(self) -> bool:
        """Whether the source is watched."""
        return self.since != math.inf

    def begin(self, now: float) -> None:
        """From now on all changes cause events; older entries are polled until they are fetched."""
        self.since = now
        self._doubts.clear()

    def end(self) -> None:
        """Events have stopped, or some were lost."""
        self.begin(math.inf)

    def report(self, keys: Iterable[bytes], now: float) -> None:
        """Note events of directories, cached or not."""
        self._reported.update(dict.fromkeys(keys, now))
        if len(self._reported) > REPORTED:  # so each of them may have had an event until now
            self._reported.clear()
            self._floor = now

    def last_report(self, key: bytes) -> float:
        """The time of the last event of a directory, or a later time after a flood of events."""
        return max(self._floor, self._reported.get(key, NEVER))

    def arrive(self, directory: bytes, listing: Listing) -> None:
        """Rule 3, for a listing that was just stored."""
        if not listing.key or listing.fetched_at < self.since:
            return
        last = self.last_report(listing.key)
        if last >= listing.fetched_at:
            self.miss(directory, last)

    def miss(self, directory: bytes, now: float, name: bytes = ALL) -> None:
        """Put a name in doubt without an event, and have it fetched (``missed``)."""
        if self.is_begun:
            self.doubt(directory, name, now)
            self._send.send_nowait((directory, name))

    def doubt(self, directory: bytes, name: bytes, now: float) -> None:
        """Put a name in doubt after an event, or with ALL the whole directory."""
        doubts = self._doubts.setdefault(directory, {})
        if len(doubts) >= MANY:
            doubts.clear()
            name = ALL
        doubts[name] = now

    def settle(self, directory: bytes, requested_at: float, name: bytes = ALL) -> None:
        """Settle the doubts before ``requested_at``, the start of the fetch of a name, or with ALL of the directory."""
        doubts = self._doubts.get(directory)
        if doubts is None:
            return
        for one in list(doubts) if name == ALL else [name]:
            if doubts.get(one, math.inf) <= requested_at:
                del doubts[one]
        if not doubts:
            del self._doubts[directory]

    def forget(self, directory: bytes) -> None:
        """Drop the doubts about a directory that is not cached any more."""
        self._doubts.pop(directory, None)

    def is_doubted(self, directory: bytes) -> bool:
        """Whether any name in a directory is in doubt."""
        return directory in self._doubts

    def is_doubted_since(self, directory: bytes, then: float) -> bool:
        """Whether any name in a directory is in doubt, and was at that time."""
        return any(since <= then for since in self._doubts.get(directory, {}).values())

    def when(self, directory: bytes, listing: Listing | None, validated_at: float, name: bytes = ALL) -> float:
        """The time for ``Freshness`` of an entry fetched at ``validated_at``: NEVER if it is in doubt, WATCHED if its
        directory has been watched since, else ``validated_at``. With ALL for the whole directory.
        """
        doubts = self._doubts.get(directory)
        if doubts is not None and (name == ALL or name in doubts or ALL in doubts):
            return NEVER
        return WATCHED if listing is not None and listing.key and validated_at >= self.since else validated_at
