"""The merge as rows, and the values that a plan consists of. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mmirrorfs.attributes import DIR
from mmirrorfs.merge.index import Pairing, exact, merge
from mmirrorfs.tree import Directory, Entry, Leaf, Merged, Rank, Trees, join

Ranks = tuple[Rank, ...]
Places = tuple[bytes | None, ...]
"""A path in each source, by rank; None if a source does not have it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One entry of the views, with its winners by order; a merged directory has none.

    ``places`` leaves out sources whose file is hidden by a directory. ``files`` are the numbers of files in a folder,
    by rank, None if they were not counted.
    """

    path: bytes
    kind: int
    places: Places
    high: Rank | None
    low: Rank | None
    files: tuple[int | None, ...] = ()

    @property
    def have(self) -> Ranks:
        """The sources that have it."""
        return tuple(Rank(rank) for rank, place in enumerate(self.places) if place is not None)

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder at the depth."""
        return self.kind == DIR and self.high is not None


@dataclass(frozen=True, slots=True)
class Remark:
    """Something to check: a keyword, the path in the view, and a description."""

    about: str
    path: bytes
    text: str


@dataclass(frozen=True, slots=True)
class Near:
    """Names in one directory of the view, ``place``, that are not paired but probably are the same.

    ``names`` come with the sources that have them, and ``places`` are their paths there. ``rule`` is what pairs them:
    nfc, casefold, loose, ignore or same, and ``advice`` the options, or for "same" the lines of the configuration file.
    """

    place: bytes
    names: tuple[tuple[bytes, Ranks], ...]
    places: tuple[Places, ...]
    reason: str
    rule: str
    advice: str


@dataclass(frozen=True, slots=True)
class Group:
    """Near misses with the same reason and advice."""

    count: int
    text: str
    advice: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that ``--simulate`` reports; ``sources`` are the names of the sources, by rank."""

    sources: tuple[str, ...]
    depth: int
    match: str
    ignores: tuple[str, ...]
    rows: Sequence[Row]
    near: Sequence[Near]
    groups: Sequence[Group]
    remarks: Sequence[Remark]
    totals: Mapping[str, int]


def rows(trees: Trees, pairing: Pairing = exact) -> Iterator[Row]:
    """All entries down to the depth, each directory followed by its entries, in byte order."""
    ranks = [Rank(rank) for rank in range(len(trees))]
    yield from _rows(
        merge(trees, ranks, pairing), merge(trees, ranks[::-1], pairing), b"", (b"",) * len(trees), pairing
    )


def _rows(high: Merged, low: Merged, path: bytes, places: Places, pairing: Pairing) -> Iterator[Row]:
    found = {name: (entries, own) for name, entries, own in pairing(high.inputs, path)}
    for name in sorted(high.children):
        best, last = high.children[name], low.children[name]
        entries, own = found[name]
        shown = join(path, name)
        if isinstance(best, Merged) and isinstance(last, Merged):
            below = _places(places, name, entries, own, True)
            yield Row(shown, DIR, below, None, None)
            yield from _rows(best, last, shown, below, pairing)
        elif isinstance(best, Leaf) and isinstance(last, Leaf):
            below = _places(places, name, entries, own, best.kind == DIR)
            yield Row(shown, best.kind, below, best.source, last.source)


def _places(
    above: Places, name: bytes, entries: Sequence[Entry | None], own: Places | None, directories: bool
) -> Places:
    """The paths in the sources; with ``directories``, only of directories."""
    return tuple(
        join(place, (own[rank] if own is not None else None) or name)
        if place is not None and entry is not None and (is_directory(entry) or not directories)
        else None
        for rank, (place, entry) in enumerate(zip(above, entries, strict=True))
    )


def is_directory(entry: Entry) -> bool:
    """Whether it is a directory, above or at the depth."""
    return isinstance(entry, Directory) or entry.kind == DIR


def totals(plan: Iterable[Row], names: Sequence[str]) -> dict[str, int]:
    """The number of folders, of those in more than one source, and of those in each source only."""
    counter = Counter(row.have for row in plan if row.is_folder)
    counts = {"folders": counter.total(), "in both": sum(n for have, n in counter.items() if len(have) > 1)}
    return counts | {f"only in {name}": counter[(Rank(rank),)] for rank, name in enumerate(names)}


def in_several(trees: Trees, pairing: Pairing) -> int:
    """The number of folders that are in more than one source under a pairing."""
    count, queue = 0, [(b"", trees)]
    for path, inputs in queue:
        for name, entries, _ in pairing(inputs, path):
            directories = tuple(entry if isinstance(entry, Directory) else None for entry in entries)
            if any(directories):
                queue.append((join(path, name), directories))
            else:
                count += sum(entry is not None and is_directory(entry) for entry in entries) > 1
    return count
