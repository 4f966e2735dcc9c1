"""Scan results made from plans, without a disk, for tests of pure code."""

from collections.abc import Mapping
from typing import Union

from mmirrorfs.attributes import DIR, Attributes, Kind
from mmirrorfs.tree import Directory, Entry, Leaf, Rank

FILE = Kind(0o100000)
_ATTR = Attributes(DIR, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1)

Plan = Mapping[str, Union["Plan", str]]
"""The tree down to the depth: a mapping is a directory, "dir" a folder, "file" a file. Names use surrogateescape."""


def scanned(rank: int, plan: Plan, links: tuple[bytes, ...] = (), errno: int = 0) -> Directory:
    """What a scan of a source of that rank returns."""
    entries: dict[bytes, Entry] = {}
    for name, what in plan.items():
        leaf = Leaf(Rank(rank), DIR if what == "dir" else FILE)
        entries[name.encode("utf-8", "surrogateescape")] = leaf if isinstance(what, str) else scanned(rank, what)
    return Directory(_ATTR, entries, links=links, errno=errno)
