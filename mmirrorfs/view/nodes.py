"""The nodes of a view, and when two sets of attributes mean the same contents.

- A ``MergedNode`` is a path in the index, and resolved again after the index was replaced.
- A ``FileNode`` is a path in one source. It outlives the index, so that what is open stays usable. Its cached metadata
  is in ``source.known`` only.

Created and changed on the event loop's thread only.
"""

from array import array

from mmirrorfs.attributes import Attributes, Kind
from mmirrorfs.merge.index import times
from mmirrorfs.merge.inodes import number
from mmirrorfs.source.freshness import COARSE
from mmirrorfs.source.singles import Answer
from mmirrorfs.source.source import Source
from mmirrorfs.tree import Directory, Merged, Rank

Validator = tuple[Attributes, int]
"""Attributes from a source, and when they were fetched, in nanoseconds since the epoch."""


class Node:
    """An inode number, its lookup count in the kernel, and a path in the view."""

    __slots__ = ("ino", "nlookup", "path")

    ino: int
    nlookup: int
    path: bytes


class MergedNode(Node):
    """A directory above the depth. ``paths`` are its paths in the sources, by rank, if they differ."""

    __slots__ = ("attr", "generation", "merged", "paths")

    def __init__(
        self, ino: int, path: bytes, paths: tuple[bytes, ...] | None, merged: Merged, generation: int, attr: Attributes
    ) -> None:
        self.ino, self.nlookup, self.path, self.paths = ino, 0, path, paths
        self.merged, self.generation, self.attr = merged, generation, attr

    def path_in(self, rank: Rank) -> bytes:
        """The path in a source."""
        return self.paths[rank] if self.paths is not None else self.path


class FileNode(Node):
    """A folder at the depth, a loose file above it, or anything below: ``source_path`` is its path in ``source``.

    ``min_mtime_ns`` is a lower bound of the mtime to show (0: none). ``kernel_attr`` are the attributes to which the
    kernel's cached pages belong, set when a reply is written. ``opened`` is the number of open descriptors, ``content``
    their (dev, ino), and ``held`` their last known attributes, which may not be those of the path any more. ``indexed``
    means in the index itself. ``numbers`` caches the inode numbers of a directory's entries, with its listing's blob.
    """

    __slots__ = (
        "content",
        "held",
        "indexed",
        "kernel_attr",
        "kind",
        "min_mtime_ns",
        "numbers",
        "opened",
        "source",
        "source_path",
    )

    def __init__(
        self,
        source: Source,
        source_path: bytes,
        path: bytes,
        kind: Kind,
        indexed: bool,
        salt: bytes = b"",
        ino: int = 0,
    ) -> None:
        self.ino = ino or number(source.root + salt, source_path, kind)
        self.nlookup, self.path, self.source, self.source_path, self.kind = 0, path, source, source_path, kind
        self.indexed, self.min_mtime_ns = indexed, 0
        self.kernel_attr: Validator | None = None
        self.held: Answer | None = None
        self.numbers: tuple[bytes, array[int]] | None = None
        self.opened = 0
        self.content = (0, 0)

    @property
    def above(self) -> bytes:
        """The path of the parent in the source."""
        return self.source_path.rpartition(b"/")[0]

    @property
    def name(self) -> bytes:
        """The name in the source."""
        return self.source_path.rpartition(b"/")[2]

    def shown(self, attr: Attributes) -> Attributes:
        """The attributes to show."""
        if self.min_mtime_ns <= attr.mtime_ns or not self.min_mtime_ns:
            return attr
        return attr._replace(mtime_ns=self.min_mtime_ns, ctime_ns=max(attr.ctime_ns, self.min_mtime_ns))


def is_same(old: Validator | None, attr: Attributes) -> bool:
    """Whether the contents are certainly the same. Within one tick of a coarse clock an edit does not move ctime."""
    if old is None:
        return False
    last, when = old
    if contents(last) != contents(attr):
        return False
    return not is_coarse(attr) or abs(when - attr.ctime_ns) > COARSE * 1e9


def is_coarse(attr: Attributes) -> bool:
    """Whether ctime may come from a coarse clock: it is in whole milliseconds."""
    return attr.ctime_ns % 1_000_000 == 0


def contents(attr: Attributes) -> tuple[int, int, int, int, int]:
    """(dev, ino, size, mtime, ctime): if these differ, the contents do."""
    return (attr.dev, attr.ino, attr.size, attr.mtime_ns, attr.ctime_ns)


def is_replaced(node: FileNode, attr: Attributes) -> bool:
    """Whether the open file of that node is not the one with these attributes, which has its path now."""
    return node.opened > 0 and node.content != (attr.dev, attr.ino)


def merged_attributes(merged: Merged, order: tuple[Rank, ...], last: Attributes) -> Attributes:
    """Those of the first source in the view's order that has it, with the newest times of all sources, and nlink 1.

    nlink 1 means "not counted": find(1) skips directories if a larger value is wrong. ``last`` are the attributes to
    keep if no source has it any more, as is the case for the root when all sources are lost.
    """
    mtime, ctime = times(merged)
    first = first_input(merged, order)
    return (first.attr if first is not None else last)._replace(nlink=1, mtime_ns=mtime, ctime_ns=ctime)


def first_input(merged: Merged, order: tuple[Rank, ...]) -> Directory | None:
    """The directory of the first source in the view's order that has it."""
    return next((d for d in (merged.inputs[rank] for rank in order) if d is not None), None)
