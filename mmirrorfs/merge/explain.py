"""Explains a path of a view: the winner, the rule by which it won, and what the other sources have there.

The winner is read from the index, so an explanation cannot contradict the merge. The other sources' entries are found
with the pairing that the merge used.

Pure: no I/O, no clock. Any thread may call this; a directory of 100,000 names takes a second.
"""

import difflib
import heapq
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise, takewhile

from mmirrorfs.attributes import DIR, Kind
from mmirrorfs.merge.index import Group, Pairing
from mmirrorfs.tree import Child, Directory, Leaf, Merged, Rank, join


class Rule(Enum):
    """The rule by which an entry is shown."""

    MERGED = "merged"
    """A directory above the depth: the union of all paired directories."""
    ONLY = "only"
    """No other source has an entry there."""
    ORDER = "order"
    """The first source, in the view's order, that has it."""
    FILLED = "filled"
    """The first source, in the view's order, whose folder holds a file: empty folders are skipped."""
    DIRECTORY = "directory"
    """A directory, which beats a non-directory of a more preferred source."""
    OTHER = "other"
    """None of these."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One source's entry at a place, by its path there. ``shown``: it is part of the view.

    ``is_empty``: it is a folder that is known to hold no file (``--skip-empty``).
    """

    rank: Rank
    path: bytes
    kind: Kind
    shown: bool
    is_empty: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """The deepest entry of the index on a path: ``path`` is its own path, ``rest`` the remainder.

    ``claims`` are in the view's order. ``above`` is the parent in the index, None for the root.
    """

    path: bytes
    rest: bytes
    found: Child
    rule: Rule
    claims: tuple[Claim, ...]
    above: Merged | None

    @property
    def shown(self) -> list[Claim]:
        """What the view has there: one claim, or all directories of a merged one."""
        return [claim for claim in self.claims if claim.shown]

    @property
    def hidden(self) -> list[Claim]:
        """What it hides."""
        return [claim for claim in self.claims if not claim.shown]

    @property
    def skipped(self) -> list[Claim]:
        """What of that would have won if it were not empty."""
        return [claim for claim in takewhile(lambda claim: not claim.shown, self.claims) if claim.is_empty]

    def inside(self, claim: Claim) -> bytes:
        """The path of the remainder in the source of a claim."""
        return join(claim.path, self.rest) if self.rest else claim.path

    def path_in(self, rank: Rank) -> bytes | None:
        """The path of a merged directory in a source; None if the source does not have it."""
        return next((claim.path for claim in self.shown if claim.rank == rank), None)


def place_of(index: Merged, order: Sequence[Rank], pairing: Pairing, path: bytes) -> Place:
    """The place of a path of the view."""
    claims = tuple(Claim(rank, b"", DIR, True) for rank in order if index.inputs[rank] is not None)
    place = Place(b"", path, index, Rule.MERGED, claims, None)
    while place.rest and isinstance(place.found, Merged):
        name, _, rest = place.rest.partition(b"/")
        if name not in place.found.children:
            break
        place = _below(place, place.found, order, pairing, name, rest)
    return place


def _below(place: Place, above: Merged, order: Sequence[Rank], pairing: Pairing, name: bytes, rest: bytes) -> Place:
    child = above.children[name]
    group = next(group for group in pairing(above.inputs, place.path) if group[0] == name)
    names, claims = names_of(group), list[Claim]()
    for rank in order:
        entry, own, inside = group[1][rank], names[rank], place.path_in(rank)
        if entry is not None and own is not None and inside is not None:
            kind = entry.kind if isinstance(entry, Leaf) else DIR
            shown = child.inputs[rank] is not None if isinstance(child, Merged) else child.source == rank
            is_empty = isinstance(entry, Leaf) and entry.is_empty
            claims.append(Claim(rank, join(inside, own), kind, shown, is_empty))
    return Place(join(place.path, name), rest, child, _rule(child, claims), tuple(claims), above)


