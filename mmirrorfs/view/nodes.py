"""What the view hands out: a node for each name that somebody asked about.

A ``MergedNode`` is a place in the index, looked up anew when the index was swapped. A ``FileNode`` is a path in
one source: it stays what it is when the index moves on, so that what is open goes on. Made and changed on the
event loop's thread only.
"""

from mmirrorfs.merge.index import times
from mmirrorfs.merge.inodes import number
from mmirrorfs.source.scan import COARSE
from mmirrorfs.source.source import Source
from mmirrorfs.tree import DIR, Attributes, Directory, Kind, Merged, Rank

Told = tuple[Attributes, int]
"""What the kernel was told of a file, and when: in nanoseconds since the epoch."""


class Node:
    """What both kinds have. ``path`` is in the view; ``seen`` is when ``attr`` was true, in loop seconds.

    ``reply`` belongs to the layer above: what it made of ``attr``, kept until that changes.
    """

    __slots__ = ("attr", "ino", "nlookup", "path", "reply", "seen")

    ino: int
    nlookup: int
    path: bytes
    attr: Attributes
    seen: float
    reply: object | None


class MergedNode(Node):
    """A directory above the depth. ``paths`` are its paths in the sources, by rank, where they differ."""

    __slots__ = ("generation", "merged", "paths")

    def __init__(self, ino: int, path: bytes, paths: tuple[bytes, ...] | None, merged: Merged, generation: int) -> None:
        self.ino, self.nlookup, self.path, self.paths = ino, 0, path, paths
        self.seen, self.reply = 0.0, None
        self.merged, self.generation = merged, generation

    def path_in(self, rank: Rank) -> bytes:
        """Where this directory is in that source, if it is there."""
        return self.paths[rank] if self.paths is not None else self.path


class FileNode(Node):
    """A folder at the depth, a loose file above it, or anything below: ``inner`` is its path in ``source``.

    ``touched_ns`` is the least mtime to show (0: none), ``told`` what the kernel was last told of its contents, and
    ``opened`` the number of descriptors that are open on it. ``indexed`` says that it is in the index itself.
    """

    __slots__ = ("indexed", "inner", "kind", "opened", "source", "told", "touched_ns")

    def __init__(
        self, source: Source, inner: bytes, path: bytes, kind: Kind, indexed: bool, salt: bytes = b"", ino: int = 0
    ) -> None:
        self.ino = ino or number(source.space + salt, inner, kind)
        self.nlookup, self.path, self.source, self.inner, self.kind = 0, path, source, inner, kind
        self.seen, self.reply, self.indexed = -1e9, None, indexed
        self.touched_ns = 0
        self.told: Told | None = None
        self.opened = 0


def is_same(old: Told | None, attr: Attributes) -> bool:
    """Whether the contents are surely those that were told of.

    A time in whole milliseconds comes from a coarse clock: for a while another edit may leave it as it is.
    """
    if old is None:
        return False
    last, when = old
    if contents(last) != contents(attr):
        return False
    return attr.ctime_ns % 1_000_000 != 0 or abs(when - attr.ctime_ns) > COARSE * 1e9


def contents(attr: Attributes) -> tuple[int, int, int, int, int]:
    """(dev, ino, size, mtime, ctime): contents with different ones are different."""
    return (attr.dev, attr.ino, attr.size, attr.mtime_ns, attr.ctime_ns)


def merged_attributes(merged: Merged, order: tuple[Rank, ...]) -> Attributes:
    """Of the first source in the view's order that has it, with the newest times over all, and nlink 1.

    1 means "not counted": find(1) leaves directories out when a number above it is wrong.
    """
    mtime, ctime = times(merged)
    first = first_input(merged, order)
    if first is None:
        return Attributes(DIR | 0o555, 1, 0, 0, 0, 0, 0, mtime, mtime, ctime, 0, 0)
    return first.attr._replace(nlink=1, mtime_ns=mtime, ctime_ns=ctime)


def first_input(merged: Merged, order: tuple[Rank, ...]) -> Directory | None:
    """The directory of the first source in the view's order that has it."""
    return next((d for d in (merged.inputs[rank] for rank in order) if d is not None), None)
