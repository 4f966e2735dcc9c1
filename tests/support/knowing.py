"""The cache of one source, made from plans, without a disk."""

from collections.abc import Mapping
from typing import Union

from mmirrorfs.attributes import DIR, FILE, Attributes, Kind, bare
from mmirrorfs.listing import Listing, pack
from mmirrorfs.source.cache_limit import CacheLimit
from mmirrorfs.source.known import Known
from mmirrorfs.tree import Directory, Entry, Leaf, Rank

LARGE = 1 << 40

Shape = Mapping[bytes, Union[int, "Above"]]
"""A directory: by name an inode number, even for a directory, or a directory above the depth."""


class Above:
    """A directory above the depth."""

    def __init__(self, ino: int, inside: Shape) -> None:
        self.ino, self.inside = ino, inside


def attr(ino: int, size: int = 0) -> Attributes:
    """The attributes of a directory for an even inode number, of a file for an odd one."""
    return Attributes((DIR if ino % 2 == 0 else FILE) | 0o644, 1, 0, 0, 0, size, 0, 1, 2, 3, 4, ino)


def directory(inside: Mapping[bytes, int], fetched_at: float = 0, stamp: int = 1, ino: int = 1) -> Listing:
    """A listing of names with these inode numbers."""
    return Listing(pack((4, ino, stamp, stamp), True, [(name, attr(ino)) for name, ino in inside.items()]), fetched_at)


def tree(inside: Shape, ino: int = 2, fetched_at: float = 0) -> Directory:
    """The result of a scan."""
    entries: dict[bytes, Entry] = {}
    listed: list[tuple[bytes, Attributes]] = []
    for name, what in inside.items():
        if isinstance(what, Above):
            entries[name] = tree(what.inside, what.ino, fetched_at)
            listed.append((name, bare(DIR)))
        else:
            entries[name] = Leaf(Rank(0), Kind(attr(what).kind))
            listed.append((name, attr(what)))
    return Directory(attr(ino), entries, listing=Listing(pack(attr(ino).stamp, True, listed), fetched_at))


def known_of(inside: Shape, limit: int = LARGE) -> Known:
    return Known(tree(inside), CacheLimit(limit))


def paths(known: Known) -> set[bytes]:
    """The cached directories below the depth."""
    return {path for path, _ in known.listings.below.items()}
