"""What would pair two names: rules for pairing, tried on the very plan, in the words of a command line. Pure.

A rule is tried from the root down: what it pairs above decides what comes together below.
"""

import shlex
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from mmirrorfs.merge.index import Group, Pairing
from mmirrorfs.merge.names import MATCHES, compiled, matchings, pairing
from mmirrorfs.merge.plan import Places, joined
from mmirrorfs.merge.settled import Matchings, Rule
from mmirrorfs.tree import Directory, Trees


class Match(NamedTuple):
    """How names are paired: ``--match``, ``--ignore`` and what is settled by hand."""

    name: str
    ignores: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()

    @property
    def pairing(self) -> Pairing:
        """How it pairs names. Raises ValueError where the rules contradict each other."""
        return _pairing(self)

    @property
    def matchings(self) -> Matchings:
        """What that goes by."""
        return _matchings(self)

    def with_ignores(self, patterns: Iterable[str]) -> "Match":
        """The same with more patterns."""
        return self._replace(ignores=tuple(dict.fromkeys((*self.ignores, *patterns))))

    def with_match(self, name: str) -> "Match":
        """The same with another ``--match``, where that pairs more."""
        return self._replace(name=max(self.name, name, key=MATCHES.index))

    def beside(self, other: "Match") -> "Match":
        """The same with what another has."""
        return self.with_match(other.name).with_ignores(other.ignores)

    def advice(self, now: "Match") -> str:
        """The words that make it this one, where it is ``now``; all patterns, for a command line replaces a file's."""
        words = ["--match", self.name] if self.name != now.name else []
        if self.ignores != now.ignores:
            words += [word for pattern in self.ignores for word in ("--ignore", pattern)]
        return shlex.join(words)


@lru_cache(8)
def _pairing(match: Match) -> Pairing:
    return pairing(match.name, [compiled(pattern) for pattern in match.ignores], match.rules)


@lru_cache(8)
def _matchings(match: Match) -> Matchings:
    return matchings(match.name, [compiled(pattern) for pattern in match.ignores], match.rules)


class Trial:
    """One way to pair names on one set of sources. Remembers what it was asked for."""

    def __init__(self, match: Match, trees: Trees) -> None:
        self._pairing = match.pairing
        self._trees = trees
        self._known: dict[tuple[bytes, tuple[int, ...]], dict[tuple[int, bytes], Group]] = {}

    def pairs(self, spellings: Sequence[Places]) -> bool:
        """Whether directories, each given by its paths in the sources that have it, are one by it."""
        paths = [(rank, path.split(b"/")) for places in spellings for rank, path in enumerate(places) if path]
        shown, inputs = b"", self._trees
        for parts in zip(*[path for _, path in paths], strict=True):
            groups = self._groups(shown, inputs)
            found = [groups.get((rank, part)) for (rank, _), part in zip(paths, parts, strict=True)]
            if found[0] is None or any(other is not found[0] for other in found):
                return False
            shown = joined(shown, found[0][0])
            inputs = tuple([entry if isinstance(entry, Directory) else None for entry in found[0][1]])
        return True

    def _groups(self, path: bytes, inputs: Trees) -> dict[tuple[int, bytes], Group]:
        """What each name of each source is paired to."""
        key = path, tuple(map(id, inputs))
        if key not in self._known:
            self._known[key] = {
                (rank, (group[2][rank] if group[2] is not None else None) or group[0]): group
                for group in self._pairing(inputs, path)
                for rank, entry in enumerate(group[1])
                if entry is not None
            }
        return self._known[key]


def same(place: bytes, names: Iterable[bytes], there: Iterable[Rule] = ()) -> str:
    """The lines of a configuration file that say that names are one; everywhere, where the place is no UTF-8.

    A name may be in one rule alone: of those that are ``there`` already they take the place of any that has one.
    """
    all_names = dict.fromkeys(names)
    lines = ["[[same]]"]
    for rule in there:
        if not all_names.keys().isdisjoint(rule.names):
            all_names |= dict.fromkeys(rule.names)
            lines[0] += f"  # in place of {rule.label}"
    lines.append(f"names = [{', '.join(quoted(name.decode()) for name in all_names)}]")
    where = place.decode(errors="ignore")
    return "\n".join([*lines, *([f"in = {quoted(where or '/')}"] if where.encode() == place else [])])


def quoted(text: str) -> str:
    """A text in the quotes of TOML, in printable characters."""
    return '"' + "".join(_QUOTED.get(char) or (char if char.isprintable() else _numbered(char)) for char in text) + '"'


_QUOTED = {'"': '\\"', "\\": "\\\\"}


def _numbered(char: str) -> str:
    point = ord(char)
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"
