"""Ways to pair names, and how a person has them: in the words of a command line, in the lines of a configuration file.

Pure: no I/O, no clock.
"""

import shlex
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from mmirrorfs.merge.index import Pairing
from mmirrorfs.merge.names import MATCHES, compiled, matchings, pairing
from mmirrorfs.merge.settled import Matchings, Rule


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


@lru_cache(4)
def _pairing(match: Match) -> Pairing:
    return pairing(match.name, [compiled(pattern) for pattern in match.ignores], match.rules)


@lru_cache(8)
def _matchings(match: Match) -> Matchings:
    return matchings(match.name, [compiled(pattern) for pattern in match.ignores], match.rules)


class ByHand(NamedTuple):
    """A rule that is to be written into a configuration file, and those that it takes the place of."""

    rule: Rule
    replaced: tuple[Rule, ...] = ()

    @property
    def advice(self) -> str:
        """The lines to write."""
        said = ", ".join(rule.label for rule in self.replaced)
        lines = [f"[[same]]  # in place of {said}" if said else "[[same]]"]
        lines.append(f"names = [{', '.join(quoted(name.decode()) for name in self.rule.names)}]")
        if self.rule.where is not None:
            lines.append(f"in = {quoted(self.rule.where.decode() or '/')}")
        return "\n".join(lines)


def by_hand(place: bytes, names: Sequence[bytes], now: Match) -> ByHand:
    """The rule that names are one; everywhere, where the place is no UTF-8.

    A name may be in one rule alone: one that has any of them already grows.
    """
    there = now.matchings.at(place).rules if now.rules else ()
    replaced = tuple(rule for rule in there if rule.is_same and not set(names).isdisjoint(rule.names))
    where: bytes | None = place if place.decode(errors="ignore").encode() == place else None
    if replaced:
        where = replaced[0].where
    together = dict.fromkeys(name for some in (names, *[rule.names for rule in replaced]) for name in some)
    return ByHand(Rule("", True, tuple(together), where), replaced)


def quoted(text: str) -> str:
    """A text in the quotes of TOML, in printable characters."""
    return '"' + "".join(_QUOTED.get(char) or (char if char.isprintable() else _numbered(char)) for char in text) + '"'


_QUOTED = {'"': '\\"', "\\": "\\\\"}


def _numbered(char: str) -> str:
    point = ord(char)
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"
