"""The attributes of a file, as stat(2) returns them. No I/O, no clock, no FUSE."""

import stat as _stat
from typing import NamedTuple, NewType

Kind = NewType("Kind", int)
"""A file type as ``stat.S_IFMT`` gives it: S_IFDIR, S_IFREG, S_IFLNK, S_IFIFO, S_IFSOCK, S_IFCHR or S_IFBLK."""

DIR = Kind(_stat.S_IFDIR)
FILE = Kind(_stat.S_IFREG)
LINK = Kind(_stat.S_IFLNK)


class Attributes(NamedTuple):
    """The attributes of one file; dev and ino are the source's own, never those of a view.

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
        return self[0] & 0o170000  # type: ignore[return-value]  # called for every entry: no function calls

    @property
    def stamp(self) -> tuple[int, int, int, int]:
        """(dev, ino, mtime, ctime): while it is equal, the names of a directory did not change."""
        return (self.dev, self.ino, self.mtime_ns, self.ctime_ns)

    @property
    def is_known(self) -> bool:
        """False for ``bare`` attributes: no filesystem has device number 0."""
        return self[10] != 0

    @property
    def may_change_elsewhere(self) -> bool:
        """Whether it may change through another, unwatched name: a file with several hard links."""
        return self[1] > 1 and self[0] & 0o170000 != DIR


def bare(kind: int) -> Attributes:
    """Attributes with only the type known: for listing a name, never to be shown."""
    return Attributes(kind & 0o170000, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
