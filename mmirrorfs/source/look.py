"""One look at a directory of a source: all its names with their attributes, as a ``Listing``.

Blocking: never called on the event loop; any thread or process may. Raises OSError; what fails tells nothing.
"""

import os
import time
from collections.abc import Iterator

from mmirrorfs.attributes import Attributes, bare
from mmirrorfs.listing import Listed, Listing, pack
from mmirrorfs.source.freshness import COARSE, NEVER
from mmirrorfs.source.lists import Asker, of_entries
from mmirrorfs.source.reader import CODEC, Reader, nothing_excluded


def look(reader: Reader, path: bytes, old: Listing | None = None, local: bool = False) -> Listing:
    """The directory as it is now. Its changes are reported from before that on, if they can be. The stamp is taken
    first, so that a change meanwhile is seen the next time.

    On a ``local`` filesystem, where the stamp of ``old`` stands, its names are not read anew: one stat each. The access
    lists of the entries that ``old`` has none of are asked for there, too.
    """
    now, wall = time.monotonic(), time.time_ns()
    reader.walls.see(now, wall)
    fd = reader.open_directory(path)
    try:
        key = reader.mark(fd)
        own = reader.shown(os.fstat(fd))
        if local and old is not None and old.stands(own.stamp):
            listing = _looked_at_again(reader, fd, path, old, now)
        else:
            listing = _looked_at(reader, fd, path, old, own, now, wall)
        listing.key = key if listing.settled or not reader.follow else b""  # what links lead to is not reported
        listing.lists = of_entries(listing, old, reader.walls, Asker(reader, path, fd, own.dev) if local else None)
        return listing
    finally:
        os.close(fd)


def _looked_at(
    reader: Reader, fd: int, path: bytes, old: Listing | None, own: Attributes, now: float, wall: int
) -> Listing:
    found = _entries(reader, fd)
    followed = reader.follow and any(map(os.DirEntry.is_symlink, found))
    is_seen_again = old is not None and old.stamp == own.stamp and old.fetched_at > NEVER  # or it was distrusted
    first_seen = old.fetched_at if old is not None and is_seen_again else now
    settled = not followed and (wall - max(own.mtime_ns, own.ctime_ns) > COARSE * 1e9 or now - first_seen > COARSE)
    return Listing(pack(own.stamp, settled, _asked(reader, path, found)), now)


def _looked_at_again(reader: Reader, fd: int, path: bytes, old: Listing, now: float) -> Listing:
    listed: list[Listed] = []
    for name, kind in old.kinds():
        found = reader.stat_at(fd, path, name)
        if not isinstance(found, FileNotFoundError):  # gone since the stamp was taken: the next look finds another one
            listed.append((name, found if isinstance(found, Attributes) else bare(kind)))
    blob = pack(old.stamp, len(listed) == len(old), listed)
    return Listing(old.blob if blob == old.blob else blob, now)


def _entries(reader: Reader, fd: int) -> "list[os.DirEntry[str]]":
    """What is shown of a directory, in the order of inode numbers, that of the disk, backwards."""
    with os.scandir(fd) as listing:
        found = sorted(listing, key=lambda entry: entry.inode(), reverse=True)  # by which others have turns
    if reader.excluded is nothing_excluded:
        return found
    return [entry for entry in found if not reader.excluded(_name(entry))]


def _asked(reader: Reader, path: bytes, found: "list[os.DirEntry[str]]") -> Iterator[Listed]:
    """Each with its attributes, from the last to the first. Takes them away: each holds all that stat(2) told of it."""
    attributes_of, pop, codec = reader.attributes_of, found.pop, CODEC
    while found:
        entry = pop()
        name = entry.name.encode(codec, "surrogateescape")  # _name, without the call
        attr = attributes_of(path, name, entry)
        if attr is not None:
            yield name, attr


def _name(entry: "os.DirEntry[str]") -> bytes:
    return entry.name.encode(CODEC, "surrogateescape")  # os.fsencode, without its checks
