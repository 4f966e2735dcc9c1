"""The rules of a configuration file, on top of any ``--match``: [[same]] pairs names, [[apart]] separates them.

Rule 1: a rule applies to the directory that it gives, in any spelling that pairs with it, otherwise to all directories.
Rule 2: the names of a [[same]] are paired, and everything that the match pairs with any of them.
Rule 3: the names of an [[apart]], and everything that the match would pair with them, are compared by the loosest match
that distinguishes them.

Pure: no I/O, no clock.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mmirrorfs.merge.loose import Title
from mmirrorfs.text import printable
from mmirrorfs.tree import Merged

Key = Callable[[bytes], object]
"""The key function of a match: names of equal keys are paired."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One [[same]] or [[apart]], for one directory of the view or for all (None). ``label`` is for messages."""

    label: str
    is_same: bool
    names: tuple[bytes, ...]
    where: bytes | None = None


class Matching(NamedTuple):
    """How the names of one directory are paired: the key function, replaced keys, and the rules that apply."""

    key: Key
    same: Mapping[object, object] = {}
    rules: tuple[Rule, ...] = ()


class _Apart(NamedTuple):
    """The key of a name of an [[apart]]: its key by one of the matches."""

    level: int
    key: object


class Matchings:
    """All rules. ``keys`` are the key functions of the match and of all stricter ones, the loosest first.

    Raises ValueError if rules have a name in common, or contradict each other.
    """

    def __init__(self, keys: Sequence[Key], rules: Iterable[Rule] = ()) -> None:
        self._keys = keys
        self._scoped: dict[tuple[object, ...], list[tuple[tuple[object, ...], Rule]]] = {}
        self._everywhere = self._with([rule for rule in rules if rule.where is None])
        scoped = [(rule.where, rule) for rule in rules if rule.where is not None]
        for where, rule in scoped:
            place = self._place(where)
            self._scoped.setdefault(_bases(place), []).append((place, rule))
        _check(self._everywhere)
        for where in {where for where, _ in scoped}:
            _check(self.at(where))

    def at(self, path: bytes) -> Matching:
        """How names are paired in the directory at a path of the view."""
        if not self._scoped:
            return self._everywhere
        place = self._place(path)
        local = [rule for other, rule in self._scoped.get(_bases(place), ()) if all(map(_may_be_one, place, other))]
        return self._with([*self._everywhere.rules, *local]) if local else self._everywhere

    def unknown(self, index: Merged) -> Iterator[tuple[Rule, bytes]]:
        """Each name of a rule that no source has where the rule applies."""
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
        scoped = [rule for some in self._scoped.values() for _, rule in some]
        for rule in (*self._everywhere.rules, *scoped):
            yield from ((rule, name) for name in rule.names if (rule, name) not in found)

    def _place(self, path: bytes) -> tuple[object, ...]:
        key, same, _ = self._everywhere
        return tuple([same.get(one, one) for one in map(key, path.split(b"/") if path else ())])

    def _with(self, rules: list[Rule]) -> Matching:
        levels: dict[int, set[object]] = {}
        for rule in rules:
            if not rule.is_same:
                level, keys = self._distinguishing(rule.names)
                levels.setdefault(level, set()).update(keys)
        stricter_first = [(level, self._keys[level], levels[level]) for level in sorted(levels, reverse=True)]

        def key(name: bytes) -> object:
            for level, own, keys in stricter_first:
                if (found := own(name)) in keys:
                    return _Apart(level, found)
            return self._keys[0](name)

        used = key if levels else self._keys[0]
        return Matching(used, one_for_each(map(used, rule.names) for rule in rules if rule.is_same), tuple(rules))

    def _distinguishing(self, names: tuple[bytes, ...]) -> tuple[int, set[object]]:
        found = ((level, set(map(key, names))) for level, key in enumerate(self._keys))
        return next((level, keys) for level, keys in found if len(keys) == len(names))


def one_for_each(groups: Iterable[Iterable[object]]) -> Mapping[object, object]:
    """For each key the representative of its group; groups with a common key are united."""
    together: dict[object, dict[object, None]] = {}
    for group in groups:
        keys = dict.fromkeys(key for own in group for key in together.get(own, (own,)))
        together.update(dict.fromkeys(keys, keys))
    return {key: next(iter(keys)) for key, keys in together.items()}


def _bases(place: tuple[object, ...]) -> tuple[object, ...]:
    return tuple([key.base if isinstance(key, Title) else key for key in place])


def _may_be_one(one: object, other: object) -> bool:
    """Whether two keys of one base may be the same directory: an article or a year may be missing."""
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
