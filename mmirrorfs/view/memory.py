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

Value = bytes | int
"""An extended attribute or a link's target; or the errno that says why there is none."""


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


def _attributes(blob: bytes) -> Attributes | None:
    """What ``see`` remembered."""
    return Attributes(*_PACKED.unpack(blob)[:-1]) if blob else None


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
        self._loose: OrderedDict[Key, dict[bytes, bytes]] = OrderedDict()
        self._loose_entries = 0
        self._values: OrderedDict[tuple[int, bytes, bytes], tuple[Value, float]] = OrderedDict()

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
        """What a directory held when it was last listed and looked into; None where it was not, or too long ago."""
        listed = self._recalled(key)
        since = self._loose.get(key)
        if listed is None or not since:
            return listed
        merged = dict(listed) | {name: _attributes(blob) for name, blob in since.items()}
        return [(name, attr) for name, attr in merged.items() if attr is not None]

    def _recalled(self, key: Key) -> list[Listed] | None:
        hot = self._hot.get(key)
        if hot is not None:
            return [(name, node.attr) for name, node in hot.entries if node.attr.is_known]
        packed = self._packed.get(key)
        if packed is None:
            return None
        self._packed.move_to_end(key)
        return list(_unpack(packed[1]))

    def see(self, rank: int, path: bytes, attr: Attributes | None) -> None:
        """Remember one file by itself, of what was looked up and not listed; None: that it was not there.

        Absence is worth remembering only where an older listing says otherwise.
        """
        above, _, name = path.rpartition(b"/")
        key = (rank, above)
        seen = self._loose.get(key)
        if attr is None and not self.is_listed(key) and (seen is None or name not in seen):
            return
        if seen is None:
            seen = self._loose[key] = {}
        self._loose_entries -= len(seen)
        seen[name] = _PACKED.pack(*attr, 0) if attr is not None else b""
        self._loose_entries += len(seen)
        self._loose.move_to_end(key)
        self._shrink()

    def recall_one(self, rank: int, path: bytes) -> Attributes | None:
        """The attributes of one file when it was last seen, in a listing or by itself; None for absent or unknown."""
        above, _, name = path.rpartition(b"/")
        seen = self._loose.get((rank, above), {}).get(name)
        if seen is not None:
            return _attributes(seen)
        hot = self._hot.get((rank, above))
        if hot is not None:
            node = hot.find(name)
            return node.attr if node is not None and node.attr.is_known else None
        listed = self._recalled((rank, above))
        return dict(listed).get(name) if listed is not None else None

    def note(self, rank: int, path: bytes, name: bytes, value: Value, when: float) -> None:
        """Remember an extended attribute, or under the name b"" a link's target; ``when`` is in loop seconds."""
        self._values.pop((rank, path, name), None)
        self._values[rank, path, name] = value, when
        self._shrink()

    def noted(self, rank: int, path: bytes, name: bytes) -> tuple[Value, float] | None:
        """What was noted, and when."""
        return self._values.get((rank, path, name))

    def is_listed(self, key: Key) -> bool:
        """Whether all names of that directory are remembered, so that one that is not there is known to be absent."""
        return key in self._hot or key in self._packed

    def __len__(self) -> int:
        return self._hot_entries + self._packed_entries + self._loose_entries + len(self._values)

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
            elif self._loose:
                self._loose_entries -= len(self._loose.popitem(last=False)[1])
            else:
                self._values.popitem(last=False)

    def forget(self, key: Key) -> None:
        """A directory is known to be gone."""
        self._drop(key)

    def _drop(self, key: Key) -> None:
        self._loose_entries -= len(self._loose.pop(key, ()))
        hot = self._hot.pop(key, None)
        if hot is not None:
            self._hot_entries -= weight(hot)
        packed = self._packed.pop(key, None)
        if packed is not None:
            self._packed_entries -= packed[0]
