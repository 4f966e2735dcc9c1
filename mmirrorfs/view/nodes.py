"""What the view hands out: a node for each name that somebody asked about.

A ``MergedNode`` is a place in the index, looked up anew when the index was swapped. A ``FileNode`` is a path in
one source: it stays what it is when the index moves on, so that what is open goes on. What is known of it stands in
``source.known``, and nowhere else. Made and changed on the event loop's thread only.
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
"""What a source gave of a file, and when: in nanoseconds since the epoch."""


class Node:
    """What both kinds have: an inode number, how often the kernel was told of it, and a path in the view."""

    __slots__ = ("ino", "nlookup", "path")

    ino: int
    nlookup: int
    path: bytes


class MergedNode(Node):
    """A directory above the depth. ``paths`` are its paths in the sources, by rank, where they differ."""

    __slots__ = ("attr", "generation", "merged", "paths")

    def __init__(
        self, ino: int, path: bytes, paths: tuple[bytes, ...] | None, merged: Merged, generation: int, attr: Attributes
    ) -> None:
        self.ino, self.nlookup, self.path, self.paths = ino, 0, path, paths
        self.merged, self.generation, self.attr = merged, generation, attr

    def path_in(self, rank: Rank) -> bytes:
        """Where this directory is in that source, if it is there."""
        return self.paths[rank] if self.paths is not None else self.path


class FileNode(Node):
    """A folder at the depth, a loose file above it, or anything below: ``source_path`` is its path in ``source``.

    ``touched_ns`` is the least mtime to show (0: none), ``kernel_attr`` what the kernel's pages of it are as new as:
    set where a reply is written. ``opened`` is the number of descriptors that are open on it, ``content`` (dev, ino)
    of these, and ``held`` what was last known of them, whatever has the path by now. ``indexed`` says that it is in
    the index itself. ``numbers`` are the inode numbers of what is in a directory, with the listing that they are of.
    """

    __slots__ = (
        "content",
        "held",
        "indexed",
        "kernel_attr",
        "kind",
        "numbers",
        "opened",
        "source",
        "source_path",
        "touched_ns",
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
        self.indexed, self.touched_ns = indexed, 0
        self.kernel_attr: Validator | None = None
        self.held: Answer | None = None
        self.numbers: tuple[bytes, array[int]] | None = None
        self.opened = 0
        self.content = (0, 0)

    @property
    def above(self) -> bytes:
        """The path in the source of the directory that it is in."""
        return self.source_path.rpartition(b"/")[0]

    @property
    def name(self) -> bytes:
        """Its name in the source."""
        return self.source_path.rpartition(b"/")[2]

    def shown(self, attr: Attributes) -> Attributes:
        """What the view shows of these."""
        if self.touched_ns <= attr.mtime_ns or not self.touched_ns:
            return attr
        return attr._replace(mtime_ns=self.touched_ns, ctime_ns=max(attr.ctime_ns, self.touched_ns))


def is_same(old: Validator | None, attr: Attributes) -> bool:
    """Whether the contents are surely those that were told of.

    On a coarse clock another edit may leave the time as it is, for a while.
    """
    if old is None:
        return False
    last, when = old
    if contents(last) != contents(attr):
        return False
    return not is_coarse(attr) or abs(when - attr.ctime_ns) > COARSE * 1e9


def is_coarse(attr: Attributes) -> bool:
    """Whether the time of the last change may come from a coarse clock: it is in whole milliseconds."""
    return attr.ctime_ns % 1_000_000 == 0


def contents(attr: Attributes) -> tuple[int, int, int, int, int]:
    """(dev, ino, size, mtime, ctime): contents with different ones are different."""
    return (attr.dev, attr.ino, attr.size, attr.mtime_ns, attr.ctime_ns)


def is_replaced(node: FileNode, attr: Attributes) -> bool:
    """Whether the file that is open under that node is another than the one that has its path now."""
    return node.opened > 0 and node.content != (attr.dev, attr.ino)


def merged_attributes(merged: Merged, order: tuple[Rank, ...], last: Attributes) -> Attributes:
    """Of the first source in the view's order that has it, with the newest times over all, and nlink 1.

    1 means "not counted": find(1) leaves directories out when a number above it is wrong. ``last`` is what the
    directory had before: it stays where no source has it any more, as the root may be when all sources are lost.
    """
    mtime, ctime = times(merged)
    first = first_input(merged, order)
    return (first.attr if first is not None else last)._replace(nlink=1, mtime_ns=mtime, ctime_ns=ctime)


def first_input(merged: Merged, order: tuple[Rank, ...]) -> Directory | None:
    """The directory of the first source in the view's order that has it."""
    return next((d for d in (merged.inputs[rank] for rank in order) if d is not None), None)
