"""One look at a directory of a source: all its names with their attributes, as a ``Listing``.

Blocking: never called on the event loop; any thread or process may. Raises OSError; what fails tells nothing.
"""

import os
import stat
import time

from mmirrorfs.attributes import Attributes, bare
from mmirrorfs.listing import Listed, Listing, pack
from mmirrorfs.source.reader import CODEC, Reader, nothing_excluded

COARSE = 2.5
"""Seconds: a bit more than the coarsest clock among the filesystems (FAT, 2 s)."""


def look(reader: Reader, path: bytes, old: Listing | None = None) -> Listing:
    """The directory as it is now. Where the stamp of ``old`` stands, its names are not read anew: one stat each.

    The stamp is taken first, so that a change meanwhile is seen the next time.
    """
    now, wall = time.monotonic(), time.time_ns()
    fd = reader.open_directory(path)
    try:
        own = reader.shown(os.fstat(fd))
        if old is not None and old.stands(own.stamp):
            return _looked_at_again(reader, fd, path, old, now)
        listed, followed = _listed(reader, fd, path)
    finally:
        os.close(fd)
    first_seen = old.taken if old is not None and old.stamp == own.stamp else now
    settled = not followed and (wall - max(own.mtime_ns, own.ctime_ns) > COARSE * 1e9 or now - first_seen > COARSE)
    return Listing(pack(own.stamp, settled, listed), now)


def _looked_at_again(reader: Reader, fd: int, path: bytes, old: Listing, now: float) -> Listing:
    listed: list[Listed] = []
    for name in old.names():
        found = reader.stat_at(fd, path, name)
        if isinstance(found, FileNotFoundError):
            continue  # gone since the stamp was taken: the next look finds another stamp
        listed.append((name, found if isinstance(found, Attributes) else old.get(name) or bare(stat.S_IFREG)))
    blob = pack(old.stamp, len(listed) == len(old), listed)
    return Listing(old.blob if blob == old.blob else blob, now)


def _listed(reader: Reader, fd: int, path: bytes) -> tuple[list[Listed], bool]:
    """The names, asked in the order of inode numbers, that of the disk; and whether one of them is a followed link."""
    excluded = None if reader.excluded is nothing_excluded else reader.excluded
    with os.scandir(fd) as listing:
        found = sorted(listing, key=os.DirEntry.inode)
        listed: list[Listed] = []
        followed = False
        for entry in found:
            name = entry.name.encode(CODEC, "surrogateescape")  # os.fsencode, without its checks
            if excluded is not None and excluded(name):
                continue
            attr = reader.attributes_of(path, name, entry)
            if attr is not None:
                listed.append((name, attr))
                followed = followed or (reader.follow and entry.is_symlink())
    return listed, followed
