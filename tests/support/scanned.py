"""Scanned sources without a disk, from plans, for what is pure."""

from collections.abc import Mapping
from typing import Union

from mmirrorfs.attributes import DIR, Attributes, Kind
from mmirrorfs.tree import Directory, Entry, Leaf, Rank

FILE = Kind(0o100000)
_ATTR = Attributes(DIR, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1)

Plan = Mapping[str, Union["Plan", str]]
"""What is above the depth: a mapping is a directory, "dir" a folder, "file" a file. Odd bytes as surrogates."""


def scanned(rank: int, plan: Plan, links: tuple[bytes, ...] = (), errno: int = 0) -> Directory:
    """A source of that rank as a scan would give it."""
    entries: dict[bytes, Entry] = {}
    for name, what in plan.items():
        leaf = Leaf(Rank(rank), DIR if what == "dir" else FILE)
        entries[name.encode("utf-8", "surrogateescape")] = leaf if isinstance(what, str) else scanned(rank, what)
    return Directory(_ATTR, entries, links=links, errno=errno)
