"""The values that all layers speak in.

Owns: names of things, nothing else. Knows no I/O, no clock, no FUSE. Everything here is immutable after it was
made, so any thread may read it, and two trees may share what did not change: ``is`` means "nothing moved".
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, NewType

from mmirrorfs.attributes import DIR, Attributes, Kind, bare
from mmirrorfs.listing import EMPTY, Listing

Rank = NewType("Rank", int)
"""A source's place in the order given on the command line: 0 is the highest."""


class Evidence(NamedTuple):
    """Whether a folder holds a file, as a search that began at ``fetched_at``, in monotonic seconds, has found.

    ``file`` is None where it is empty; else the path in it of a file, where that has to be looked for again. ``keys``
    are what the directories that were searched are called where changes are reported; one that is empty stands for
    those whose changes are not.
    """

    file: bytes | None
    keys: tuple[bytes, ...]
    fetched_at: float


@dataclass(frozen=True, slots=True)
class Leaf:
    """An entry that the index does not look into: a folder at the depth, or anything that is no directory.

    ``source`` is the rank of the source that it comes from and ``name`` its name there when the view shows it
    under another spelling. Leaves with neither name nor evidence are shared: a library has a handful of them.
    ``evidence`` is there of folders, where it matters whether they hold a file; what is shown is the same by it.
    """

    source: Rank
    kind: Kind
    name: bytes | None = None
    evidence: Evidence | None = field(default=None, compare=False)

    @property
    def is_empty(self) -> bool:
        """Whether it is a folder that is known to hold no file."""
        return self.evidence is not None and self.evidence.file is None


@dataclass(slots=True, eq=False)
class Directory:
    """A directory of one source above the depth, as it was seen by a scan. Never changed once made.

    ``only_folders`` says that there is nothing in it but folders, none of which is known to be empty.
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
    sources, by rank, when they are spelled differently. ``min_mtime_ns`` is the least mtime to show (0: none),
    ``min_mtimes`` the same for the folders in it whose winner changed, in nanoseconds since the epoch.
    """

    inputs: tuple[Directory | None, ...]
    children: Mapping[bytes, "Merged | Leaf"]
    names: tuple[bytes | None, ...] | None = None
    min_mtime_ns: int = 0
    min_mtimes: Mapping[bytes, int] | None = None


Names = Mapping[bytes, Collection[bytes]]
"""Of directories, by path, the names in them that are to be looked at: all others are what they were. Of a directory
that is not in it nothing is known, so all of its names are.
"""
Entry = Directory | Leaf
Child = Merged | Leaf
Trees = tuple[Directory | None, ...]
"""One scanned root a source, by rank; None for a source that counts as empty."""


def evidence_of(entry: Entry | None) -> Evidence | None:
    """Whether what a source has under a name is known to hold a file, and how that is known; None of most."""
    return entry.evidence if isinstance(entry, Leaf) else None
