"""The listing of one directory of one source: its stamp, its names in byte order, and the attributes of each.

Packed into one ``bytes``, some 49 bytes per entry plus its name, so that a whole library fits in memory and a process
can send it unchanged. Immutable, so any thread may read one. No I/O, no clock, no FUSE.

Layout of the blob: header; classes (fields that many entries share: mode, owner, device); an offset for every CHUNK
names but the first; one row per entry; the names, separated and enclosed by zero bytes.
"""

import struct
from bisect import bisect
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter

from mmirrorfs.attributes import DIR, Attributes, Kind

Listed = tuple[bytes, Attributes]
"""A name and its attributes; ``bare`` ones where stat(2) failed."""
Stamp = tuple[int, int, int, int]
"""(dev, ino, mtime, ctime) of a directory, times in nanoseconds. While it does not change, the names do not."""

AccessLists = Mapping[bytes, bytes]
"""The ACLs of one entry, by name of the extended attribute."""
Lists = Mapping[bytes, AccessLists | None]
"""The ACLs of the entries of a directory by name: None if unknown; entries without any are left out."""

CHUNK = 64
"""Names between two offsets, searched as one piece."""
PARTS = 128
"""Number of parts in which a large directory is sorted."""

_HEAD = struct.Struct("<QQQQIIB")
_CLASS = struct.Struct("<IIIIIQQ")
_MARK = struct.Struct("<I")
_ROW = struct.Struct("<QQIQQQI")
_LOW = (1 << 32) - 1
"""The low bits of st_blocks, kept in the row (2 TiB); the rare rest is kept in the class."""
_ZERO = 1 << 61
"""Origin of packed times, in nanoseconds before the epoch: 64 bits hold the years 1896 to 2481."""
_LATEST = (1 << 64) - 1

Place = tuple[int, int, int, int, int]
"""Number of entries, and the offsets of classes, marks, rows and names in a blob."""


def pack(stamp: Stamp, settled: bool, listed: Iterable[Listed]) -> bytes:
    """Pack the entries of a directory, given in any order.

    ``settled`` says that no later change can leave the stamp as it is. Entries are packed one by one, so that of a
    generator's million only rows and names are held.
    """
    classes: dict[tuple[int, ...], int] = {}
    named = _sorted(_rows(listed, classes))
    names = b"\0%b\0" % b"\0".join([name for name, _ in named])
    dev, ino, mtime, ctime = stamp
    head = _HEAD.pack(dev, ino, _time(mtime), _time(ctime), len(named), len(classes), settled)
    kinds = [_CLASS.pack(*same) for same in classes]
    return b"".join([head, *kinds, *_marks([len(name) for name, _ in named]), *[row for _, row in named], names])


_by_name = itemgetter(0)


