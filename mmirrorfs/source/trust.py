"""Since when a source reports its changes to us, and what it has reported that was not looked at yet.

Rule 1: a report is a hint. It says that a name has to be looked at again; what is true is what that look finds.
Rule 2: a look that began before the report was read may have missed it: only a later one settles it.
Rule 3: the same for what nobody knew yet when the report was read, as it was just being looked at, or was known under
another path: a look that comes in with such a report behind it is in doubt, and is looked at again (``missed``).

Event loop's thread only; no I/O. Times are monotonic seconds.
"""

import math
from collections.abc import Iterable

import trio

from mmirrorfs.listing import Listing
from mmirrorfs.source.freshness import NEVER, WATCHED

ALL = b""
"""In place of a name: all that is in the directory."""
MANY = 1000
"""Names of a directory in doubt from which on all of it is."""
REPORTED = 20_000
"""Directories of which is kept when something was last reported of them: some 3 MB."""


class Trust:
    """What is known of one source and watched is true until the source says otherwise.

    ``since`` is when the watch began, unbroken: nothing from before is watched. Infinite where there is none.
    """

    def __init__(self) -> None:
        self.since = math.inf
        self._doubts: dict[bytes, dict[bytes, float]] = {}
        self._reported: dict[bytes, float] = {}
        self._floor = NEVER
        self._send, self.missed = trio.open_memory_channel[tuple[bytes, bytes]](math.inf)

    @property
    def is_begun(self) -> bool:
        """Whether anything is watched."""
        return self.since != math.inf

    def begin(self, now: float) -> None:
        """From now on all changes are reported; what may have changed before then is polled until it is proved."""
        self.since = now
        self._doubts.clear()

    def end(self) -> None:
        """Nothing is reported any more."""
        self.begin(math.inf)

    def report(self, keys: Iterable[bytes], now: float) -> None:
        """Something was reported of directories, whether they are known or not."""
        self._reported.update(dict.fromkeys(keys, now))
        if len(self._reported) > REPORTED:  # what was looked at before now may be among them
            self._reported.clear()
            self._floor = now

    def last_report(self, key: bytes) -> float:
        """When something was last reported of a directory; it may have been earlier where much was reported since."""
        return max(self._floor, self._reported.get(key, NEVER))

    def arrive(self, directory: bytes, listing: Listing) -> None:
        """Rule 3, for a look that came in."""
        if not listing.key or listing.fetched_at < self.since:
            return
        last = self.last_report(listing.key)
        if last >= listing.fetched_at:
            self.miss(directory, last)

    def miss(self, directory: bytes, now: float, name: bytes = ALL) -> None:
        """A name, or all that is in a directory, has to be looked at, though nothing was reported of it."""
        if self.is_begun:
            self.doubt(directory, name, now)
            self._send.send_nowait((directory, name))

    def doubt(self, directory: bytes, name: bytes, now: float) -> None:
        """A change of a name was reported, or, under ALL, of whatever is in the directory."""
        doubts = self._doubts.setdefault(directory, {})
        if len(doubts) >= MANY:
            doubts.clear()
            name = ALL
        doubts[name] = now

    def settle(self, directory: bytes, asked: float, name: bytes = ALL) -> None:
        """A look began at ``asked``: at one name, or, under ALL, at the whole directory."""
        doubts = self._doubts.get(directory)
        if doubts is None:
            return
        for one in list(doubts) if name == ALL else [name]:
            if doubts.get(one, math.inf) <= asked:
                del doubts[one]
        if not doubts:
            del self._doubts[directory]

    def forget(self, directory: bytes) -> None:
        """Nothing is known of a directory any more."""
        self._doubts.pop(directory, None)

    def is_doubted(self, directory: bytes) -> bool:
        """Whether anything in a directory has to be looked at."""
        return directory in self._doubts

    def is_doubted_since(self, directory: bytes, then: float) -> bool:
        """Whether anything in a directory has to be looked at, and had to be then."""
        return any(since <= then for since in self._doubts.get(directory, {}).values())

    def doubted(self, directory: bytes) -> list[bytes]:
        """The names of a directory that have to be looked at."""
        return list(self._doubts.get(directory, ()))

    def when(self, directory: bytes, listing: Listing | None, proved: float, name: bytes = ALL) -> float:
        """When what was proved then of a name, or, under ALL, of the whole directory, is true: see ``Freshness``."""
        doubts = self._doubts.get(directory)
        if doubts is not None and (name == ALL or name in doubts or ALL in doubts):
            return NEVER
        return WATCHED if listing is not None and listing.key and proved >= self.since else proved