def _rule(child: Child, claims: Sequence[Claim]) -> Rule:
    if isinstance(child, Merged):
        return Rule.MERGED
    if len(claims) == 1:
        return Rule.ONLY
    winner = next(position for position, claim in enumerate(claims) if claim.shown)
    before = claims[:winner]
    if not before:
        return Rule.ORDER
    folders = [claim for claim in before if claim.kind == DIR]
    if child.kind == DIR and all(folder.is_empty for folder in folders) and not (folders and claims[winner].is_empty):
        return Rule.FILLED if folders else Rule.DIRECTORY
    return Rule.OTHER


def in_view(index: Merged, pairing: Pairing, rank: Rank, own: bytes) -> bytes:
    """The path in the view of a source's entry at its ``own`` path, whether it wins or not."""
    found: Child = index
    above, rest = b"", own
    while rest and isinstance(found, Merged) and found.inputs[rank] is not None:
        name, _, below = rest.partition(b"/")
        shown = next((one for one, *_ in _spelled(pairing(found.inputs, above), rank, name)), None)
        if shown is None:
            break
        found, above, rest = found.children[shown], join(above, shown), below
    return join(above, rest) if rest else above


def spellings(merged: Merged, path: bytes, pairing: Pairing, name: bytes) -> list[bytes]:
    """The names in the view of the entries that some source spells ``name``, in the directory at ``path``."""
    ranks = range(len(merged.inputs))
    return [shown for rank in ranks for shown, *_ in _spelled(pairing(merged.inputs, path), Rank(rank), name)]


def _spelled(groups: Iterable[Group], rank: Rank, name: bytes) -> Iterator[Group]:
    for group in groups:
        if names_of(group)[rank] == name:
            yield group


def names_of(group: Group) -> list[bytes | None]:
    """The sources' spellings of a group, by rank; None if a source does not have it."""
    shown, found, own = group
    spelled = own or (None,) * len(found)
    return [(name or shown) if one is not None else None for name, one in zip(spelled, found, strict=True)]


# Suggestions


MOST = 3
"""Maximum number of suggestions."""


def nearest(name: bytes, names: Iterable[bytes]) -> list[bytes]:
    """The names most similar to a missing one, the best first."""
    by_text: dict[str, bytes] = {}
    for other in names:
        by_text.setdefault(_plain(other), other)
    wanted = _plain(name)
    bigrams = _bigrams(wanted)
    candidates = heapq.nlargest(COMPARED, by_text, key=lambda text: _similarity(bigrams, _bigrams(text)))
    return [by_text[text] for text in difflib.get_close_matches(wanted, candidates, MOST)]


COMPARED = 200
"""Names compared by difflib, 50 us each: those with the most bigrams in common."""


def _bigrams(text: str) -> set[str]:
    return set(map("".join, pairwise(f" {text} ")))


def _similarity(one: set[str], other: set[str]) -> float:
    return len(one & other) / (len(one) + len(other))


def _plain(name: bytes) -> str:
    """A name without case and diacritics."""
    text = name.decode("utf-8", "surrogateescape").casefold()
    if text.isascii():
        return text
    return "".join(char for char in unicodedata.normalize("NFD", text) if not unicodedata.combining(char))


def elsewhere(index: Merged, name: bytes) -> list[bytes]:
    """Paths of the index with that name, at most MOST."""
    found: list[bytes] = []
    queue: list[tuple[bytes, Merged]] = [(b"", index)]
    for path, merged in queue:
        if name in merged.children:
            found.append(join(path, name))
            if len(found) == MOST:
                break
        queue += [(join(path, one), child) for one, child in merged.children.items() if isinstance(child, Merged)]
    return found


def unreadable(merged: Merged) -> Iterator[tuple[Rank, Directory]]:
    """The inputs of a merged directory that could not be listed."""
    for rank, directory in enumerate(merged.inputs):
        if directory is not None and directory.errno:
            yield Rank(rank), directory
