"""Walks of the trees that scans give, and the directories in a listing. Pure; any thread may call them."""

from collections.abc import Iterable, Iterator, Mapping

from mmirrorfs.listing import Listed, Listing
from mmirrorfs.tree import Directory


def join(above: bytes, name: bytes) -> bytes:
    """The path of a name in a directory."""
    return above + b"/" + name if above else name


def directories_of(tree: Directory) -> Iterator[tuple[bytes, Directory]]:
    """All directories above the depth, by path."""
    waiting = [(b"", tree)]
    for path, directory in waiting:
        yield path, directory
        for name, entry in directory.entries.items():
            if isinstance(entry, Directory):
                waiting.append((join(path, name), entry))


def directory_at(tree: Directory, path: bytes) -> Directory | None:
    """The directory above the depth that is at a path."""
    found: Directory | None = tree
    for name in path.split(b"/") if path else ():
        entry = found.entries.get(name) if found is not None else None
        found = entry if isinstance(entry, Directory) else None
    return found


def differing(before: Directory, after: Directory) -> Iterator[tuple[bytes, Directory | None, Directory | None]]:
    """The directories above the depth that are not the same values in both trees."""
    waiting: list[tuple[bytes, Directory | None, Directory | None]] = [(b"", before, after)]
    for path, old, new in waiting:
        if old is new:
            continue
        yield path, old, new
        below = [directory.entries if directory is not None else {} for directory in (old, new)]
        for name in below[0].keys() | below[1].keys():
            pair = [entries.get(name) for entries in below]
            own = [entry if isinstance(entry, Directory) else None for entry in pair]
            if own != [None, None]:
                waiting.append((join(path, name), own[0], own[1]))


Inode = tuple[int, int, int]
"""(dev, ino, mtime in nanoseconds) of a directory."""
NONE: Inode = (0, 0, 0)


def inodes_in(path: bytes, listing: Listing) -> Iterator[tuple[bytes, Inode]]:
    """The directories in one below the depth."""
    for name, attr in listing.directories():
        if attr.is_known:
            yield join(path, name), (attr.dev, attr.ino, attr.mtime_ns)


def untold(path: bytes, listing: Listing, before: dict[bytes, Inode]) -> dict[bytes, Inode]:
    """The directories in one of which a look could only tell that they are there: the same ones, for all we know."""
    inner = (join(path, name) for name, _ in listing.unknown())
    return {one: before[one] for one in inner if one in before}


def departures(
    gone: dict[bytes, Inode], come: dict[bytes, Inode], stable: bool, known: Mapping[bytes, Listing]
) -> dict[bytes, bytes | None]:
    """Of the directories that are not at their paths any more, where they are now; None where that is not known.

    With the same mtime, which a rename leaves: the number may be another's by now. Where numbers are not ``stable``, a
    directory is what has its path. Where another one is ``known`` already at the path of one, that is no news.
    """
    if not stable:
        return {path: None for path in gone if path not in come}
    new = {inode: path for path, inode in come.items() if gone.get(path, NONE)[:2] != inode[:2]}
    left = {path: inode for path, inode in gone.items() if come.get(path, NONE)[:2] != inode[:2]}
    return {path: new.get(inode) for path, inode in left.items() if path not in known or _is_of(known[path], inode)}


def others(
    path: bytes, found: Iterable[Listed], known: Mapping[bytes, Listing]
) -> Iterator[tuple[bytes, bytes, Listing]]:
    """The directories found in one, as path, name and what is ``known`` there, where that is of another directory."""
    for name, attr in found:
        listing = known.get(join(path, name))
        if listing is not None and attr.is_known and not _is_of(listing, (attr.dev, attr.ino, attr.mtime_ns)):
            yield join(path, name), name, listing


def _is_of(listing: Listing, inode: Inode) -> bool:
    return listing.stamp[:2] == inode[:2]


def inodes_of(path: bytes, directory: Directory | None) -> Iterator[tuple[bytes, Inode]]:
    """One above the depth, and the folders in it."""
    if directory is not None:
        yield path, (directory.attr.dev, directory.attr.ino, directory.attr.mtime_ns)
        yield from inodes_in(path, directory.listing)
