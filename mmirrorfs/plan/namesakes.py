"""Namesakes: names in one directory that are similar to a given name but not paired with it, and what would pair them.

Rule 1: advice was tried on these very names, with all rules that apply there.
Rule 2: a name that is not UTF-8 is compared by matches only.

Pure: no I/O, no clock. Any thread may call this; a directory of 100,000 names takes some seconds.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from mmirrorfs.merge.explain import names_of, nearest
from mmirrorfs.merge.index import Group
from mmirrorfs.merge.names import MATCHES, compiled, matchings, pairing
from mmirrorfs.merge.settled import Rule
from mmirrorfs.plan.advice import Match, by_hand
from mmirrorfs.plan.affixes import Cut, can_be_ignored, tells_apart
from mmirrorfs.plan.alike import likeness, spelled, text_of
from mmirrorfs.plan.rows import Ranks, is_directory
from mmirrorfs.tree import Rank, Trees

Spelling = tuple[int, bytes]
"""A source, by rank, and a name there."""


@dataclass(frozen=True, slots=True)
class Namesake:
    """A name in the same directory of the view, and the sources that have it.

    ``rule`` is what would pair it: nfc, casefold, loose, ignore or same, and ``advice`` the options, or for "same" the
    lines of the configuration file; or "apart", with the rules that separate the two.
    """

    name: bytes
    have: Ranks
    rule: str
    advice: str


def namesakes(inputs: Trees, path: bytes, name: bytes, now: Match) -> list[Namesake]:
    """The namesakes of a name in the directory at ``path`` in the view, sorted; ``now`` is how names are paired."""
    directory = _Directory(inputs, path, name, now)
    return sorted(directory.found(), key=lambda one: one.name) if directory.own is not None else []


class _Directory:
    """One directory of the view, and the group of the given name."""

    def __init__(self, inputs: Trees, path: bytes, name: bytes, now: Match) -> None:
        self._inputs = inputs
        self._path = path
        self._name = name
        self._now = now
        self._groups = {spelling: group for group in self._paired(now) for spelling in _spellings(group)}
        self.own = next((group for group in self._groups.values() if group[0] == name), None)
        self._found: dict[bytes, Namesake] = {}

    def found(self) -> Iterable[Namesake]:
        """All namesakes, each with the least that pairs it."""
        now = self._now
        for group in self._joined(now._replace(rules=tuple(rule for rule in now.rules if rule.is_same))):
            self._take(group, "apart", self._apart_rules(group[0]))
        self._by_match()
        for pattern in sorted({pattern for other in self._unmatched() if (pattern := _affix(self._name, other[0]))}):
            self._try(now.with_ignores([pattern]), "ignore")
        self._by_hand()
        return self._found.values()

    def _by_match(self) -> None:
        """What a looser match pairs, with the strictest that does. The loosest is tried first: it pairs most."""
        names = MATCHES[MATCHES.index(self._now.name) + 1 :]
        looser = [match for match in map(self._now.with_match, names) if _is_consistent(match)]
        loosely = list(self._joined(looser[-1])) if looser else []
        for match in looser[:-1] if loosely else ():
            self._try(match, match.name)
        for group in loosely:
            self._take(group, looser[-1].name, looser[-1].advice(self._now))

    def _by_hand(self) -> None:
        """Directories with similar names, if no source has both."""
        assert self.own is not None
        mine, have = text_of(self._name), set(_have(self.own))
        if mine is None or not _is_directory(self.own):
            return
        others = [group[0] for group in self._unmatched() if _is_directory(group) and have.isdisjoint(_have(group))]
        for other in nearest(self._name, others):
            theirs = text_of(other)
            if theirs is not None and likeness(spelled(mine), spelled(theirs)):
                hand = by_hand(self._path, [self._name, other], self._now)
                kept = (rule for rule in self._now.rules if rule not in hand.replaced)
                self._try(self._now._replace(rules=(*kept, hand.rule)), "same", hand.advice)

    def _try(self, match: Match, rule: str, advice: str = "") -> None:
        if _is_consistent(match):
            for group in self._joined(match):
                self._take(group, rule, advice or match.advice(self._now))

    def _take(self, group: Group, rule: str, advice: str) -> None:
        self._found.setdefault(group[0], Namesake(group[0], _have(group), rule, advice))

    def _unmatched(self) -> Iterator[Group]:
        """The groups that are not yet namesakes."""
        names = {group[0]: group for group in self._groups.values() if group is not self.own}
        yield from (group for name, group in names.items() if name not in self._found)

    def _paired(self, match: Match) -> Iterable[Group]:
        """The groups under a match, without its caches."""
        return pairing(*_settings(match))(self._inputs, self._path)

    def _joined(self, match: Match) -> Iterator[Group]:
        """The groups that a match pairs with that of the given name."""
        assert self.own is not None
        if match == self._now:
            return
        mine = set(_spellings(self.own))
        for group in self._paired(match):
            spellings = set(_spellings(group))
            if not mine.isdisjoint(spellings):
                yield from (self._groups[spelling] for spelling in spellings - mine)

    def _apart_rules(self, other: bytes) -> str:
        """The labels of the rules that separate two names."""
        key, _, rules = matchings(*_settings(self._now)).at(self._path)
        both = {key(self._name), key(other)}
        labels = [rule.label for rule in rules if not rule.is_same and both <= {key(name) for name in rule.names}]
        return " and ".join(labels) or "[[apart]]"


def _settings(match: Match) -> tuple[str, list[re.Pattern[str]], tuple[Rule, ...]]:
    return match.name, [compiled(text) for text in match.ignores], match.rules


def _is_consistent(match: Match) -> bool:
    """Whether the rules do not contradict each other under a match."""
    with suppress(ValueError):
        matchings(*_settings(match))
        return True
    return False


def _spellings(group: Group) -> Iterator[Spelling]:
    return ((rank, name) for rank, name in enumerate(names_of(group)) if name is not None)


def _have(group: Group) -> Ranks:
    return tuple(Rank(rank) for rank, entry in enumerate(group[1]) if entry is not None)


def _is_directory(group: Group) -> bool:
    return all(is_directory(entry) for entry in group[1] if entry is not None)


_BRACKETED = re.compile(r"\s*[\[({][^\[\](){}]*[\])}]\s*")


def _affix(one: bytes, other: bytes) -> str | None:
    """A pattern for the brackets by which one name is longer than the other, unless these may distinguish albums."""
    short, long = sorted((one, other), key=len)
    if not short or not long.startswith(short):
        return None
    tail = text_of(long[len(short) :])
    cut = Cut("", tail) if tail is not None and _BRACKETED.fullmatch(tail) else None
    return cut.pattern if cut is not None and not tells_apart(cut.affix) and can_be_ignored(cut) else None
