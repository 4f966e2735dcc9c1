"""The trees that a scan produces, and the index that they are merged into.

No I/O, no clock, no FUSE. All values are immutable, so any thread may read them, and a new tree shares its unchanged
parts with the old one: ``is`` means "nothing changed".
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, NewType

from mmirrorfs.attributes import DIR, Attributes, Kind, bare
from mmirrorfs.listing import EMPTY, Listing

Rank = NewType("Rank", int)
"""A source's position on the command line: 0 is the highest."""


class Evidence(NamedTuple):
    """The result of a search for a file in a folder, begun at ``fetched_at``, in monotonic seconds.

    ``file`` is None if the folder is empty, else the path of the file in it, if it has to be checked again. ``keys``
    are the event keys of the directories that were searched; an empty key stands for those that are not watched.
    """

    file: bytes | None
    keys: tuple[bytes, ...]
    fetched_at: float


@dataclass(frozen=True, slots=True)
class Leaf:
    """An entry that the index does not descend into: a folder at the depth, or any non-directory.

    ``source`` is the rank of its source and ``name`` its name there, if the view shows it under another spelling.
    Leaves with neither name nor evidence are shared: a library has a handful of them. ``evidence`` is that of a folder
    under ``--skip-empty``; it does not change what is shown.
    """

    source: Rank
    kind: Kind
    name: bytes | None = None
    evidence: Evidence | None = field(default=None, compare=False)

    @property
    def is_empty(self) -> bool:
        """Whether it is a folder known to hold no file."""
        return self.evidence is not None and self.evidence.file is None


@dataclass(slots=True, eq=False)
class Directory:
    """A directory of one source above the depth, as scanned. Immutable.

    ``only_folders`` means that all entries are folders, and none is known to be empty. ``settled`` is false while a
    later change could still leave the same stamp (see ``source.scan``), ``since`` is the monotonic time, in seconds, at
    which this stamp was first seen. ``errno`` is the reason why it could not be listed, or 0. ``listing`` has the
    attributes of its leaves, and ``bare`` ones of its subdirectories, which are scanned themselves. ``links`` are the
    names of symbolic links that were left out.
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
"""The tree of a source that was never scanned."""


@dataclass(slots=True, eq=False)
class Merged:
    """A directory of a view above the depth: the union of the paired directories. Immutable.

    ``inputs`` are the sources' directories by rank, None if a source has none. ``names`` are its names in the sources,
    by rank, if they are spelled differently. ``min_mtime_ns`` is a lower bound of the mtime to show (0: none), in
    nanoseconds since the epoch; ``min_mtimes`` the same for its folders whose winner changed.
    """

    inputs: tuple[Directory | None, ...]
    children: Mapping[bytes, "Merged | Leaf"]
    names: tuple[bytes | None, ...] | None = None
    min_mtime_ns: int = 0
    min_mtimes: Mapping[bytes, int] | None = None


Names = Mapping[bytes, Collection[bytes]]
"""The names that may have changed, by the path of their directory. In a directory that is missing, all of them may."""
Entry = Directory | Leaf
Child = Merged | Leaf
Trees = tuple[Directory | None, ...]
"""The scanned root of each source, by rank; None for a source that counts as empty."""


def join(above: bytes, name: bytes) -> bytes:
    """The path of a name in a directory; the root is b""."""
    return above + b"/" + name if above else name


def evidence_of(entry: Entry | None) -> Evidence | None:
    """The evidence of an entry; most have none."""
    return entry.evidence if isinstance(entry, Leaf) else None
