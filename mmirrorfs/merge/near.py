"""Near misses: directories of different sources that are not paired, and probably are the same. Pure."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator

from mmirrorfs.merge.index import Pairing
from mmirrorfs.merge.plan import Group, Near, Ranks, is_directory, joined
from mmirrorfs.tree import Directory, Entry, Rank, Trees

_SUFFIX = re.compile(r"\s*[\[({][^\[\](){}]*[\])}]\s*$")

_LIKENESSES: tuple[tuple[str, str, Callable[[str], str]], ...] = (
    ("nfc", "Unicode normal form", lambda text: unicodedata.normalize("NFC", text)),
    ("casefold", "case", lambda text: unicodedata.normalize("NFC", text).casefold()),
    ("ignore", "outer blanks", lambda text: unicodedata.normalize("NFC", text).casefold().strip()),
    (
        "ignore",
        "a bracketed suffix",
        lambda text: _SUFFIX.sub("", unicodedata.normalize("NFC", text).casefold().strip()),
    ),
)
"""What two names may differ by, from the least to the most; each is blind to all before it too."""


def near_misses(trees: Trees, pairing: Pairing) -> list[Near]:
    """All of them, sorted by directory and name."""
    found: list[Near] = []
    queue: list[tuple[bytes, Trees]] = [(b"", trees)]
    for path, inputs in queue:
        groups = {name: entries for name, entries, _ in pairing(inputs)}
        found += _in_directory(path, groups)
        for name, entries in groups.items():
            directories = tuple(entry if isinstance(entry, Directory) else None for entry in entries)
            if any(directories):
                queue.append((joined(path, name), directories))
    return sorted(found, key=lambda near: (near.place, near.names))


def grouped(near: Iterable[Near]) -> list[Group]:
    """What many have in common, the most frequent first."""
    counter = Counter((miss.reason, miss.advice) for miss in near if miss.rule != "same")
    return [Group(count, reason, advice) for (reason, advice), count in counter.most_common() if count > 1]


def _in_directory(path: bytes, found: dict[bytes, tuple[Entry | None, ...]]) -> Iterator[Near]:
    groups: dict[str, list[bytes]] = defaultdict(list)
    loosest = _LIKENESSES[-1][2]
    for name, entries in found.items():
        text = _text(name)
        if text is not None and any(entry is not None and is_directory(entry) for entry in entries):
            groups[loosest(text) or text].append(name)
    for alike in groups.values():
        for name in sorted(alike)[1:]:
            first = min(alike)
            one, other = _sources(found[first]), _sources(found[name])
            if not set(one) & set(other):
                rule, what = _difference(first.decode(), name.decode())
                names = sorted(((first, one), (name, other)), key=lambda named: (named[1], named[0]))
                yield Near(path, tuple(names), f"differ by {what} only", rule, f"--match {rule}")


def _difference(one: str, other: str) -> tuple[str, str]:
    return next(
        (rule, what) for rule, what, blind in _LIKENESSES if blind(one) == blind(other) or what == "a bracketed suffix"
    )


def _text(name: bytes) -> str | None:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return None


def _sources(entries: tuple[Entry | None, ...]) -> Ranks:
    return tuple(Rank(rank) for rank, entry in enumerate(entries) if entry is not None)
