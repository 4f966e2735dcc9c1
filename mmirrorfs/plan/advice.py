"""Ways to pair names, as options of a command line or as lines of a configuration file. Pure: no I/O, no clock."""

import shlex
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from mmirrorfs.merge.index import Pairing
from mmirrorfs.merge.names import MATCHES, compiled, matchings, pairing
from mmirrorfs.merge.settled import Matchings, Rule


class Match(NamedTuple):
    """A way to pair names: ``--match``, ``--ignore``, and the rules of the configuration file."""

    name: str
    ignores: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()

    @property
    def pairing(self) -> Pairing:
        """Its pairing. Raises ValueError if the rules contradict each other."""
        return _pairing(self)

    @property
    def matchings(self) -> Matchings:
        """The keys and rules of the pairing."""
        return _matchings(self)

    def with_ignores(self, patterns: Iterable[str]) -> "Match":
        """The same with more patterns."""
        return self._replace(ignores=tuple(dict.fromkeys((*self.ignores, *patterns))))

    def with_match(self, name: str) -> "Match":
        """The same with another ``--match``, if that pairs more."""
        return self._replace(name=max(self.name, name, key=MATCHES.index))

    def beside(self, other: "Match") -> "Match":
        """The same with the match and the patterns of another."""
        return self.with_match(other.name).with_ignores(other.ignores)

    def advice(self, now: "Match") -> str:
        """The options that change ``now`` to this; all patterns, because a command line replaces those of a file."""
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
    """A rule to write into a configuration file, and those that it replaces."""

    rule: Rule
    replaced: tuple[Rule, ...] = ()

    @property
    def advice(self) -> str:
        """The lines to write."""
        labels = ", ".join(rule.label for rule in self.replaced)
        lines = [f"[[same]]  # in place of {labels}" if labels else "[[same]]"]
        lines.append(f"names = [{', '.join(quoted(name.decode()) for name in self.rule.names)}]")
        if self.rule.where is not None:
            lines.append(f"in = {quoted(self.rule.where.decode() or '/')}")
        return "\n".join(lines)


def by_hand(place: bytes, names: Sequence[bytes], now: Match) -> ByHand:
    """The rule that pairs names in a directory, or everywhere if the path of that is not UTF-8.

    A name may be in one rule only, so existing rules that have any of the names are extended.
    """
    existing = now.matchings.at(place).rules if now.rules else ()
    replaced = tuple(rule for rule in existing if rule.is_same and not set(names).isdisjoint(rule.names))
    where: bytes | None = place if place.decode(errors="ignore").encode() == place else None
    if replaced:
        where = replaced[0].where
    united = dict.fromkeys(name for some in (names, *[rule.names for rule in replaced]) for name in some)
    return ByHand(Rule("", True, tuple(united), where), replaced)


def quoted(text: str) -> str:
    """A text as a TOML string, in printable characters."""
    return '"' + "".join(_QUOTED.get(char) or (char if char.isprintable() else _numbered(char)) for char in text) + '"'


_QUOTED = {'"': '\\"', "\\": "\\\\"}


def _numbered(char: str) -> str:
    point = ord(char)
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"
