"""Near misses: directories of different sources that are not paired, and probably are the same.

Level by level: what the loosest match would pair, and what is probably one all the same (``likely``). What is in them
is compared too, though no rule has paired them yet. Each is given the least advice that works (``advice``).

Rule 1: each name is in one near miss at most, and no source has two names of one.
Rule 2: a name that is no UTF-8 is compared with none.
Rule 3: what is advised for a command line was tried on these very sources.

Pure: no I/O, no clock.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from mmirrorfs.merge.advice import Match, Trial, same
from mmirrorfs.merge.affixes import Cut, can_be_ignored, common
from mmirrorfs.merge.alike import Ratio, ratio
from mmirrorfs.merge.candidates import Cluster, Place, beneath, level, paired_by
from mmirrorfs.merge.likely import likely
from mmirrorfs.merge.names import MATCHES
from mmirrorfs.merge.plan import Group, Near
from mmirrorfs.tree import Trees

MOST_PATTERNS = 12
"""How many affixes are tried as patterns, the most frequent ones of a level; each is a pairing of all that is there."""

Settled = tuple[Cluster, tuple[Cut, ...], Match | None]
"""A cluster, the affixes of its names, and the least rule that pairs it; None where only the file can."""


def near_misses(trees: Trees, now: Match, ratio: Ratio = ratio) -> tuple[list[Near], list[Group]]:
    """All of them, sorted by directory and names, and what many have in common; ``now`` is how names are paired."""
    loosely = now.with_match(MATCHES[-1]).pairing
    places = [Place(b"", (b"",) * len(trees), trees)]
    found: list[Settled] = []
    while places:
        looked = [level(place, now) for place in places]
        clusters = [cluster for one in looked for cluster in paired_by(one, loosely)]
        taken = {member for cluster in clusters for member in cluster.members}
        left = [(one.place, [name for name in one.candidates if name not in taken]) for one in looked]
        clusters += likely(left, ratio)
        settled = _settled(clusters, trees, now)
        found += settled
        places = list(beneath([(cluster, rule) for cluster, _, rule in settled], looked))
    found.sort(key=lambda one: (one[0].place.path, [member.name for member in one[0].members]))
    return [_near(one, now) for one in found], list(_groups(found, now))


def _near(settled: Settled, now: Match) -> Near:
    cluster, _, rule = settled
    place, names = cluster.place.path, tuple((member.name, member.have) for member in cluster.members)
    if rule is None:
        there = [rule for rule in now.matchings.at(place).rules if rule.is_same] if now.rules else []
        return Near(place, names, cluster.reason, "same", same(place, [name for name, _ in names], there))
    return Near(place, names, cluster.reason, _kind(rule, now), rule.advice(now))


def _kind(rule: Match, now: Match) -> str:
    return "ignore" if rule.ignores != now.ignores else rule.name


def _groups(found: Iterable[Settled], now: Match) -> Iterator[Group]:
    """What many have in common, the most frequent first."""
    groups: dict[Match, list[Settled]] = defaultdict(list)
    for one in found:
        if one[2] is not None:
            groups[one[2]].append(one)
    for rule, some in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        if len(some) > 1:
            yield Group(len(some), _text(rule, some, now), rule.advice(now))


def _text(rule: Match, some: Sequence[Settled], now: Match) -> str:
    """By what they differ: the affixes that the rule is about, else what is the most frequent."""
    kinds = Counter(kind for cluster, _, _ in some for kind in cluster.differs)
    affixes = {cut.kind: None for _, cuts, _ in some for cut in cuts if cut.pattern in rule.ignores}
    words = [*affixes, *(["case"] if affixes and rule.name != now.name else [])]
    return ", ".join(words or [kind for kind, _ in kinds.most_common(4)])


def _settled(clusters: Sequence[Cluster], trees: Trees, now: Match) -> list[Settled]:
    """The clusters of a level with the first of their rules that pairs them."""
    cuts = [_affixes(cluster) for cluster in clusters]
    counts = Counter(cut.pattern for some in cuts for cut in some)
    tried = {pattern for pattern, _ in counts.most_common(MOST_PATTERNS)}
    frequent = {pattern for pattern in tried if counts[pattern] > 1}
    wanted = [list(_rules(cluster, some, now, tried, frequent)) for cluster, some in zip(clusters, cuts, strict=True)]
    rules: list[Match | None] = [None] * len(clusters)
    for turn in range(max(map(len, wanted), default=0)):
        trials: dict[Match, list[int]] = defaultdict(list)
        for position, some in enumerate(wanted):
            if rules[position] is None and turn < len(some):
                trials[some[turn]].append(position)
        for rule, positions in trials.items():
            trial = Trial(rule, trees)
            for position in positions:
                if trial.pairs([member.places for member in clusters[position].members]):
                    rules[position] = rule
    return list(zip(clusters, cuts, rules, strict=True))


def _affixes(cluster: Cluster) -> tuple[Cut, ...]:
    found = common([member.text for member in cluster.members])
    return tuple(found) if all(map(can_be_ignored, found)) else ()


def _rules(cluster: Cluster, cuts: Sequence[Cut], now: Match, tried: set[str], frequent: set[str]) -> Iterator[Match]:
    """What may pair a cluster, from the least to the most."""
    patterns = [cut.pattern for cut in cuts]
    matches = [now.with_match(match) for match in MATCHES[MATCHES.index(now.name) :]]
    affixed = [rule.with_ignores(patterns) for rule in matches] if patterns and tried.issuperset(patterns) else []
    loosest = matches.pop() if matches[-1] != now else None
    rules = [rule for rule in matches if rule != now]
    rules += affixed[:1] if frequent.issuperset(patterns) else []
    rules += [rule for rule in (loosest, *affixed) if rule is not None]
    under = cluster.place.under
    combined = [rule.beside(under) for rule in (now, *rules)] if under is not None else []
    yield from dict.fromkeys([*rules, *combined])
