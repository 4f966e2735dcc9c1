"""What was last seen below the depth: fresh, it answers again; later, it stands in for a lost or hung source.

Two shelves. Listings used lately are kept as they were handed out (some 900 bytes an entry, HOT entries in all).
What falls off that shelf is packed to 80 bytes an entry and its name, and stays until ``limit`` entries are
exceeded; the longest unused goes first. Event loop's thread only; no I/O.
"""

import struct
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from mmirrorfs.source.reader import Listed
from mmirrorfs.tree import Attributes
from mmirrorfs.view.nodes import Node

HOT = 50_000
"""Entries on the first shelf: 45 MB."""

_PACKED = struct.Struct("<IIIIQQQqqqQQH")
"""The fields of Attributes, then the length of the name that follows."""

Key = tuple[int, bytes]
"""(rank of a source, path of a directory in it); the rank is -1 for a merged directory of the view."""


@dataclass(slots=True, eq=False)
class Listing:
    """A directory's entries in byte order. ``taken`` is in loop seconds; ``proof`` tells whether it still stands.

    ``proof`` is the stamp of the directory that was listed, or the merged directory of the index it came from.
    ``packed`` are the entries packed, where that was done already.
    """

    entries: list[tuple[bytes, Node]]
    taken: float
    proof: object
    packed: bytes = b""
    _by_name: dict[bytes, Node] = field(default_factory=dict)

    def find(self, name: bytes) -> Node | None:
        """The entry of that name."""
        if not self._by_name:
            self._by_name = dict(self.entries)
        return self._by_name.get(name)


def pack(entries: Iterable[Listed]) -> bytes:
    """Some entries of a listing; what several pieces of it are packed to may be joined."""
    return b"".join([_PACKED.pack(*attr, len(name)) + name for name, attr in entries])


def _unpack(blob: bytes) -> Iterator[Listed]:
    at = 0
    while at < len(blob):
        *fields, length = _PACKED.unpack_from(blob, at)
        at += _PACKED.size + length
        yield blob[at - length : at], Attributes(*fields)


def weight(listing: Listing) -> int:
    """What a listing counts as, in entries: an empty one takes room too."""
    return max(1, len(listing.entries))


class Memory:
    """Listings by directory, bounded to ``limit`` entries; ``hot`` bounds those that are kept unpacked."""

    def __init__(self, limit: int, hot: int = HOT) -> None:
        self._limit = limit
        self._hot_limit = min(hot, limit)
        self._hot: OrderedDict[Key, Listing] = OrderedDict()
        self._hot_entries = 0
        self._packed: OrderedDict[Key, tuple[int, bytes]] = OrderedDict()
        self._packed_entries = 0
        self._loose: OrderedDict[tuple[int, bytes], bytes] = OrderedDict()
        self._values: OrderedDict[tuple[int, bytes, bytes], bytes] = OrderedDict()

    def is_large(self, count: int) -> bool:
        """Whether a listing of so many entries is kept packed, and never as it was handed out."""
        return count > self._hot_limit

    def keep(self, key: Key, listing: Listing) -> None:
        """Remember a listing that was just taken."""
        self._drop(key)
        if self.is_large(weight(listing)):
            self._keep_packed(key, listing)
            return
        self._hot[key] = listing
        self._hot_entries += weight(listing)
        while self._hot_entries > self._hot_limit:
            old_key, old = self._hot.popitem(last=False)
            self._hot_entries -= weight(old)
            self._keep_packed(old_key, old)
        self._shrink()

    def listing(self, key: Key) -> Listing | None:
        """The listing as it was handed out, while it is on the first shelf."""
        found = self._hot.get(key)
        if found is not None:
            self._hot.move_to_end(key)
        return found

    def recall(self, key: Key) -> list[Listed] | None:
        """What a directory held when it was last listed, in byte order; None where it was not, or too long ago."""
        hot = self._hot.get(key)
        if hot is not None:
            return [(name, node.attr) for name, node in hot.entries]
        packed = self._packed.get(key)
        if packed is None:
            return None
        self._packed.move_to_end(key)
        return list(_unpack(packed[1]))

    def see(self, rank: int, path: bytes, attr: Attributes) -> None:
        """Remember one file by itself: of what was looked up and not listed."""
        self._loose[rank, path] = _PACKED.pack(*attr, 0)
        self._loose.move_to_end((rank, path))
        self._shrink()

    def recall_one(self, rank: int, path: bytes) -> Attributes | None:
        """The attributes of one file when it was last seen, in a listing or by itself; None for absent or unknown.

        While a listing is remembered nothing in it is seen by itself, so the listing knows better.
        """
        above, _, name = path.rpartition(b"/")
        hot = self._hot.get((rank, above))
        if hot is not None:
            node = hot.find(name)
            return node.attr if node is not None else None
        listed = self.recall((rank, above))
        if listed is not None:
            return dict(listed).get(name)
        loose = self._loose.get((rank, path))
        return Attributes(*_PACKED.unpack(loose)[:-1]) if loose is not None else None

    def note(self, rank: int, path: bytes, name: bytes, value: bytes | None) -> None:
        """Remember an extended attribute, or under the name b"" a link's target; None: that it is not there."""
        self._values.pop((rank, path, name), None)
        if value is not None:
            self._values[rank, path, name] = value
            self._shrink()

    def noted(self, rank: int, path: bytes, name: bytes) -> bytes | None:
        """What was noted, if it was."""
        return self._values.get((rank, path, name))

    def knows(self, rank: int, path: bytes) -> bool:
        """Whether ``recall_one`` may be answered without the source, positively or not."""
        key = (rank, path.rpartition(b"/")[0])
        return (rank, path) in self._loose or key in self._hot or key in self._packed

    def is_listed(self, key: Key) -> bool:
        """Whether all names of that directory are remembered, so that one that is not there is known to be absent."""
        return key in self._hot or key in self._packed

    def __len__(self) -> int:
        return self._hot_entries + self._packed_entries + len(self._loose) + len(self._values)

    def _keep_packed(self, key: Key, listing: Listing) -> None:
        if key[0] >= 0:
            packed = listing.packed or pack((name, node.attr) for name, node in listing.entries)
            self._packed[key] = (weight(listing), packed)
            self._packed_entries += weight(listing)
            self._shrink()

    def _shrink(self) -> None:
        while len(self) > self._limit and (self._packed or self._loose or self._values):
            if self._packed:
                self._packed_entries -= self._packed.popitem(last=False)[1][0]
            else:
                (self._loose or self._values).popitem(last=False)

    def _drop(self, key: Key) -> None:
        hot = self._hot.pop(key, None)
        if hot is not None:
            self._hot_entries -= weight(hot)
        packed = self._packed.pop(key, None)
        if packed is not None:
            self._packed_entries -= packed[0]
