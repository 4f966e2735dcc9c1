"""What the user asked for, checked for sense but not against the disk."""

import os
from dataclasses import dataclass

from mmirrorfs.cli.problem import Problem
from mmirrorfs.text import printable
from mmirrorfs.tree import Rank


@dataclass(frozen=True, slots=True)
class Named:
    """A source as given: its name for ``--prefer`` and messages, and its path."""

    name: str
    path: bytes


@dataclass(frozen=True, slots=True)
class ViewSettings:
    """One view: where, and whose folders win (``high``, ``low`` or a source's name)."""

    mountpoint: bytes
    prefer: str


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that one command was told. ``refresh`` is in seconds, ``remember`` in entries."""

    sources: tuple[Named, ...]
    views: tuple[ViewSettings, ...]
    depth: int = 1
    refresh: float = 60.0
    fallback: bool = False
    remember: int = 1_000_000
    foreground: bool = False
    verbose: int = 0
    fsname: str = "mmirrorfs"
    fuse_options: frozenset[str] = frozenset()


def named(paths: list[bytes]) -> tuple[Named, ...]:
    """Name the sources by their folders, with a number where two are called the same."""
    sources: list[Named] = []
    for path in paths:
        base = os.path.basename(os.path.abspath(path)) or b"/"
        name = text = printable(base)
        turn = 1
        while any(source.name == name for source in sources):
            turn += 1
            name = f"{text}-{turn}"
        sources.append(Named(name, path))
    return tuple(sources)


def order_of(prefer: str, sources: tuple[Named, ...]) -> tuple[Rank, ...]:
    """The ranks of the sources in the order in which a view asks them."""
    ranks = [Rank(rank) for rank in range(len(sources))]
    if prefer == "high":
        return tuple(ranks)
    if prefer == "low":
        return tuple(reversed(ranks))
    first = next((rank for rank in ranks if sources[rank].name == prefer), None)
    if first is None:
        names = ", ".join(["high", "low", *[source.name for source in sources]])
        raise Problem(f"--prefer {prefer}: no such source; one of {names}")
    return (first, *[rank for rank in ranks if rank != first])
