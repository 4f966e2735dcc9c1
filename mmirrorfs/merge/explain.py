"""Why a view has at a path what it has: read off the index, and off what the index was merged from.

What is shown, and from which source, is the index's own word, so an explanation cannot differ from the merge. What
else the sources have at the same place is found by the pairing that the merge went by.

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
from mmirrorfs.tree import Child, Directory, Leaf, Merged, Rank


class Rule(Enum):
    """By which rule something is shown."""

    MERGED = "merged"
    """A directory above the depth: all that are paired are shown as one."""
    ONLY = "only"
    """No other source has anything there."""
    ORDER = "order"
    """The first source, in the view's order, that has it."""
    FILLED = "filled"
    """The first source, in the view's order, that has it with a file in it: empty folders are skipped."""
    DIRECTORY = "directory"
    """A directory, which beats what is none in a source that comes before it."""
    OTHER = "other"
    """By none of these."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What one source has at a place, under its own path. ``shown`` says that it is what the view has there.

    ``is_empty`` says that it is a folder that is known to hold no file, where that matters.
    """

    rank: Rank
    path: bytes
    kind: Kind
    shown: bool
    is_empty: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """The place in the index that a path leads to: ``path``, as far as the index has it, and the ``rest``.

    ``claims`` are in the view's order. ``above`` is the merged directory that it is in, None for the root.
    """

    path: bytes
    rest: bytes
    found: Child
    rule: Rule
    claims: tuple[Claim, ...]
    above: Merged | None

    @property
    def shown(self) -> list[Claim]:
        """What the view has there: one claim, but for a merged directory."""
        return [claim for claim in self.claims if claim.shown]

    @property
    def hidden(self) -> list[Claim]:
        """What it takes the place of."""
        return [claim for claim in self.claims if not claim.shown]

    @property
    def skipped(self) -> list[Claim]:
        """What of that would have won, were it not empty."""
        return [claim for claim in takewhile(lambda claim: not claim.shown, self.claims) if claim.is_empty]

    def inside(self, claim: Claim) -> bytes:
        """The path in a source that the rest leads to, from what that has at the place."""
        return _joined(claim.path, self.rest) if self.rest else claim.path

    def path_in(self, rank: Rank) -> bytes | None:
        """The path of a merged directory in a source; None where that has no such directory."""
        return next((claim.path for claim in self.shown if claim.rank == rank), None)


def place_of(index: Merged, order: Sequence[Rank], pairing: Pairing, path: bytes) -> Place:
    """The place that a path of the view leads to."""
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
            claims.append(Claim(rank, _joined(inside, own), kind, shown, is_empty))
    return Place(_joined(place.path, name), rest, child, _rule(child, claims), tuple(claims), above)


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
    """The path in the view of what a source has under its ``own`` path: where it is shown, or would be."""
    found: Child = index
    above, rest = b"", own
    while rest and isinstance(found, Merged) and found.inputs[rank] is not None:
        name, _, below = rest.partition(b"/")
        shown = next((one for one, *_ in _spelled(pairing(found.inputs, above), rank, name)), None)
        if shown is None:
            break
        found, above, rest = found.children[shown], _joined(above, shown), below
    return _joined(above, rest) if rest else above


def spellings(merged: Merged, path: bytes, pairing: Pairing, name: bytes) -> list[bytes]:
    """The names in the view of what some source spells like that in the directory of that path, shown under another."""
    ranks = range(len(merged.inputs))
    return [shown for rank in ranks for shown, *_ in _spelled(pairing(merged.inputs, path), Rank(rank), name)]


def _spelled(groups: Iterable[Group], rank: Rank, name: bytes) -> Iterator[Group]:
    for group in groups:
        if names_of(group)[rank] == name:
            yield group


def names_of(group: Group) -> list[bytes | None]:
    """How the sources spell what is paired, by rank; None where one does not have it."""
    shown, found, own = group
    spelled = own or (None,) * len(found)
    return [(name or shown) if one is not None else None for name, one in zip(spelled, found, strict=True)]


# What a person may have meant


MOST = 3
"""Names that are suggested at the most."""


def nearest(name: bytes, names: Iterable[bytes]) -> list[bytes]:
    """The names that are most like one that is not there, the best first."""
    by_text: dict[str, bytes] = {}
    for other in names:
        by_text.setdefault(_plain(other), other)
    wanted = _plain(name)
    pairs = _pairs(wanted)
    some = heapq.nlargest(COMPARED, by_text, key=lambda text: _likeness(pairs, _pairs(text)))
    return [by_text[text] for text in difflib.get_close_matches(wanted, some, MOST)]


COMPARED = 200
"""Names that are compared thoroughly, which takes 50 us each: those that have most pairs of letters in common."""


def _pairs(text: str) -> set[str]:
    return set(map("".join, pairwise(f" {text} ")))


def _likeness(one: set[str], other: set[str]) -> float:
    return len(one & other) / (len(one) + len(other))


def _plain(name: bytes) -> str:
    """A name as people compare names: without case and diacritics."""
    text = name.decode("utf-8", "surrogateescape").casefold()
    if text.isascii():
        return text
    return "".join(char for char in unicodedata.normalize("NFD", text) if not unicodedata.combining(char))


def elsewhere(index: Merged, name: bytes) -> list[bytes]:
    """Where else the index has something of that name."""
    found: list[bytes] = []
    queue: list[tuple[bytes, Merged]] = [(b"", index)]
    for path, merged in queue:
        if name in merged.children:
            found.append(_joined(path, name))
            if len(found) == MOST:
                break
        queue += [(_joined(path, one), child) for one, child in merged.children.items() if isinstance(child, Merged)]
    return found


def unreadable(merged: Merged) -> Iterator[tuple[Rank, Directory]]:
    """The sources' directories in a merged one that could not be listed: what is in them is not known."""
    for rank, directory in enumerate(merged.inputs):
        if directory is not None and directory.errno:
            yield Rank(rank), directory


def _joined(above: bytes, name: bytes) -> bytes:
    return above + b"/" + name if above else name
