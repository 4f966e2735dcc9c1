"""The access lists that are known of one source: with the directories that their entries are in (``source.lists``).

Event loop's thread only; no I/O.
"""

import errno

from mmirrorfs.listing import AccessLists
from mmirrorfs.source.known import Known
from mmirrorfs.source.lists import NONE, OWN, Read, stands
from mmirrorfs.source.values import Value
from mmirrorfs.source.walls import Walls


class Access:
    """What is known of access lists. ``walls`` are those of the reader by which all else is read."""

    def __init__(self, known: Known, walls: Walls) -> None:
        self._known = known
        self._walls = walls

    def value(self, path: bytes, name: bytes) -> tuple[Value, float] | None:
        """The list of that name, or ENODATA where there is none, and when that was so; None where it is not known."""
        directory, _, entry = path.rpartition(b"/")
        answer = self._known.entry(directory, entry)
        lists = self._of(directory, entry)
        if answer is None or lists is None:
            return None
        return lists.get(name, errno.ENODATA), answer.when

    def own(self, path: bytes, name: bytes) -> Value | None:
        """The same of a merged directory: a scan proves its stamp, and the list with it."""
        listing = self._known.listing(path)
        lists = listing.lists.get(OWN) if listing is not None and listing.lists is not None else None
        return lists.get(name, errno.ENODATA) if lists is not None else None

    def is_missing(self, directory: bytes, most: int) -> bool:
        """Whether nothing is known of the lists in a directory of less than ``most`` entries."""
        listing = self._known.listing(directory)
        return listing is None or (listing.lists is None and len(listing) < most)

    def learn(self, read: Read) -> None:
        """Lists were read that nobody asked for: they count where the directory is as it is known, and not newer."""
        listing = self._known.listing(read.path)
        if (
            listing is not None
            and listing.lists is None
            and listing.fetched_at <= read.when
            and listing.stamp == read.stamp
        ):
            listing.lists = read.lists

    def _of(self, directory: bytes, name: bytes) -> AccessLists | None:
        """Those of an entry; a name that was proved by itself has the same where it is the same inode, unchanged."""
        listing = self._known.listing(directory)
        if listing is None or listing.lists is None:
            return None
        before, later = listing.get(name), self._known.since(directory).get(name)
        if before is None or not before.is_known:
            return None
        if later is not None:
            same = later.attr is not None and stands(before, later.attr, self._walls.at(listing.fetched_at))
            return listing.lists.get(name, NONE) if same else None
        return listing.lists.get(name, NONE)
