"""Walks and differences of scanned trees, and which directories were renamed. Pure; any thread may call it."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from mmirrorfs.attributes import DIR, Attributes
from mmirrorfs.difference import Difference, all_differences, is_news
from mmirrorfs.listing import EMPTY, Listing
from mmirrorfs.tree import Directory, Entry, Names, evidence_of, join


def directories_of(tree: Directory) -> Iterator[tuple[bytes, Directory]]:
    """All directories above the depth, by path."""
    waiting = [(b"", tree)]
    for path, directory in waiting:
        yield path, directory
        for name, entry in directory.entries.items():
            if isinstance(entry, Directory):
                waiting.append((join(path, name), entry))


def directory_at(tree: Directory, path: bytes) -> Directory | None:
    """The directory above the depth at a path."""
    found: Directory | None = tree
    for name in path.split(b"/") if path else ():
        entry = found.entries.get(name) if found is not None else None
        found = entry if isinstance(entry, Directory) else None
    return found


@dataclass(frozen=True, slots=True)
class Revision:
    """How a directory above the depth differs between two trees; None for the tree in which it does not exist.

    ``names`` are those with another entry, ``differences`` those of its listing. ``removed`` and ``created`` are the
    old and new inodes, by path, of itself and its subdirectories if their (dev, ino) changed. ``unreadable`` names
    lost their attributes, ``searched`` names have, or had, ``tree.Evidence``.
    """

    path: bytes
    old: Directory | None
    new: Directory | None
    names: Collection[bytes]
    differences: list[Difference]
    removed: "dict[bytes, Inode]"
    created: "dict[bytes, Inode]"
    unreadable: list[bytes]
    searched: list[bytes]


def revisions(before: Directory, after: Directory, only: Names | None = None) -> list[Revision]:
    """All differing directories, parents first. ``only``: see ``merge.index.merge``.

    Takes time proportional to the names in them: for large directories in a thread.
    """
    found: list[Revision] = []
    waiting: list[tuple[bytes, Directory | None, Directory | None]] = [(b"", before, after)]
    for path, old, new in waiting:
        was, now = (directory.entries if directory is not None else _NOTHING for directory in (old, new))
        names = (only or {}).get(path) or _other_names(was, now)
        found.append(_revision(path, old, new, names))
        for name in names:
            one, two = (entry if isinstance(entry, Directory) else None for entry in (was.get(name), now.get(name)))
            if one is not two:
                waiting.append((join(path, name), one, two))
    return found


def by_directory(paths: Iterable[bytes]) -> dict[bytes, set[bytes]]:
    """The components of some paths, by the directory that they are in."""
    names: dict[bytes, set[bytes]] = {}
    for path in paths:
        while path:
            above, _, name = path.rpartition(b"/")
            names.setdefault(above, set()).add(name)
            path = above
    return names


def names_of(revised: Iterable[Revision]) -> dict[bytes, Collection[bytes]]:
    """The names with another entry, by directory."""
    return {one.path: one.names for one in revised}


def _other_names(before: Mapping[bytes, Entry], after: Mapping[bytes, Entry]) -> list[bytes]:
    last = before.get
    return [name for name, entry in after.items() if last(name) is not entry] + [
        name for name in before if name not in after
    ]


_NOTHING: Mapping[bytes, Entry] = {}


def _revision(path: bytes, old: Directory | None, new: Directory | None, names: Collection[bytes]) -> Revision:
    listings = [directory.listing if directory is not None else EMPTY for directory in (old, new)]
    was, now = (directory.entries if directory is not None else _NOTHING for directory in (old, new))
    found = all_differences(*listings)
    pairs = [(path, old.attr if old is not None else None, new.attr if new is not None else None)]
    pairs += [(join(path, one.name), one.before, one.after) for one in found if not _is_unreadable(one.after)]
    inodes = [(where, _inode_of(before), _inode_of(after)) for where, before, after in pairs]
    others = [(where, removed, created) for where, removed, created in inodes if removed[:2] != created[:2]]
    return Revision(
        path,
        old,
        new,
        names,
        sorted(one for one in found if is_news(one.before, one.after)),
        {where: removed for where, removed, _ in others if removed != NONE},
        {where: created for where, _, created in others if created != NONE},
        [one.name for one in found if one.before and one.before.is_known and one.after and not one.after.is_known],
        [name for name in names if any(map(evidence_of, (was.get(name), now.get(name))))],
    )


def _is_unreadable(attr: Attributes | None) -> bool:
    """Whether only the type of a directory is known: presumably the same directory."""
    return attr is not None and attr.kind == DIR and not attr.is_known


def _inode_of(attr: Attributes | None) -> "Inode":
    """The inode of a directory with attributes; NONE for anything else."""
    return (attr.dev, attr.ino, attr.mtime_ns) if attr is not None and attr.kind == DIR and attr.is_known else NONE


Inode = tuple[int, int, int]
"""(dev, ino, mtime in nanoseconds) of a directory."""
NONE: Inode = (0, 0, 0)


def inodes_in(path: bytes, listing: Listing) -> Iterator[tuple[bytes, Inode]]:
    """The subdirectories with attributes, by path."""
    for name, attr in listing.directories():
        if attr.is_known:
            yield join(path, name), (attr.dev, attr.ino, attr.mtime_ns)


def presumed_inodes(path: bytes, listing: Listing, before: dict[bytes, Inode]) -> dict[bytes, Inode]:
    """The former inodes of entries without attributes: presumably the same directories."""
    unknown = (join(path, name) for name, _ in listing.unknown())
    return {one: before[one] for one in unknown if one in before}


def renames(
    removed: dict[bytes, Inode], created: dict[bytes, Inode], stable: bool, known: Mapping[bytes, Listing]
) -> dict[bytes, bytes | None]:
    """The new paths of directories that were renamed; None for those that are gone.

    Inode and mtime must match: a rename keeps the mtime, and the number alone may be reused. If numbers are not
    ``stable``, the path identifies a directory. A path at which another directory is ``known`` already is left out.
    """
    if not removed:
        return {}
    if not stable:
        return {path: None for path in removed if path not in created}
    new = {inode: path for path, inode in created.items() if removed.get(path, NONE)[:2] != inode[:2]}
    left = {path: inode for path, inode in removed.items() if created.get(path, NONE)[:2] != inode[:2]}
    return {path: new.get(inode) for path, inode in left.items() if path not in known or _is_of(known[path], inode)}


def _is_of(listing: Listing, inode: Inode) -> bool:
    return listing.stamp[:2] == inode[:2]
