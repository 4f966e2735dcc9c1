"""Listing one directory of a source: all its names with their attributes, as a ``Listing``.

Blocking: never on the event loop; any other thread or process. Raises OSError; a failed call proves nothing.
"""

import os
import time
from collections.abc import Iterator

from mmirrorfs.attributes import Attributes, bare
from mmirrorfs.listing import Listed, Listing, pack
from mmirrorfs.source.acl import AccessListReader, of_entries
from mmirrorfs.source.exclude import nothing_excluded
from mmirrorfs.source.freshness import COARSE, NEVER
from mmirrorfs.source.reader import CODEC, Reader


def list_directory(reader: Reader, path: bytes, old: Listing | None = None, local: bool = False) -> Listing:
    """The directory as it is now. It is watched before it is read, if it can be; its stamp is read first, so that a
    change during the call shows in the next one.

    On a ``local`` filesystem, if the stamp of ``old`` is still valid, its names are not read again: one stat each. The
    access lists that ``old`` does not have are read there, too.
    """
    now, wall = time.monotonic(), time.time_ns()
    reader.wall_clock.update(now, wall)
    fd = reader.open_directory(path)
    try:
        key = reader.mark(fd)
        own = reader.shown(os.fstat(fd))
        if local and old is not None and old.stands(own.stamp):
            listing = _restat(reader, fd, path, old, now)
        else:
            listing = _read(reader, fd, path, old, own, now, wall)
        listing.key = key if listing.settled or not reader.follow else b""  # link targets cause no events here
        read_lists = AccessListReader(reader, path, fd, own.dev) if local else None
        listing.lists = of_entries(listing, old, reader.wall_clock, read_lists)
        return listing
    finally:
        os.close(fd)


def _read(reader: Reader, fd: int, path: bytes, old: Listing | None, own: Attributes, now: float, wall: int) -> Listing:
    """Read names and attributes."""
    found = _entries(reader, fd)
    followed = reader.follow and any(map(os.DirEntry.is_symlink, found))
    is_seen_again = old is not None and old.stamp == own.stamp and old.fetched_at > NEVER  # NEVER: it was distrusted
    first_seen = old.fetched_at if old is not None and is_seen_again else now
    settled = not followed and (wall - max(own.mtime_ns, own.ctime_ns) > COARSE * 1e9 or now - first_seen > COARSE)
    return Listing(pack(own.stamp, settled, _stat_all(reader, path, found)), now)


def _restat(reader: Reader, fd: int, path: bytes, old: Listing, now: float) -> Listing:
    """Read the attributes of the names that are known."""
    listed: list[Listed] = []
    for name, kind in old.kinds():
        found = reader.stat_at(fd, path, name)
        if not isinstance(found, FileNotFoundError):  # removed after the stamp was read: the next call reads all names
            listed.append((name, found if isinstance(found, Attributes) else bare(kind)))
    blob = pack(old.stamp, len(listed) == len(old), listed)
    return Listing(old.blob if blob == old.blob else blob, now)


def _entries(reader: Reader, fd: int) -> "list[os.DirEntry[str]]":
    """The entries that are not excluded, in descending order of inode numbers: ``_stat_all`` begins with the last."""
    with os.scandir(fd) as listing:
        found = sorted(listing, key=lambda entry: entry.inode(), reverse=True)  # a key in Python lets others run
    if reader.excluded is nothing_excluded:
        return found
    return [entry for entry in found if not reader.excluded(_name(entry))]


def _stat_all(reader: Reader, path: bytes, found: "list[os.DirEntry[str]]") -> Iterator[Listed]:
    """Each with its attributes, from the last to the first. Empties the list: each entry holds a stat result."""
    attributes_of, pop, codec = reader.attributes_of, found.pop, CODEC
    while found:
        entry = pop()
        name = entry.name.encode(codec, "surrogateescape")  # _name, without the call
        attr = attributes_of(path, name, entry)
        if attr is not None:
            yield name, attr


def _name(entry: "os.DirEntry[str]") -> bytes:
    return entry.name.encode(CODEC, "surrogateescape")  # os.fsencode, without its checks
