"""The values that all layers speak in.

Owns: names of things, nothing else. Knows no I/O, no clock, no FUSE. Everything here is immutable after it was
made, so any thread may read it, and two trees may share what did not change: ``is`` means "nothing moved".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NewType

from mmirrorfs.attributes import DIR, Attributes, Kind, bare
from mmirrorfs.listing import EMPTY, Listing

Rank = NewType("Rank", int)
"""A source's place in the order given on the command line: 0 is the highest."""


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
    it could not be listed, or 0. ``listing`` has what the source gave of its leaves, ``bare`` attributes of the
    directories in it that are scanned themselves. ``links`` are the names of the links that were left out.
    """

    attr: Attributes
    entries: Mapping[bytes, "Directory | Leaf"]
    only_folders: bool = False
    settled: bool = True
    since: float = 0.0
    errno: int = 0
    listing: Listing = EMPTY
    links: tuple[bytes, ...] = ()


EMPTY_DIRECTORY = Directory(bare(DIR), {})
"""Of a source that nothing is known of."""


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
