"""Scan results made from plans, without a disk, and the contents of a merge of them."""

from collections.abc import Mapping, Sequence
from typing import Union

from hypothesis import strategies as st

from mmirrorfs.attributes import DIR, Attributes, Kind
from mmirrorfs.tree import Directory, Entry, Evidence, Leaf, Merged, Rank, Trees

FIFO = Kind(0o010000)


Plan = Mapping[bytes, Union["Plan", Kind]]
"""A directory: mappings are directories in it, kinds what is none."""


def attr(mtime: int = 0, ctime: int = 0, ino: int = 1) -> Attributes:
    return Attributes(DIR | 0o755, 2, 0, 0, 0, 0, 0, 0, mtime, ctime, 1, ino)


def folder(rank: int, plan: Plan, searched: bool = False) -> Leaf:
    """A folder with these entries."""
    file = b"" if holds_a_file(plan) else None
    return Leaf(Rank(rank), DIR, None, Evidence(file, (), 0) if searched else None)


def holds_a_file(plan: Plan) -> bool:
    return any(isinstance(what, int) or holds_a_file(what) for what in plan.values())


def only_folders(entries: Mapping[bytes, Entry]) -> bool:
    return all(isinstance(entry, Leaf) and entry.kind == DIR and not entry.is_empty for entry in entries.values())


def directory(rank: int, depth: int, plan: Plan, mtime: int = 0, ctime: int = 0, searched: bool = False) -> Directory:
    """What a scan of that plan finds; with ``searched`` a scan that searches folders for files."""
    entries: dict[bytes, Entry] = {}
    for name, what in plan.items():
        if isinstance(what, int):
            entries[name] = Leaf(Rank(rank), Kind(what))
        elif depth > 1:
            entries[name] = directory(rank, depth - 1, what, mtime, ctime, searched)
        else:
            entries[name] = folder(rank, what, searched)
    return Directory(attr(mtime, ctime), entries, only_folders(entries))


def trees(depth: int, *plans: Plan, searched: bool = False) -> Trees:
    return tuple(directory(rank, depth, plan, searched=searched) for rank, plan in enumerate(plans))


def ranks(*order: int) -> Sequence[Rank]:
    return [Rank(rank) for rank in order]


def flat(merged: Merged, prefix: bytes = b"") -> dict[bytes, Leaf | None]:
    """All paths of an index, with the leaf, or None for a merged directory."""
    found: dict[bytes, Leaf | None] = {}
    for name, child in merged.children.items():
        found[prefix + name] = child if isinstance(child, Leaf) else None
        if isinstance(child, Merged):
            found |= flat(child, prefix + name + b"/")
    return found


depths = st.integers(1, 4)


def paths(plan: Plan, depth: int) -> dict[tuple[bytes, ...], Kind]:
    """Every path of a source down to the depth."""
    found: dict[tuple[bytes, ...], Kind] = {}
    for name, what in plan.items():
        found[(name,)] = Kind(what) if isinstance(what, int) else DIR
        if not isinstance(what, int) and depth > 1:
            found |= {(name, *below): kind for below, kind in paths(what, depth - 1).items()}
    return found