def _sorted(named: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Sort by name, large directories in parts: one sort holds the GIL, for 0.1 s with 200,000 names."""
    if len(named) <= PARTS * CHUNK:
        return sorted(named, key=_by_name)
    pivots = sorted(name for name, _ in named[:: len(named) // PARTS])
    parts: list[list[tuple[bytes, bytes]]] = [[] for _ in range(len(pivots) + 1)]
    for one in named:
        parts[bisect(pivots, one[0])].append(one)
    return [one for part in parts for one in sorted(part, key=_by_name)]


def _rows(listed: Iterable[Listed], classes: dict[tuple[int, ...], int]) -> list[tuple[bytes, bytes]]:
    """Names and packed rows. The hot loop of a crawl."""
    rows: list[tuple[bytes, bytes]] = []
    pack, number, zero = _ROW.pack, classes.setdefault, _ZERO
    last, row = None, b""
    for name, attr in listed:
        if attr is last:  # many entries share the same bare attributes
            rows.append((name, row))
            continue
        mode, nlink, uid, gid, rdev, size, blocks, atime, mtime, ctime, dev, ino = attr
        same = number((mode, nlink, uid, gid, blocks >> 32, rdev, dev), len(classes))
        try:
            row = pack(ino, size, blocks & _LOW, atime + zero, mtime + zero, ctime + zero, same)
        except struct.error:  # a time is out of range
            row = pack(ino, size, blocks & _LOW, _time(atime), _time(mtime), _time(ctime), same)
        rows.append((name, row))
        last = attr
    return rows


def _time(moment: int) -> int:
    """Packed form of a time in nanoseconds since the epoch, clamped to what 64 bits hold."""
    return min(max(moment + _ZERO, 0), _LATEST)


def _marks(lengths: list[int]) -> Iterator[bytes]:
    at = 0
    for start in range(0, len(lengths) - CHUNK, CHUNK):
        at += sum(lengths[start : start + CHUNK]) + CHUNK
        yield _MARK.pack(at)


class Listing:
    """A cached listing: the packed ``blob``, and when it was valid, in monotonic seconds.

    ``fetched_at`` is when all of it was read, ``validated_at`` when the names were last validated: an unchanged stamp
    validates names only. ``key`` identifies the directory in change events, and is empty if it is not watched.
    ``lists`` are the ACLs of the entries (``source.acl``), None if unknown; the only field that is set later.
    """

    __slots__ = ("blob", "fetched_at", "key", "lists", "validated_at")

    def __init__(
        self,
        blob: bytes,
        fetched_at: float,
        validated_at: float | None = None,
        key: bytes = b"",
        lists: Lists | None = None,
    ) -> None:
        self.blob = blob
        self.fetched_at = fetched_at
        self.validated_at = fetched_at if validated_at is None else validated_at
        self.key = key
        self.lists = lists

    @property
    def stamp(self) -> Stamp:
        """Stamp of the directory when it was listed."""
        dev, ino, mtime, ctime, *_ = _HEAD.unpack_from(self.blob)
        return dev, ino, mtime - _ZERO, ctime - _ZERO

    @property
    def settled(self) -> bool:
        """Whether the stamp validates: no later change can leave it as it is."""
        return bool(self.blob[_HEAD.size - 1])

    def stands(self, stamp: Stamp) -> bool:
        """Whether the names are still valid for a directory that has this stamp now."""
        return self.settled and self.stamp == stamp

    def still(self, validated_at: float) -> "Listing":
        """A copy with its names validated at ``validated_at``."""
        return Listing(self.blob, self.fetched_at, validated_at, self.key, self.lists)

    def __len__(self) -> int:
        return int(_HEAD.unpack_from(self.blob)[4])

    def __contains__(self, name: bytes) -> bool:
        return self._position(name, self._places()) is not None

    def get(self, name: bytes) -> Attributes | None:
        """Attributes of a name, None if there is no such name. O(log n)."""
        places = self._places()
        position = self._position(name, places)
        if position is None:
            return None
        _, classes, _, rows, _ = places
        *fields, same = _ROW.unpack_from(self.blob, rows + position * _ROW.size)
        return _attributes(_CLASS.unpack_from(self.blob, classes + same * _CLASS.size), *fields)

    def entries(self, start: int = 0, most: int | None = None) -> Iterator[Listed]:
        """Iterate over (name, attributes) from position ``start``, in byte order."""
        count, classes, marks, rows, _ = self._places()
        end = count if most is None else min(count, start + most)
        if start >= end:
            return
        shared = list(_CLASS.iter_unpack(self.blob[classes:marks]))
        some = memoryview(self.blob)[rows + start * _ROW.size : rows + end * _ROW.size]
        for name, (ino, size, blocks, atime, mtime, ctime, same) in zip(
            self.names(start, end), _ROW.iter_unpack(some), strict=True
        ):
            yield name, _attributes(shared[same], ino, size, blocks, atime, mtime, ctime)

    def names(self, start: int = 0, end: int | None = None) -> list[bytes]:
        """The names from position ``start`` up to ``end`` (exclusive), in byte order."""
        count, _, marks, _, names = self._places()
        end = count if end is None else min(end, count)
        if start >= end:
            return []
        first, last = start // CHUNK, -(-end // CHUNK)
        begin = self._mark(marks, names, first)
        until = self._mark(marks, names, last) if last * CHUNK < count else len(self.blob) - 1
        return self.blob[begin:until].rstrip(b"\0").split(b"\0")[start - first * CHUNK : end - first * CHUNK]

    @property
    def classes(self) -> bytes:
        """The packed classes. Rows of two listings are comparable if these are equal."""
        _, classes, marks, _, _ = self._places()
        return self.blob[classes:marks]

    def rows(self) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over (name, packed row), in byte order."""
        _, _, _, rows, names = self._places()
        packed, size = self.blob[rows:names], _ROW.size
        return zip(self.names(), (packed[at : at + size] for at in range(0, len(packed), size)), strict=True)

    def folders_after(self, name: bytes, most: int) -> list[bytes]:
        """Directories in ``most`` entries after ``name`` (b"": from the first); empty if there is no such name."""
        position = self._position(name, self._places()) if name else -1
        if position is None:
            return []
        return [name for name, attr in self.entries(position + 1, most) if attr.kind == DIR]

    def kinds(self) -> Iterator[tuple[bytes, Kind]]:
        """Iterate over (name, file type), in byte order."""
        _, classes, marks, rows, names = self._places()
        shared = [Kind(mode & 0o170000) for mode, *_ in _CLASS.iter_unpack(self.blob[classes:marks])]
        for name, row in zip(self.names(), _ROW.iter_unpack(self.blob[rows:names]), strict=True):
            yield name, shared[row[6]]

    def identities(self) -> Iterator[tuple[bytes, Kind, int, int, int]]:
        """Iterate over (name, type, device, inode number, ctime); the device is 0 if only the type is known."""
        _, classes, marks, rows, names = self._places()
        shared = [(Kind(mode & 0o170000), dev) for mode, *_, dev in _CLASS.iter_unpack(self.blob[classes:marks])]
        packed = _ROW.iter_unpack(self.blob[rows:names])
        for name, (ino, _, _, _, _, ctime, same) in zip(self.names(), packed, strict=True):
            yield name, *shared[same], ino, ctime - _ZERO

    def unknown(self) -> list[Listed]:
        """Entries of which only the type is known."""
        _, classes, marks, _, _ = self._places()
        if all(dev for *_, dev in _CLASS.iter_unpack(self.blob[classes:marks])):
            return []  # the usual case
        return [(name, attr) for name, attr in self.entries() if not attr.is_known]

    def directories(self) -> list[Listed]:
        """Entries that are directories, in byte order."""
        _, classes, marks, _, _ = self._places()
        if not any(mode & 0o170000 == DIR for mode, *_ in _CLASS.iter_unpack(self.blob[classes:marks])):
            return []  # the usual case
        return [(name, attr) for name, attr in self.entries() if attr.kind == DIR]

    def _places(self) -> Place:
        _, _, _, _, count, shared, _ = _HEAD.unpack_from(self.blob)
        marks = _HEAD.size + shared * _CLASS.size
        rows = marks + max(0, (count - 1) // CHUNK) * _MARK.size
        return count, _HEAD.size, marks, rows, rows + count * _ROW.size

    def _mark(self, marks: int, names: int, chunk: int) -> int:
        """Offset of the first name of a chunk."""
        return names + 1 + (_MARK.unpack_from(self.blob, marks + (chunk - 1) * _MARK.size)[0] if chunk else 0)

    def _position(self, name: bytes, places: Place) -> int | None:
        count, _, marks, _, names = places
        if not count or not name:
            return None
        if count <= CHUNK:  # the usual case
            at = self.blob.find(b"\0%b\0" % name, names)
            return None if at < 0 else self.blob.count(b"\0", names, at)
        low, high = 0, (count - 1) // CHUNK
        while low < high:
            middle = (low + high + 1) // 2
            begin = self._mark(marks, names, middle)
            if self.blob[begin : self.blob.index(b"\0", begin)] <= name:
                low = middle
            else:
                high = middle - 1
        begin = self._mark(marks, names, low) - 1
        end = self._mark(marks, names, low + 1) if (low + 1) * CHUNK < count else len(self.blob)
        at = self.blob.find(b"\0%b\0" % name, begin, end)
        return None if at < 0 else low * CHUNK + self.blob.count(b"\0", begin, at)


def _attributes(
    shared: tuple[int, ...], ino: int, size: int, blocks: int, atime: int, mtime: int, ctime: int
) -> Attributes:
    mode, nlink, uid, gid, high, rdev, dev = shared
    fields = (
        mode, nlink, uid, gid, rdev, size, blocks | high << 32, atime - _ZERO, mtime - _ZERO, ctime - _ZERO, dev, ino,
    )  # fmt: skip
    return tuple.__new__(Attributes, fields)  # the class's own way takes half as long again


EMPTY = Listing(pack((0, 0, 0, 0), False, ()), -1e9)
"""Stands for a directory that has not been listed."""
