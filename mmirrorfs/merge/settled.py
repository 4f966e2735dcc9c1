"""Pairs settled by hand, on top of any match: names that are the same, and names that are to stay apart.

Rule 1: what is settled holds in the directory that it names, in any spelling that pairs with it, else in all of them.
Rule 2: names that are the same pair, and with each of them all that the match pairs with it.
Rule 3: names that are to stay apart are compared by the loosest match by which they differ, and so is what the match
would pair with them.

Pure: no I/O, no clock.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mmirrorfs.merge.loose import Title
from mmirrorfs.text import printable
from mmirrorfs.tree import Merged

Key = Callable[[bytes], object]
"""What two names must have in common to be paired."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Names that are the same, or apart, in one directory of the view, or in all (None). ``label`` is for messages."""

    label: str
    is_same: bool
    names: tuple[bytes, ...]
    where: bytes | None = None


class Matching(NamedTuple):
    """How the names in one directory are paired: by which key, which keys count as others, and the rules that hold."""

    key: Key
    same: Mapping[object, object] = {}
    rules: tuple[Rule, ...] = ()


class _Apart(NamedTuple):
    """The key of a name that is to stay apart: its key by one of the matches."""

    level: int
    key: object


class Matchings:
    """All rules. ``keys`` are those of the match and of all that are stricter, the loosest first, "exact" last.

    Raises ValueError where rules have a name in common, or contradict each other.
    """

    def __init__(self, keys: Sequence[Key], rules: Iterable[Rule] = ()) -> None:
        self._keys = keys
        self._there: dict[tuple[object, ...], list[tuple[tuple[object, ...], Rule]]] = {}
        self._everywhere = self._with([rule for rule in rules if rule.where is None])
        scoped = [(rule.where, rule) for rule in rules if rule.where is not None]
        for where, rule in scoped:
            place = self._place(where)
            self._there.setdefault(_bases(place), []).append((place, rule))
        _check(self._everywhere)
        for where in {where for where, _ in scoped}:
            _check(self.at(where))

    def at(self, path: bytes) -> Matching:
        """How names are paired in the directory of that path in the view."""
        if not self._there:
            return self._everywhere
        place = self._place(path)
        there = [rule for other, rule in self._there.get(_bases(place), ()) if all(map(_may_be_one, place, other))]
        return self._with([*self._everywhere.rules, *there]) if there else self._everywhere

    def unknown(self, index: Merged) -> Iterator[tuple[Rule, bytes]]:
        """Each name of a rule that no source has where the rule holds."""
        found: set[tuple[Rule, bytes]] = set()
        everywhere = _wanted(self._everywhere)
        queue = [(b"", index)]
        for path, merged in queue:
            matching = self.at(path)
            wanted = everywhere if matching is self._everywhere else _wanted(matching)
            for directory in merged.inputs if wanted else ():
                for name in directory.entries if directory is not None else ():
                    found.update(wanted.get(matching.key(name), ()))
            above = path + b"/" if path else b""
            queue += [(above + name, child) for name, child in merged.children.items() if isinstance(child, Merged)]
        there = [rule for some in self._there.values() for _, rule in some]
        for rule in (*self._everywhere.rules, *there):
            yield from ((rule, name) for name in rule.names if (rule, name) not in found)

    def _place(self, path: bytes) -> tuple[object, ...]:
        key, same, _ = self._everywhere
        return tuple([same.get(one, one) for one in map(key, path.split(b"/") if path else ())])

    def _with(self, rules: list[Rule]) -> Matching:
        levels: dict[int, set[object]] = {}
        for rule in rules:
            if not rule.is_same:
                level, keys = self._telling_apart(rule.names)
                levels.setdefault(level, set()).update(keys)
        stricter_first = [(level, self._keys[level], levels[level]) for level in sorted(levels, reverse=True)]

        def key(name: bytes) -> object:
            for level, own, keys in stricter_first:
                if (found := own(name)) in keys:
                    return _Apart(level, found)
            return self._keys[0](name)

        used = key if levels else self._keys[0]
        return Matching(used, one_for_each(map(used, rule.names) for rule in rules if rule.is_same), tuple(rules))

    def _telling_apart(self, names: tuple[bytes, ...]) -> tuple[int, set[object]]:
        found = ((level, set(map(key, names))) for level, key in enumerate(self._keys))
        return next((level, keys) for level, keys in found if len(keys) == len(names))


def one_for_each(groups: Iterable[Iterable[object]]) -> Mapping[object, object]:
    """For each of some keys that are the same the one that all of these are taken for."""
    together: dict[object, dict[object, None]] = {}
    for group in groups:
        keys = dict.fromkeys(key for own in group for key in together.get(own, (own,)))
        together.update(dict.fromkeys(keys, keys))
    return {key: next(iter(keys)) for key, keys in together.items()}


def _bases(place: tuple[object, ...]) -> tuple[object, ...]:
    return tuple([key.base if isinstance(key, Title) else key for key in place])


def _may_be_one(one: object, other: object) -> bool:
    """Whether two keys of one base may be those of one directory: an article or a year may be missing."""
    if not isinstance(one, Title) or not isinstance(other, Title):
        return True
    return all(a == b or not a or not b for a, b in zip(one, other, strict=True))


def _wanted(matching: Matching) -> dict[object, list[tuple[Rule, bytes]]]:
    wanted: dict[object, list[tuple[Rule, bytes]]] = {}
    for rule in matching.rules:
        for name in rule.names:
            wanted.setdefault(matching.key(name), []).append((rule, name))
    return wanted


def _check(matching: Matching) -> None:
    seen: dict[tuple[bool, bytes], Rule] = {}
    for rule in matching.rules:
        for name in rule.names:
            other = seen.setdefault((rule.is_same, name), rule)
            if other is not rule:
                raise ValueError(f"{rule.label}: {printable(name)} is in {other.label} too: make one of these two")
        if not rule.is_same:
            _check_apart(rule, matching)


def _check_apart(rule: Rule, matching: Matching) -> None:
    found: dict[object, bytes] = {}
    for name in rule.names:
        key = matching.key(name)
        other = found.setdefault(matching.same.get(key, key), name)
        if other != name:
            raise ValueError(f"{rule.label}: {printable(other)} and {printable(name)} are the same by a [[same]]")
