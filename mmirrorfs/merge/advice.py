"""What would pair two names: rules for pairing, tried on the very plan, in the words of a command line. Pure.

A rule is tried from the root down: what it pairs above decides what comes together below.
"""

import shlex
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from mmirrorfs.merge.index import Pairing
from mmirrorfs.merge.names import MATCHES, compiled, pairing
from mmirrorfs.merge.plan import Places
from mmirrorfs.tree import Directory, Entry, Trees


class Rule(NamedTuple):
    """``--match`` and ``--ignore``."""

    match: str
    ignores: tuple[str, ...]

    @property
    def pairing(self) -> Pairing:
        """How it pairs names."""
        return _pairing(self)

    def with_ignores(self, patterns: Iterable[str]) -> "Rule":
        """The same with more patterns."""
        return Rule(self.match, tuple(dict.fromkeys((*self.ignores, *patterns))))

    def with_match(self, match: str) -> "Rule":
        """The same with another match, where that pairs more."""
        return Rule(max(self.match, match, key=MATCHES.index), self.ignores)

    def beside(self, other: "Rule") -> "Rule":
        """A rule that has what either has."""
        return self.with_match(other.match).with_ignores(other.ignores)

    def advice(self, now: "Rule") -> str:
        """The words that make this the rule, where ``now`` is; all patterns, for a command line replaces a file's."""
        words = ["--match", self.match] if self.match != now.match else []
        if self.ignores != now.ignores:
            words += [word for pattern in self.ignores for word in ("--ignore", pattern)]
        return shlex.join(words)


@lru_cache(8)
def _pairing(rule: Rule) -> Pairing:
    return pairing(rule.match, [compiled(pattern) for pattern in rule.ignores])


class Trial:
    """One rule on one set of sources. Remembers what it was asked for."""

    def __init__(self, rule: Rule, trees: Trees) -> None:
        self._pairing = rule.pairing
        self._trees = trees
        self._known: dict[tuple[int, ...], dict[tuple[int, bytes], tuple[Entry | None, ...]]] = {}

    def pairs(self, spellings: Sequence[Places]) -> bool:
        """Whether directories, each given by its paths in the sources that have it, are one by this rule."""
        paths = [(rank, path.split(b"/")) for places in spellings for rank, path in enumerate(places) if path]
        inputs = self._trees
        for parts in zip(*[path for _, path in paths], strict=True):
            groups = self._groups(inputs)
            found = [groups.get((rank, part)) for (rank, _), part in zip(paths, parts, strict=True)]
            if found[0] is None or any(other is not found[0] for other in found):
                return False
            inputs = tuple([entry if isinstance(entry, Directory) else None for entry in found[0]])
        return True

    def _groups(self, inputs: Trees) -> dict[tuple[int, bytes], tuple[Entry | None, ...]]:
        """What each name of each source is paired to."""
        key = tuple(map(id, inputs))
        if key not in self._known:
            self._known[key] = {
                (rank, (own[rank] if own is not None else None) or name): entries
                for name, entries, own in self._pairing(inputs)
                for rank, entry in enumerate(entries)
                if entry is not None
            }
        return self._known[key]


def same(place: bytes, names: Iterable[bytes]) -> str:
    """The lines of a configuration file that say that names are one; everywhere, where the place is no UTF-8."""
    lines = ["[[same]]", f"names = [{', '.join(quoted(name.decode()) for name in names)}]"]
    where = place.decode(errors="ignore")
    return "\n".join([*lines, *([f"in = {quoted(where)}"] if where.encode() == place != b"" else [])])


def quoted(text: str) -> str:
    """A text in the quotes of TOML, in printable characters."""
    return '"' + "".join(_QUOTED.get(char) or (char if char.isprintable() else _numbered(char)) for char in text) + '"'


_QUOTED = {'"': '\\"', "\\": "\\\\"}


def _numbered(char: str) -> str:
    point = ord(char)
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"
