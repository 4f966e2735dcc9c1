"""Near misses: directories of different sources that are not paired, but probably are the same.

They are found level by level: those that the loosest match would pair, then those that are similar (``likely``). The
next level includes the entries of near misses. Each gets the least advice that works (``trials``).

Rule 1: a name is in one near miss at most, which has one name of each source at most.
Rule 2: names that are not UTF-8 are not compared.
Rule 3: advice was tried on these very sources. If nothing pairs the names, they are no near miss.

Pure: no I/O, no clock.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from mmirrorfs.merge.names import MATCHES
from mmirrorfs.plan.advice import Match
from mmirrorfs.plan.alike import Ratio, ratio
from mmirrorfs.plan.candidates import Place, beneath, level, paired_by
from mmirrorfs.plan.likely import likely
from mmirrorfs.plan.rows import Group, Near
from mmirrorfs.plan.trials import Advised, Adviser
from mmirrorfs.tree import Trees


def near_misses(trees: Trees, now: Match, ratio: Ratio = ratio) -> tuple[list[Near], list[Group]]:
    """All near misses, sorted by directory and names, and groups of them; ``now`` is how names are paired."""
    loosely, adviser = now.with_match(MATCHES[-1]).pairing, Adviser(trees, now)
    places = [Place(b"", (b"",) * len(trees), trees)]
    found: list[Advised] = []
    while places:
        levels = [level(place, now) for place in places]
        clusters = [cluster for one in levels for cluster in paired_by(one, loosely)]
        taken = {member for cluster in clusters for member in cluster.members}
        left = [(one.place, [name for name in one.candidates if name not in taken]) for one in levels]
        clusters += likely(left, ratio)
        advised = adviser.advised(clusters)
        found += advised
        places = list(beneath([(one.cluster, one.match) for one in advised], levels))
    found.sort(key=lambda one: (one.cluster.place.path, [member.name for member in one.cluster.members]))
    return [_near(one, now) for one in found], list(_groups(found, now))


def _near(advised: Advised, now: Match) -> Near:
    cluster, _, match, hand = advised
    rule, advice = "ignore" if match.ignores != now.ignores else match.name, match.advice(now)
    return Near(
        place=cluster.place.path,
        names=tuple((member.name, member.have) for member in cluster.members),
        places=tuple(member.places for member in cluster.members),
        reason=cluster.reason,
        rule=rule if hand is None else "same",
        advice=advice if hand is None else hand.advice,
    )


def _groups(found: Iterable[Advised], now: Match) -> Iterator[Group]:
    """Near misses that one command line pairs, the largest group first."""
    groups: dict[Match, list[Advised]] = defaultdict(list)
    for one in found:
        if one.hand is None:
            groups[one.match].append(one)
    for match, some in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0].name, item[0].ignores)):
        if len(some) > 1:
            yield Group(len(some), _text(match, some, now), match.advice(now))


def _text(match: Match, some: Sequence[Advised], now: Match) -> str:
    """By what a group differs: the affixes that the advice ignores, otherwise the most frequent reasons."""
    kinds = Counter(kind for one in some for kind in one.cluster.differs)
    affixes = {cut.kind: None for one in some for cut in one.cuts if cut.pattern in match.ignores}
    words = [*affixes, *(["case"] if affixes and match.name != now.name else [])]
    return ", ".join(word.removeprefix("the ") for word in words or [kind for kind, _ in kinds.most_common(4)])
