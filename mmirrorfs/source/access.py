"""The cached access lists of one source, which are kept with the listing of their directory (``source.acl``).

Event loop's thread only; no I/O.
"""

import errno

from mmirrorfs.listing import AccessLists
from mmirrorfs.source.acl import NONE, OWN, Read, is_valid
from mmirrorfs.source.freshness import WallClock
from mmirrorfs.source.known import Known
from mmirrorfs.source.singles import Value


class Access:
    """Queries on cached access lists. ``wall_clock`` is that of the source's ``Reader``."""

    def __init__(self, known: Known, wall_clock: WallClock) -> None:
        self._known = known
        self._wall_clock = wall_clock

    def value(self, path: bytes, name: bytes) -> tuple[Value, float] | None:
        """A list and the time it holds for; ENODATA if there is none; None if that is not cached."""
        directory, _, entry = path.rpartition(b"/")
        answer = self._known.entry(directory, entry)
        lists = self._of(directory, entry)
        if answer is None or lists is None:
            return None
        return lists.get(name, errno.ENODATA), answer.when

    def own(self, path: bytes, name: bytes) -> Value | None:
        """The list of a merged directory itself: a scan renews its stamp, and the list with it."""
        listing = self._known.listing(path)
        lists = listing.lists.get(OWN) if listing is not None and listing.lists is not None else None
        return lists.get(name, errno.ENODATA) if lists is not None else None

    def is_missing(self, directory: bytes, most: int) -> bool:
        """Whether no lists are cached of a directory with less than ``most`` entries."""
        listing = self._known.listing(directory)
        return listing is None or (listing.lists is None and len(listing) < most)

    def learn(self, read: Read) -> None:
        """Store lists from a crawl, if the cached listing has the same stamp and is not newer."""
        listing = self._known.listing(read.path)
        if (
            listing is not None
            and listing.lists is None
            and listing.fetched_at <= read.when
            and listing.stamp == read.stamp
        ):
            listing.lists = read.lists

    def _of(self, directory: bytes, name: bytes) -> AccessLists | None:
        """The lists of an entry; a name fetched since has the same ones if inode and ctime are unchanged."""
        listing = self._known.listing(directory)
        if listing is None or listing.lists is None:
            return None
        before, later = listing.get(name), self._known.since(directory).get(name)
        if before is None or not before.is_known:
            return None
        if later is not None:
            same = later.attr is not None and is_valid(before, later.attr, self._wall_clock.at(listing.fetched_at))
            return listing.lists.get(name, NONE) if same else None
        return listing.lists.get(name, NONE)
