"""Finds the least that pairs near misses, by trying it on these very sources: options, or a rule of the configuration.

A match is tried from the root down, because what it pairs above decides which entries meet below. Pure.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mmirrorfs.merge.index import Group
from mmirrorfs.merge.names import MATCHES
from mmirrorfs.merge.settled import Rule
from mmirrorfs.plan.advice import ByHand, Match, by_hand
from mmirrorfs.plan.affixes import Cut, can_be_ignored, common
from mmirrorfs.plan.candidates import Cluster
from mmirrorfs.plan.rows import Places
from mmirrorfs.tree import Directory, Trees, join

MOST_PATTERNS, MOST_TRIALS = 32, 16
"""Maximum number of patterns, and of matches, tried at a level: each trial pairs the whole level."""


class Advised(NamedTuple):
    """A cluster, the affixes of its names, and the match that pairs it; ``hand`` if only a rule does."""

    cluster: Cluster
    cuts: tuple[Cut, ...]
    match: Match
    hand: ByHand | None = None


class Trial:
    """One way to pair names, on one set of sources. Caches the groups."""

    def __init__(self, match: Match, trees: Trees) -> None:
        self._pairing = match.pairing
        self._trees = trees
        self._cached: dict[tuple[bytes, tuple[int, ...]], dict[tuple[int, bytes], Group]] = {}

    def pairs(self, spellings: Sequence[Places]) -> bool:
        """Whether it pairs directories, each given by its paths in the sources."""
        paths = [(rank, path.split(b"/")) for places in spellings for rank, path in enumerate(places) if path]
        shown, inputs = b"", self._trees
        for parts in zip(*[path for _, path in paths], strict=True):
            groups = self._groups(shown, inputs)
            found = [groups.get((rank, part)) for (rank, _), part in zip(paths, parts, strict=True)]
            if found[0] is None or any(other is not found[0] for other in found):
                return False
            shown = join(shown, found[0][0])
            inputs = tuple([entry if isinstance(entry, Directory) else None for entry in found[0][1]])
        return True

    def _groups(self, path: bytes, inputs: Trees) -> dict[tuple[int, bytes], Group]:
        """The group of each name of each source."""
        key = path, tuple(map(id, inputs))
        if key not in self._cached:
            self._cached[key] = {
                (rank, (group[2][rank] if group[2] is not None else None) or group[0]): group
                for group in self._pairing(inputs, path)
                for rank, entry in enumerate(group[1])
                if entry is not None
            }
        return self._cached[key]


class Adviser:
    """Finds advice for near misses, level by level: rules advised above apply below."""

    def __init__(self, trees: Trees, now: Match) -> None:
        self._trees = trees
        self._now = now
        self._rules = now.rules

    def advised(self, clusters: Sequence[Cluster]) -> list[Advised]:
        """The clusters of a level that can be paired, each with the least that pairs it."""
        cuts = [_affixes(cluster) for cluster in clusters]
        counts = Counter(cut.pattern for some in cuts for cut in some)
        tried = {pattern: counts[pattern] > 1 for pattern, _ in counts.most_common(MOST_PATTERNS)}
        ways = [list(_matches(cluster, some, self._now, tried)) for cluster, some in zip(clusters, cuts, strict=True)]
        most = {match for match, _ in Counter(match for some in ways for match in some).most_common(MOST_TRIALS)}
        wanted = [[match for match in some if match in most] for some in ways]
        found: dict[int, Advised] = {}
        for turn in range(max(map(len, wanted), default=0)):
            trials: dict[Match, list[int]] = defaultdict(list)
            for position, some in enumerate(wanted):
                if position not in found and turn < len(some):
                    trials[some[turn]].append(position)
            for match, positions in trials.items():
                paired = self._paired(match, [clusters[position] for position in positions])
                found |= {n: Advised(clusters[n], cuts[n], match) for n in positions if clusters[n] in paired}
        left = [cluster for position, cluster in enumerate(clusters) if position not in found]
        return [*found.values(), *self._by_hand(left)]

    def _paired(self, match: Match, clusters: Sequence[Cluster]) -> set[Cluster]:
        trial = Trial(match, self._trees)
        return {cluster for cluster in clusters if trial.pairs([member.places for member in cluster.members])}

    def _by_hand(self, clusters: Sequence[Cluster]) -> Iterator[Advised]:
        """The clusters that a [[same]] of their names pairs; all such rules are tried together."""
        under: dict[Match, dict[Cluster, ByHand]] = defaultdict(dict)
        for cluster in clusters:
            hand = by_hand(cluster.place.path, [member.name for member in cluster.members], self._now)
            under[cluster.place.under or self._now][cluster] = hand
        for match, hands in under.items():
            self._rules = _consistent(match, self._rules, list(hands.values()))
            settled = match._replace(rules=self._rules)
            paired = self._paired(settled, list(hands))
            yield from (Advised(cluster, (), match, hand) for cluster, hand in hands.items() if cluster in paired)


def _consistent(match: Match, rules: tuple[Rule, ...], hands: Sequence[ByHand]) -> tuple[Rule, ...]:
    """The rules, and as many more as do not contradict them: all, except for very odd names."""
    replaced = {rule for hand in hands for rule in hand.replaced}
    more = (*[rule for rule in rules if rule not in replaced], *[hand.rule for hand in hands])
    try:
        _ = match._replace(rules=more).matchings
    except ValueError:
        half = len(hands) // 2
        return _consistent(match, _consistent(match, rules, hands[:half]), hands[half:]) if half else rules
    return more


def _affixes(cluster: Cluster) -> tuple[Cut, ...]:
    found = common([member.text for member in cluster.members])
    return tuple(found) if all(map(can_be_ignored, found)) else ()


def _matches(cluster: Cluster, cuts: Sequence[Cut], now: Match, tried: dict[str, bool]) -> Iterator[Match]:
    """The matches that may pair a cluster, the least first. ``tried``: whether a pattern is frequent."""
    patterns = [cut.pattern for cut in cuts]
    matches = [now.with_match(name) for name in MATCHES[MATCHES.index(now.name) :]]
    affixed = [match.with_ignores(patterns) for match in matches] if patterns and tried.keys() >= {*patterns} else []
    frequent = all(tried.get(pattern) for pattern in patterns)
    *stricter, loosest = matches
    every = [pattern for pattern, often in tried.items() if often]
    together = [now.with_ignores(every)] if len(patterns) > 1 and affixed and frequent else []
    found = [*stricter, *(affixed[:1] if frequent else []), *together, loosest, *affixed]
    under = cluster.place.under
    combined = [match.beside(under) for match in found] if under is not None else []
    yield from dict.fromkeys(match for match in (*found, *combined) if match != now)
