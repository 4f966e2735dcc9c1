"""The candidates for near misses: directories that some sources lack, level by level. Pure."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

from mmirrorfs.merge.index import Pairing
from mmirrorfs.merge.settled import Rule
from mmirrorfs.plan.advice import Match
from mmirrorfs.plan.alike import base_of, differences, text_of
from mmirrorfs.plan.rows import Places, Ranks, is_directory
from mmirrorfs.tree import Directory, Rank, Trees, join


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A directory of the view, with its paths and directories in the sources.

    If it exists only once a near miss is paired, ``once`` names that, and ``under`` is the match that pairs it; None if
    only the configuration file can.
    """

    path: bytes
    places: Places
    inputs: Trees
    once: str = ""
    under: Match | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A directory that some sources lack: its name in the view, its paths and its directories in the sources.

    ``apart`` are the [[apart]] rules that have its name.
    """

    name: bytes
    text: str
    places: Places
    directories: Trees
    apart: frozenset[Rule] = frozenset()

    @property
    def have(self) -> Ranks:
        """The sources that have it."""
        return tuple(Rank(rank) for rank, place in enumerate(self.places) if place is not None)

    @property
    def titles(self) -> frozenset[str]:
        """The loose bases of its entries."""
        names = {name for directory in self.directories if directory is not None for name in directory.entries}
        return frozenset(base_of(text) for name in names if (text := text_of(name)) is not None)

    def may_be(self, other: "Candidate") -> bool:
        """Whether no source has both, and no rule keeps them apart."""
        both = any(one is not None and two is not None for one, two in zip(self.places, other.places, strict=True))
        return not both and self.apart.isdisjoint(other.apart)


@dataclass(frozen=True, slots=True, eq=False)
class Cluster:
    """Candidates that are probably the same, the highest source's first; ``differs`` has a few words for each reason.

    ``common`` is the number of entries that they have in common.
    """

    place: Place
    members: tuple[Candidate, ...]
    differs: tuple[str, ...]
    common: int = 0

    @property
    def reason(self) -> str:
        """Why they are probably the same."""
        common = f"have {self.common} folder{'s' if self.common > 1 else ''} in common" if self.common else ""
        differ = f"differ by {', '.join(self.differs)}" if self.differs else ""
        once = f", once {self.place.once} are one" if self.place.once else ""
        return " and ".join(filter(None, (differ, common))) + once


def cluster(place: Place, members: Iterable[Candidate], differs: tuple[str, ...], common: int = 0) -> Cluster:
    """A cluster with its members in order."""
    return Cluster(place, tuple(sorted(members, key=lambda member: member.have)), differs, common)


@dataclass(slots=True, eq=False)
class Level:
    """A place, its candidates, and the directories that are already paired there."""

    place: Place
    candidates: list[Candidate]
    paired: list[Place]


def level(place: Place, now: Match) -> Level:
    """The candidates of a place; ``now`` is how names are paired."""
    present = sum(directory is not None for directory in place.inputs)
    found = Level(place, [], [])
    apart = _apart(place, now)
    for name, entries, own in now.pairing(place.inputs, place.path):
        own = own or (name,) * len(entries)
        places = tuple(
            join(above, spelling or name) if entry is not None and above is not None and is_directory(entry) else None
            for above, spelling, entry in zip(place.places, own, entries, strict=True)
        )
        directories = tuple([entry if isinstance(entry, Directory) else None for entry in entries])
        have = len(places) - places.count(None)
        if 0 < have < present and (text := text_of(name)) is not None:
            found.candidates.append(Candidate(name, text, places, directories, apart(name)))
        if sum(directory is not None for directory in directories) > 1:
            found.paired.append(Place(join(place.path, name), places, directories, place.once, place.under))
    if not _any_disjoint({candidate.have for candidate in found.candidates}):
        found.candidates = []
    return found


def _apart(place: Place, now: Match) -> Callable[[bytes], frozenset[Rule]]:
    """The [[apart]] rules that a name is in, at a place."""
    if not now.rules:
        return lambda name: frozenset()
    key, _, rules = now.matchings.at(place.path)
    named = [(rule, {key(name) for name in rule.names}) for rule in rules if not rule.is_same]
    return lambda name: frozenset(rule for rule, keys in named if key(name) in keys)


def _any_disjoint(having: Iterable[Ranks]) -> bool:
    """Whether any two have no source in common."""
    return any(set(one).isdisjoint(other) for one, other in combinations(having, 2))


def paired_by(level: Level, loosely: Pairing) -> Iterator[Cluster]:
    """The candidates that a looser pairing would pair."""
    if not level.candidates:
        return
    own = {place: one for one in level.candidates for place in enumerate(one.places) if place[1] is not None}
    for name, entries, spellings in loosely(level.place.inputs, level.place.path):
        spelled_as = spellings or (name,) * len(entries)
        members: dict[Candidate, None] = {}
        for rank, (entry, spelling) in enumerate(zip(entries, spelled_as, strict=True)):
            above = level.place.places[rank]
            one = own.get((rank, join(above, spelling or name))) if entry is not None and above is not None else None
            if one is not None:
                members[one] = None
        apart = [one for one in members if all(one.may_be(other) for other in members if other is not one)]
        if len(apart) > 1:
            differs = differences(apart[0].text, apart[1].text)
            yield cluster(level.place, apart, differs, len(apart[0].titles & apart[1].titles))


def beneath(clusters: Iterable[tuple[Cluster, Match | None]], levels: Iterable[Level]) -> Iterator[Place]:
    """The next level: inside paired directories, and inside near misses as if they were paired."""
    taken: set[bytes] = set()
    for found, match in clusters:
        taken.update(join(found.place.path, member.name) for member in found.members)
        directories = _united([member.directories for member in found.members])
        if sum(directory is not None for directory in directories) > 1:
            once = " and ".join(f"'{member.text}'" for member in found.members)
            path = join(found.place.path, found.members[0].name)
            yield Place(path, _united([member.places for member in found.members]), directories, once, match)
    for one in levels:
        yield from (place for place in one.paired if place.path not in taken)


T = TypeVar("T")


def _united(values: Iterable[tuple[T | None, ...]]) -> tuple[T | None, ...]:
    """For each position the first value that is not None."""
    return tuple([next((value for value in column if value is not None), None) for column in zip(*values, strict=True)])
