"""The values that all layers speak in.

Owns: names of things, nothing else. Knows no I/O, no clock, no FUSE. Everything here is immutable after it was
made, so any thread may read it, and two trees may share what did not change: ``is`` means "nothing moved".
"""

import stat as _stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, NewType

Rank = NewType("Rank", int)
"""A source's place in the order given on the command line: 0 is the highest."""

Kind = NewType("Kind", int)
"""A file type as ``stat.S_IFMT`` gives it: S_IFDIR, S_IFREG, S_IFLNK, S_IFIFO, S_IFSOCK, S_IFCHR or S_IFBLK."""

DIR = Kind(_stat.S_IFDIR)
FILE = Kind(_stat.S_IFREG)
LINK = Kind(_stat.S_IFLNK)


class Attributes(NamedTuple):
    """What stat(2) tells of one file, in the source's own numbers (dev and ino name it there, never in a view).

    Times are integer nanoseconds since the epoch, ``size`` is in bytes, ``blocks`` in units of 512 bytes.
    """

    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    size: int
    blocks: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    dev: int
    ino: int

    @property
    def kind(self) -> Kind:
        """The file type, without the permission bits."""
        return self[0] & 0o170000  # type: ignore[return-value]  # asked for every entry: no calls

    @property
    def stamp(self) -> tuple[int, int, int, int]:
        """(dev, ino, mtime, ctime): two equal stamps of a directory mean that its names did not change."""
        return (self.dev, self.ino, self.mtime_ns, self.ctime_ns)

    @property
    def is_known(self) -> bool:
        """Whether a source gave these: of ``bare`` ones only the type is known. No filesystem has device number 0."""
        return self[10] != 0


def bare(kind: int) -> Attributes:
    """Attributes of which nothing but the type is known: to list a name by, never to be shown."""
    return Attributes(kind & 0o170000, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


_PACKED = struct.Struct("<IIIIQQQqqqQQ")


def packed(attr: Attributes) -> bytes:
    """The same in 84 bytes."""
    return _PACKED.pack(*attr)


def unpacked(blob: bytes) -> Attributes:
    """What was packed."""
    return Attributes(*_PACKED.unpack(blob))


@dataclass(frozen=True, slots=True)
class Leaf:
    """An entry that the index does not look into: a folder at the depth, or anything that is no directory.

    ``source`` is the rank of the source that it comes from and ``name`` its name there when the view shows it
    under another spelling. Leaves without a name are shared: a library has a handful of them.
    """

    source: Rank
    kind: Kind
    name: bytes | None = None


@dataclass(slots=True, eq=False)
class Directory:
    """A directory of one source above the depth, as it was seen by a scan. Never changed once made.

    ``settled`` is false while a later change could still carry the same stamp (see ``source.scan``), and
    ``since`` is the monotonic time, in seconds, at which this stamp was first seen. ``errno`` is the reason why
    it could not be listed, or 0. ``known`` holds the last attributes that the source gave of its leaves, packed: taken
    by the scan at ``taken``, in monotonic seconds, and amended by what is proved later (on the event loop's thread
    only, the one thing here that changes). ``links`` are the names of the links that were left out.
    """

    attr: Attributes
    entries: Mapping[bytes, "Directory | Leaf"]
    only_folders: bool = False
    settled: bool = True
    since: float = 0.0
    errno: int = 0
    known: dict[bytes, bytes] = field(default_factory=dict)
    links: tuple[bytes, ...] = ()
    taken: float = 0.0


@dataclass(slots=True, eq=False)
class Merged:
    """A directory of a view above the depth: the union of the directories of that name. Never changed once made.

    ``inputs`` are the sources' directories by rank, None where a source has none. ``names`` are its names in the
    sources, by rank, when they are spelled differently. ``moved_ns`` is the least mtime to show (0: none), ``touched``
    the same for the folders in it whose winner changed, in nanoseconds since the epoch.
    """

    inputs: tuple[Directory | None, ...]
    children: Mapping[bytes, "Merged | Leaf"]
    names: tuple[bytes | None, ...] | None = None
    moved_ns: int = 0
    touched: Mapping[bytes, int] | None = None


Entry = Directory | Leaf
Child = Merged | Leaf
Trees = tuple[Directory | None, ...]
"""One scanned root a source, by rank; None for a source that counts as empty."""
