"""Who would win what, and what needs a person's eye: the merge told as rows instead of an index. Pure."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mmirrorfs.attributes import DIR
from mmirrorfs.merge.index import Pairing, exact, merge
from mmirrorfs.merge.names import collisions
from mmirrorfs.merge.settled import Matching, Matchings
from mmirrorfs.tree import Directory, Entry, Leaf, Merged, Rank, Trees

EXACT = Matchings([bytes])


@dataclass(frozen=True, slots=True)
class Row:
    """One entry of the views. ``have`` are the ranks of the sources that have it; a merged directory has no winner."""

    path: bytes
    kind: int
    have: tuple[Rank, ...]
    high: Rank | None
    low: Rank | None


@dataclass(frozen=True, slots=True)
class Remark:
    """What a person should look at: a keyword, the path in the view, and what about it in words."""

    about: str
    path: bytes
    text: str


def rows(trees: Trees, pairing: Pairing = exact) -> Iterator[Row]:
    """All entries down to the depth, each directory followed by what is in it, in byte order."""
    ranks = [Rank(rank) for rank in range(len(trees))]
    yield from _rows(merge(trees, ranks, pairing), merge(trees, ranks[::-1], pairing), b"", pairing)


def _rows(high: Merged, low: Merged, prefix: bytes, pairing: Pairing) -> Iterator[Row]:
    having = {name: _having(found) for name, found, _ in pairing(high.inputs, prefix.rstrip(b"/"))}
    for name in sorted(high.children):
        best, last = high.children[name], low.children[name]
        path = prefix + name
        if isinstance(best, Merged) and isinstance(last, Merged):
            yield Row(path, DIR, having[name], None, None)
            yield from _rows(best, last, path + b"/", pairing)
        elif isinstance(best, Leaf) and isinstance(last, Leaf):
            yield Row(path, best.kind, having[name], best.source, last.source)


def _having(inputs: Sequence[object | None]) -> tuple[Rank, ...]:
    return tuple(Rank(rank) for rank, found in enumerate(inputs) if found is not None)


def remarks(trees: Trees, names: Sequence[str], pairing: Pairing = exact, matchings: Matchings = EXACT) -> list[Remark]:
    """What needs a person's eye; ``names`` are the sources' names, by rank, ``matchings`` what the pairing goes by.

    Sorted by path.
    """
    found: list[Remark] = []
    queue: list[tuple[bytes, Trees]] = [(b"", trees)]
    for path, inputs in queue:
        prefix = path + b"/" if path else b""
        groups = {name: entries for name, entries, _ in pairing(inputs, path)}
        found += _in_directory(path, prefix, inputs, names)
        found += _in_groups(prefix, groups, names)
        found += _collisions(prefix, inputs, names, matchings.at(path))
        for name, entries in groups.items():
            directories = tuple(entry if isinstance(entry, Directory) else None for entry in entries)
            if any(directories):
                queue.append((prefix + name, directories))
    return sorted(found, key=lambda remark: (remark.path, remark.about))


def _in_directory(path: bytes, prefix: bytes, inputs: Trees, names: Sequence[str]) -> Iterator[Remark]:
    for rank, directory in enumerate(inputs):
        if directory is not None and directory.errno:
            yield Remark("unreadable", path, f"cannot be listed in {names[rank]}")
        for name in directory.links if directory is not None else ():
            yield Remark("link", prefix + name, f"symbolic link in {names[rank]}, left out")


def _in_groups(prefix: bytes, groups: dict[bytes, tuple[Entry | None, ...]], names: Sequence[str]) -> Iterator[Remark]:
    for name, entries in groups.items():
        if len({_is_directory(entry) for entry in entries if entry is not None}) == 2:
            yield Remark("conflict", prefix + name, _conflict(entries, names))
    yield from _near_misses(prefix, groups, names)


def _collisions(prefix: bytes, inputs: Trees, names: Sequence[str], matching: Matching) -> Iterator[Remark]:
    for rank, first, other in collisions(inputs, matching):
        text = f"falls together with {first.decode(errors='replace')!r} in {names[rank]}: both are shown"
        yield Remark("collision", prefix + other, text)


def _conflict(entries: Sequence[Entry | None], names: Sequence[str]) -> str:
    have = [(_is_directory(entry), names[rank]) for rank, entry in enumerate(entries) if entry is not None]
    folders = ", ".join(name for is_directory, name in have if is_directory)
    others = ", ".join(name for is_directory, name in have if not is_directory)
    return f"a directory in {folders}, a file in {others}: the directory is shown"


def _is_directory(entry: Entry) -> bool:
    return isinstance(entry, Directory) or entry.kind == DIR


_SUFFIX = re.compile(r"\s*[\[({][^\[\](){}]*[\])}]\s*$")

_SUFFIXED = "a bracketed suffix (--ignore pairs them)"

_LIKENESSES: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("Unicode normal form only (--match nfc pairs them)", lambda text: unicodedata.normalize("NFC", text)),
    ("case only (--match casefold pairs them)", lambda text: unicodedata.normalize("NFC", text).casefold()),
    ("outer blanks (--ignore pairs them)", lambda text: unicodedata.normalize("NFC", text).casefold().strip()),
    (_SUFFIXED, lambda text: _SUFFIX.sub("", unicodedata.normalize("NFC", text).casefold().strip())),
)
"""What two names may differ by, from the least to the most; each is blind to all before it too."""


def _near_misses(prefix: bytes, found: dict[bytes, tuple[Entry | None, ...]], names: Sequence[str]) -> Iterator[Remark]:
    """Directories of different sources that were not paired though their names are nearly the same."""
    groups: dict[str, list[bytes]] = defaultdict(list)
    loosest = _LIKENESSES[-1][1]
    for name, entries in found.items():
        text = _text(name)
        if text is not None and any(entry is not None and _is_directory(entry) for entry in entries):
            groups[loosest(text) or text].append(name)
    for alike in groups.values():
        for name in sorted(alike)[1:]:
            first = min(alike)
            one, other = _sources(found[first]), _sources(found[name])
            if one != other:
                what = _difference(first.decode(), name.decode())
                where = f"{_list(one, names)} has another spelling of what {_list(other, names)} has"
                yield Remark("near miss", prefix + name, f"differs from {first.decode()!r} by {what}: {where}")


def _difference(one: str, other: str) -> str:
    return next(what for what, blind in _LIKENESSES if blind(one) == blind(other) or what == _SUFFIXED)


def _text(name: bytes) -> str | None:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return None


def _sources(entries: Sequence[Entry | None]) -> frozenset[int]:
    return frozenset(rank for rank, entry in enumerate(entries) if entry is not None)


def _list(ranks: frozenset[int], names: Sequence[str]) -> str:
    return ", ".join(names[rank] for rank in sorted(ranks))
