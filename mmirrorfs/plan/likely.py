"""Candidates that are probably the same though no match pairs them: by affix, by spelling, by common entries.

Only names with something rare in common are compared (``_blocks``), so 100,000 names in one directory take seconds.
Pure: no I/O, no clock.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

from mmirrorfs.plan.affixes import LEAST, Cut, cuts, tells_apart
from mmirrorfs.plan.alike import Ratio, Spelling, likeness, related, spelled
from mmirrorfs.plan.candidates import Candidate, Cluster, Place, cluster

FEW = 50
"""Number of candidates up to which all pairs are compared."""
RARE = 16
"""Maximum number of candidates that share a rare feature."""
_COMMON_WORDS = """
greatesthits bestof thebestof live unplugged ep demo demos singles remixes collection thecollection
anthology gold essential theessential bsides rarities christmas untitled compilation compilations
soundtrack misc other various albums mp3 flac singlesandeps
"""
_COMMON = frozenset(_COMMON_WORDS.split())
"""Loose bases of titles that many artists have."""

Stems = tuple[tuple[int, Cut], tuple[int, Cut]]
"""Two candidates of a place, by position, whose stems are the same when cut like this."""
Marks = set[tuple[str, bool]]
"""Affixes, and whether they are prefixes."""


class Link(NamedTuple):
    """Two candidates of a place, by position, that may be the same: a score, and the reason (``Cluster``)."""

    score: float
    one: int
    other: int
    differs: tuple[str, ...]
    common: int = 0


def likely(level: Iterable[tuple[Place, Sequence[Candidate]]], ratio: Ratio) -> Iterator[Cluster]:
    """The candidates of some places that are probably the same."""
    several = [(place, names, list(_same_stems(names))) for place, names in level if len(names) > 1]
    marks = _marks([(names, stems) for _, names, stems in several])
    for place, names, stems in several:
        yield from _clusters(place, names, [*_by_affix(names, stems, marks), *_by_name(place, names, ratio)])


def _clusters(place: Place, names: Sequence[Candidate], links: Iterable[Link]) -> Iterator[Cluster]:
    """Unite links, the best first; a cluster has at most one candidate of each source."""
    groups: dict[int, list[int]] = {}
    reasons: dict[int, Link] = {}
    for link in sorted(links, key=lambda link: (-link.score, link.one, link.other)):
        first, second = groups.get(link.one, [link.one]), groups.get(link.other, [link.other])
        if first is not second and all(names[a].may_be(names[b]) for a in first for b in second):
            both = [*first, *second]
            reason = reasons.get(first[0]) or reasons.get(second[0]) or link
            groups |= dict.fromkeys(both, both)
            reasons |= dict.fromkeys(both, reason)
    for both in {id(group): group for group in groups.values()}.values():
        reason = reasons[both[0]]
        yield cluster(place, [names[position] for position in both], reason.differs, reason.common)


def _marks(level: Iterable[tuple[Sequence[Candidate], Sequence[Stems]]]) -> Marks:
    """Unknown affixes that many names have, and that do not distinguish albums (rule 3 of ``affixes``)."""
    united: Counter[tuple[str, bool]] = Counter()
    apart: Counter[tuple[str, bool]] = Counter()
    for names, stems in level:
        for (one, cut), (other, second) in stems:
            affixes = {(each.affix, each.in_front) for each in (cut, second) if each.affix}
            (united if names[one].may_be(names[other]) else apart).update(affixes)
    return {mark for mark, n in united.items() if n >= LEAST and apart[mark] * 10 <= n and not tells_apart(mark[0])}


def _same_stems(names: Sequence[Candidate]) -> Iterator[Stems]:
    """Pairs of candidates that differ only by affixes."""
    stems: dict[str, list[tuple[int, Cut]]] = defaultdict(list)
    for position, candidate in enumerate(names):
        for cut in cuts(candidate.text):
            stems[cut.stem].append((position, cut))
    for found in stems.values():
        if 1 < len(found) <= RARE:
            yield from ((a, b) for a, b in combinations(found, 2) if a[0] != b[0])


def _by_affix(names: Sequence[Candidate], stems: Iterable[Stems], marks: Marks) -> Iterator[Link]:
    for (one, cut), (other, second) in stems if marks else ():
        found = [each for each in dict.fromkeys((cut, second)) if each.affix]
        if names[one].may_be(names[other]) and all((each.affix, each.in_front) in marks for each in found):
            yield Link(3.0, one, other, tuple(each.kind for each in found))


def _by_name(place: Place, names: Sequence[Candidate], ratio: Ratio) -> Iterator[Link]:
    """Names that are similar, or that are related and have entries in common."""
    titles = [candidate.titles for candidate in names]
    shared = _shared(titles)
    above = spelled(place.path.rpartition(b"/")[2].decode(errors="replace")).read if place.path else ()
    spellings = [spelled(candidate.text) for candidate in names]
    rests = [_without(spelling.read, above) for spelling in spellings]
    for one, other in sorted({*_blocks(spellings, rests), *shared}):
        first, second, common = spellings[one], spellings[other], shared.get((one, other), 0)
        if not names[one].may_be(names[other]):
            continue
        if alike := likeness(first, second, ratio):
            yield Link(alike[0] + common, one, other, (alike[1],), common)
        elif rests[one] == rests[other] and first.read != second.read and not _years_differ(first, second):
            yield Link(0.97, one, other, ("the name of what they are in",))
        elif common:
            least = min(len(titles[one]), len(titles[other]))
            if (common > 1 and 2 * common >= least) or related(first, second, ratio):
                yield Link(common / least, one, other, (), common)


def _years_differ(one: Spelling, other: Spelling) -> bool:
    return bool(one.years and other.years) and one.years != other.years


def _without(read: tuple[str, ...], above: tuple[str, ...]) -> tuple[str, ...]:
    """The words of a name without those of its directory, as a prefix or a suffix."""
    count = len(above)
    if not count or len(read) <= count:
        return read
    if read[:count] == above:
        read = read[count:]
        return read[1:] if read[0] in ("the", "a", "an") and len(read) > 1 else read
    return read[:-count] if read[-count:] == above else read


def _shared(titles: Sequence[frozenset[str]]) -> dict[tuple[int, int], int]:
    """The number of rare entries that two candidates have in common."""
    having: dict[str, list[int]] = defaultdict(list)
    for position, found in enumerate(titles):
        for title in found:
            having[title].append(position)
    shared: Counter[tuple[int, int]] = Counter()
    for title, some in having.items():
        if 1 < len(some) <= RARE // 2 and len(title) > 2 and title not in _COMMON:
            shared.update(combinations(some, 2))
    return shared


def _blocks(spellings: Sequence[Spelling], rests: Sequence[tuple[str, ...]]) -> Iterator[tuple[int, int]]:
    """The pairs, by position, to compare: all of a few candidates, otherwise those with something rare in common.

    Names that differ by one letter share their first or second half; those of several words share a rare word, or all.
    """
    if len(spellings) <= FEW:
        yield from combinations(range(len(spellings)), 2)
        return
    frequency = Counter(word for spelling in spellings for word in set(spelling.read))
    blocks: dict[tuple[str, str], list[int]] = defaultdict(list)
    for position, spelling in enumerate(spellings):
        keys = {("words", " ".join(sorted(spelling.read))), ("words", " ".join(sorted(rests[position])))}
        for half in (len(spelling.base) // 2, (len(spelling.base) - 1) // 2):
            keys |= {("front", spelling.base[:half]), ("end", spelling.base[-half:])} if half > 1 else set()
        rare = sorted((word for word in set(spelling.read) if frequency[word] > 1), key=lambda w: (frequency[w], w))
        for key in keys | {("word", word) for word in rare[:2]}:
            blocks[key].append(position)
    for block in blocks.values():
        if 1 < len(block) <= RARE:
            yield from combinations(block, 2)
