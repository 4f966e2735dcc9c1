"""Near misses, without a disk: recall and precision, the names compared, and the advice."""

import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmirrorfs.merge.names import MATCHES, compiled
from mmirrorfs.merge.settled import Rule as Settled
from mmirrorfs.plan.advice import Match
from mmirrorfs.plan.alike import Ratio, base_of, ratio, slow_ratio
from mmirrorfs.plan.near import near_misses
from mmirrorfs.plan.rows import Group, Near, Places
from mmirrorfs.tree import Directory, Trees, join
from tests.support.name_pairs import APART, NAME_PAIRS, SAME, UNKNOWN, NamePair
from tests.support.scanned import Plan
from tests.support.scanned import scanned as tree

EXACT = Match("exact")
RATIOS = [pytest.param(ratio, id="as installed"), pytest.param(slow_ratio, id="standard library")]


def trees_of(*plans: Plan) -> Trees:
    return tuple(tree(rank, plan) for rank, plan in enumerate(plans))


def near(*plans: Plan, match: Match = EXACT) -> list[Near]:
    """The near misses of these sources."""
    return near_misses(trees_of(*plans), match)[0]


def groups(*plans: Plan) -> list[Group]:
    """The groups of near misses of these sources."""
    return near_misses(trees_of(*plans), EXACT)[1]


def named(misses: list[Near]) -> set[frozenset[str]]:
    """The names of near misses."""
    return {frozenset(name.decode() for name, _ in miss.names) for miss in misses}


def match_of(advice: str, now: Match = EXACT) -> Match:
    """The match that a command line gives, split as a shell does, instead of ``now``."""
    words = shlex.split(advice)
    options = list(zip(words[::2], words[1::2], strict=True))
    assert {name for name, _ in options} <= {"--match", "--ignore"}
    matches, ignores = ([value for name, value in options if name == wanted] for wanted in ("--match", "--ignore"))
    return Match((matches or [now.name])[-1], tuple(ignores) or now.ignores, now.rules)


# Recall and precision


def _found(pairs: list[NamePair], ratio: Ratio) -> list[NamePair]:
    """The pairs that are near misses, each in a directory of its own."""
    sides: tuple[Plan, Plan] = (
        {str(number): {pair.one: "dir"} for number, pair in enumerate(pairs)},
        {str(number): {pair.other: "dir"} for number, pair in enumerate(pairs)},
    )
    return [pairs[int(miss.place)] for miss in near_misses(trees_of(*sides), EXACT, ratio)[0]]


@pytest.mark.parametrize("ratio", RATIOS)
def test_recall_is_95_percent_and_precision_90_percent_on_real_names(ratio: Ratio) -> None:
    found = _found(NAME_PAIRS, ratio)
    right = [pair for pair in found if pair.verdict != "apart"]
    recall, precision = len(right) / len(SAME + UNKNOWN), len(right) / len(found)
    print(f"{recall:.1%} of {len(SAME + UNKNOWN)} named, {precision:.1%} of {len(found)} rightly so")
    assert recall >= 0.95
    assert precision >= 0.9


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("kind", ["artist", "album"])
def test_recall_and_precision_are_90_percent_with_all_names_in_one_directory(ratio: Ratio, kind: str) -> None:
    """Only the first two spellings of each name in the table, so that no third one can be mistaken for them."""
    taken, pairs = set[str](), list[NamePair]()
    for pair in SAME + UNKNOWN:
        bases = {base_of(pair.one), base_of(pair.other)}
        if pair.kind == kind and not bases & taken:
            pairs.append(pair)
        taken |= bases
    others = [pair for pair in APART if pair.kind == kind and not {base_of(pair.one), base_of(pair.other)} & taken]
    sides = [dict.fromkeys([getattr(pair, side) for pair in pairs + others], "dir") for side in ("one", "other")]
    found = named(near_misses(trees_of(*sides), EXACT, ratio)[0])
    right = [pair for pair in pairs if {pair.one, pair.other} in found]
    print(
        f"{len(right) / len(pairs):.1%} of {len(pairs)} named, {len(right) / len(found):.1%} of {len(found)} rightly so"
    )
    assert len(right) >= 0.9 * len(pairs)
    assert len(right) >= 0.9 * len(found)


TYPOS = [
    ("Siouxsie and the Banshees", "Siouxie and the Banshees"), ("Radiohead", "Radiohed"), ("Metallica", "Metalica"),
    ("Lynyrd Skynyrd", "Lynard Skynard"), ("Dinosaur Jr.", "Dinosaur Junior"), ("Nirvana", "Nirvanna"),
    ("Creedence Clearwater Revival", "Credence Clearwater Revival"), ("Igor Stravinsky", "Igor Strawinsky"),
    ("The Dark Side of the Moon", "Dark Side of Moon"), ("Saint Germain", "St. Germain"),
    ("Bowie, David", "David Bowie"),
    ("The Velvet Underground & Nico", "Velvet Undergound and Nico"), ("Sgt. Pepper", "Sergeant Pepper"),
    ("In the Court of the Crimson King", "In The Court Of Crimson King"), ("Philip Glass", "Phillip Glass"),
    ("Mulatu Astatke", "Mulatu Astatqe"), ("Sergei Rachmaninov", "Sergei Rachmaninoff"), ("Motörhead", "Motoerhead"),
    ("Einstürzende Neubauten", "Einstuerzende Neubauten"), ("Symphony No. 5", "Symphony Number 5"),
    ("Vol. II", "Volume 2"),
    ("Chopin - Nocturnes", "Nocturnes - Chopin"), ("Ummagumma", "Umagumma"), ("Physical Graffiti", "Physical Grafitti"),
]  # fmt: skip
UNLIKE = [
    ("Slayer", "Player"), ("Heart", "Hearts"), ("Queen", "Queens"), ("Symphony in C", "Symphony in D"), ("Low", "Love"),
    ("Songs in A Minor", "Songs in A Major"), ("String Quartet", "String Quintet"), ("Inside", "Outside"),
    ("Evolution", "Revolution"), ("The Fall", "The Wall"), ("Light", "Night"), ("Black", "Block"), ("Ride", "Rise"),
    ("Piano Sonata 14", "Piano Sonata 15"), ("Angels", "Angles"), ("Winter", "Winner"), ("Blue Train", "Blue Rain"),
    ("Disc One", "Disc Two"), ("North", "South"), ("Chapter IX", "Chapter XI"), ("1962-1966", "1962-1967"),
    ("Nick Cave", "Nick Cave & The Bad Seeds"), ("Kind of Blue", "Kind of Blue Note"), ("Airbag", "Airbag EP"),
    ("Sonata No. 2 Op. 35", "Sonata No. 35 Op. 2"),
]  # fmt: skip


@pytest.mark.parametrize("ratio", RATIOS)
def test_typing_errors_are_found_and_merely_similar_names_are_not(ratio: Ratio) -> None:
    pairs = [NamePair("same", "album", *names, "") for names in TYPOS]
    others = [NamePair("apart", "album", *names, "") for names in UNLIKE]
    found = _found(pairs + others, ratio)
    missed = [pair for pair in pairs if pair not in found]
    wrong = [pair for pair in found if pair.verdict == "apart"]
    assert len(missed) <= 0.1 * len(pairs), missed
    assert len(wrong) <= 0.1 * len(found), wrong


def test_difflib_is_used_without_rapidfuzz(tmp_path: Path) -> None:
    (tmp_path / "rapidfuzz.py").write_text("raise ImportError('hidden')\n")
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from mmirrorfs.plan import alike; "
    script += "print(alike.ratio is alike.slow_ratio)"
    assert subprocess.check_output([sys.executable, "-c", script], cwd=Path(__file__).parents[3]) == b"True\n"


# Which names are compared


@pytest.mark.parametrize(
    ("high", "low"),
    [({"Album": "dir", "album": "dir"}, {"Album": "dir", "album": "dir"}), ({"a": "dir"}, {"b": "dir"})],
    ids=["both have both", "nothing alike"],
)
def test_paired_or_dissimilar_names_are_no_near_miss(high: Plan, low: Plan) -> None:
    assert near(high, low) == []


def test_names_that_one_source_has_both_of_are_no_near_miss() -> None:
    assert near({"Album": "dir", "album": "dir"}, {"album": "dir"}) == []


def test_names_that_consist_of_a_suffix_are_no_near_miss() -> None:
    assert near({"[one]": "dir"}, {"(two)": "dir"}) == []


def test_files_and_names_that_are_not_utf_8_are_no_near_miss() -> None:
    assert near({"a": "file", "\udcff": "dir"}, {"A": "file", "\udcff ": "dir"}) == []


def test_near_miss_at_a_lower_level_has_its_directory() -> None:
    (miss,) = near({"x": {"Album": "dir"}}, {"x": {"album": "dir"}})
    assert miss.place == b"x"


def test_near_miss_is_found_below_a_name_that_is_not_utf_8() -> None:
    (miss,) = near({"\udcff": {"Siouxsie": "dir"}}, {"\udcff": {"Siouxsiee": "dir"}})
    assert (miss.place, miss.rule) == (b"\xff", "same")
    assert miss.advice == '[[same]]\nnames = ["Siouxsie", "Siouxsiee"]'


def test_three_spellings_of_three_sources_are_one_near_miss() -> None:
    (miss,) = near({"The Beatles": "dir"}, {"Beatles, The": "dir"}, {"beatles": "dir"})
    assert miss.names == ((b"The Beatles", (0,)), (b"Beatles, The", (1,)), (b"beatles", (2,)))


def test_name_of_two_sources_is_compared_with_that_of_the_third() -> None:
    (miss,) = near({"Abba": "dir"}, {"Abba": "dir"}, {"ABBA": "dir"})
    assert miss.names == ((b"Abba", (0, 1)), (b"ABBA", (2,)))


def test_artists_with_common_albums_are_a_near_miss() -> None:
    high: Plan = {"Чайковский": {"Swan Lake": "dir", "The Nutcracker": "dir", "1812": "dir"}}
    low: Plan = {"Tchaikovsky": {"Swan Lake (1877)": "dir", "Nutcracker": "dir"}, "Other": {"Swan Lake": "dir"}}
    misses = near(high, low)
    assert frozenset(("Чайковский", "Tchaikovsky")) in named(misses)
    assert "have 2 folders in common" in misses[0].reason
    assert misses[0].rule == "same"


@pytest.mark.parametrize("title", ["Greatest Hits", "Live", "Unplugged", "Best Of"])
def test_artists_with_only_a_common_title_are_no_near_miss(title: str) -> None:
    assert near({"Queen": {title: "dir", "Demos": "dir"}}, {"Abba": {title: "dir", "Demos": "dir"}}) == []


def test_artists_with_one_common_album_are_a_near_miss_only_if_names_are_related() -> None:
    high: Plan = {"Nick Cave": {"Murder Ballads": "dir"}, "Karajan": {"The Planets": "dir"}}
    low: Plan = {"Nick Cave & The Bad Seeds": {"Murder Ballads": "dir"}, "Holst": {"The Planets": "dir"}}
    assert named(near(high, low)) == {frozenset(("Nick Cave", "Nick Cave & The Bad Seeds"))}


def test_albums_of_near_miss_artists_are_compared_too() -> None:
    misses = near({"The Beatles": {"Help": "dir"}}, {"Beatles, The": {"HELP": "dir"}})
    assert [(miss.place, miss.advice) for miss in misses] == [(b"", "--match loose"), (b"The Beatles", "--match loose")]
    assert misses[1].reason == "differ by case, once 'The Beatles' and 'Beatles, The' are one"


def test_names_of_rules_are_no_near_miss() -> None:
    plans: list[Plan] = [{"Siouxsie": "dir", "Abba": "dir"}, {"Siouxie": "dir", "Arrival": "dir", "ABBA ": "dir"}]
    apart = Settled("", False, (b"Siouxsie", b"Siouxie"))
    assert named(near(*plans)) == {frozenset(("Siouxsie", "Siouxie")), frozenset(("Abba", "ABBA "))}
    assert named(near(*plans, match=Match("exact", (), (apart,)))) == {frozenset(("Abba", "ABBA "))}
    one = Settled("", True, (b"Siouxsie", b"Siouxie"))
    assert named(near(*plans, match=Match("exact", (), (one,)))) == {frozenset(("Abba", "ABBA "))}
    elsewhere = Settled("", False, (b"Siouxsie", b"Siouxie"), b"Rock")
    assert frozenset(("Siouxsie", "Siouxie")) in named(near(*plans, match=Match("exact", (), (elsewhere,))))


def test_artist_as_prefix_of_an_album_is_a_near_miss() -> None:
    (miss,) = near({"Pink Floyd": {"Pink Floyd - The Wall": "dir"}}, {"Pink Floyd": {"The Wall": "dir"}})
    assert (miss.rule, miss.advice) == ("ignore", "--ignore '^Pink Floyd - '")


# Advice


@pytest.mark.parametrize(
    ("one", "other", "reason", "advice"),
    [
        ("Bjo\u0308rk", "Björk", "Unicode form", "--match nfc"),
        ("bjork", "Bjork", "case", "--match casefold"),
        ("STRASSE", "Straße", "case", "--match casefold"),
        ("Album ", "Album", "blanks", "--match loose"),
        ("Björk", "Bjork", "accents or letter forms", "--match loose"),
        ("AC_DC", "AC-DC", "punctuation or blanks", "--match loose"),
        ("The Beatles", "Beatles, The", "the article", "--match loose"),
        ("[1969] Abbey Road", "Abbey Road (1969)", "the year", "--match loose"),
        ("Earth & Fire", "Earth and Fire", "'and' or '&'", "--match loose"),
        ("the album", "The Album [FLAC]", "case, marks in brackets", "--match loose"),
        (
            "Vol. 2",
            "Volume 2",
            "abbreviations, numerals or signs",
            '[[same]]\nnames = ["Vol. 2", "Volume 2"]\nin = "/"',
        ),
        (
            'A "B" C\\',
            'C\\ A "B"',
            "the order of words",
            '[[same]]\nnames = ["A \\"B\\" C\\\\", "C\\\\ A \\"B\\""]\nin = "/"',
        ),
    ],
)
def test_near_miss_has_the_reason_and_the_least_that_pairs_it(one: str, other: str, reason: str, advice: str) -> None:
    (miss,) = near({one: "dir"}, {other: "dir"})
    assert (miss.reason, miss.advice) == (f"differ by {reason}", advice)
    assert miss.rule == ("same" if "same" in advice else advice.split()[-1])


def test_near_misses_of_one_reason_are_one_group() -> None:
    names = [f"Album {letter}" for letter in "abcdefgh"]
    high: Plan = {"x": dict.fromkeys(names, "dir"), "y": dict.fromkeys(names, "dir")}
    low: Plan = {"x": {f"{name} [MP3]": "dir" for name in names}, "y": {f"[2019] {name}": "dir" for name in names}}
    assert groups(high, low) == [
        Group(8, "suffix ' [MP3]'", r"--ignore ' \[MP3\]$'"),
        Group(8, "year", "--match loose"),
    ]


def test_many_combinations_of_tags_are_grouped_without_trying_each() -> None:
    names = [f"{word} {letter}" for word in ("Harbour", "Quay", "Rope", "Ebb") for letter in "abcdefghij"]
    marks = [f" [rip{letter}]" for letter in "abcdefghij"]
    high = {name + marks[number % 10]: "dir" for number, name in enumerate(names)}
    low = {name + marks[number % 9]: "dir" for number, name in enumerate(names)}
    common = groups(high, low)
    assert sum(group.count for group in common) >= 0.8 * len(set(high) - set(low))
    assert all(miss.rule == "ignore" for miss in near(high, low))
    _check_advice(high, low)


def test_unknown_suffix_is_recognised_if_many_have_it_and_it_is_not_distinctive() -> None:
    names = ["Harbour", "Quay", "Lighthouse", "Ebb"]
    plain: Plan = dict.fromkeys(names, "dir")
    assert len(near(plain, {f"{name} (ripped by me)": "dir" for name in names})) == 4
    assert near(plain, {f"{name} (Live)": "dir" for name in names}) == []
    assert near(plain, {f"{name} (2)": "dir" for name in names}) == []
    assert near({"Harbour": "dir", "Quay": "dir"}, {"Harbour (odd)": "dir", "Quay (odd)": "dir"}) == []
    both = {**plain, **{f"{name} (odd)": "dir" for name in names}}
    assert near({**plain, "Pier": "dir"}, {**both, "Pier (odd)": "dir"}) == []


def test_advice_includes_existing_patterns() -> None:
    now = Match("casefold", (r" \[FLAC\]$",))
    names = ["Harbour", "Quay", "Lighthouse"]
    misses = near(dict.fromkeys(names, "dir"), {f"{name} (mine)": "dir" for name in names}, match=now)
    assert {miss.advice for miss in misses} == {r"--ignore ' \[FLAC\]$' --ignore ' \(mine\)$'"}


MARKS = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12)


@given(MARKS, st.sampled_from(["{} [{}]", "{} ({})", "{} - {}", "{}_{}", "({1}) {0}", "{1} - {0}"]))
def test_advised_options_pair_the_names_for_any_affix(mark: str, form: str) -> None:
    names = ["Harbour", "Quay", "the Lighthouse"]
    high: Plan = {"Tin": dict.fromkeys(names, "dir")}
    low: Plan = {"Tin": {form.format(name, mark): "dir" for name in names}}
    _check_advice(high, low)


WORDS = st.sampled_from(
    [
        "Abba",
        "ABBA",
        "Siouxsie",
        "Siouxie",
        "[FLAC]",
        "(V0)",
        "1999",
        "The",
        " ",
        "_",
        "-",
        ", The",
        "\u00e9",
        "e\u0301",
    ]
)
NAMES = st.lists(WORDS, min_size=1, max_size=4).map(" ".join)
PLANS = st.dictionaries(NAMES, st.dictionaries(NAMES, st.just("dir"), max_size=4), max_size=4)
MATCHINGS = st.builds(
    Match,
    st.sampled_from(MATCHES),
    st.sampled_from([(), (r" \[FLAC\]$",), ("^The ", r" \(V0\)$")]),
    st.sampled_from([(), (Settled("", True, (b"Abba", b"Arrival")),), (Settled("", False, (b"Abba", b"ABBA")),)]),
)


@given(st.lists(PLANS, min_size=2, max_size=3), MATCHINGS)
def test_advice_pairs_the_names_with_collisions_above_and_beside_them(plans: list[Plan], match: Match) -> None:
    _check_advice(*plans, now=match)


def _check_advice(*plans: Plan, now: Match = EXACT) -> None:
    """The advice of each near miss pairs its names, and that of a group as many as its count."""
    trees = trees_of(*plans)
    misses, common = near_misses(trees, now)
    for miss in misses:
        assert miss.advice.replace("\n", " ").isprintable()
        if miss.rule != "same":
            match = match_of(miss.advice, now)
            assert all(compiled(pattern) for pattern in match.ignores)
            assert _one_by(match, trees, miss)
    added = [_rule_of(miss.advice) for miss in misses if miss.rule == "same"]
    kept = [
        rule for rule in now.rules if not rule.is_same or not any(set(rule.names) & set(other.names) for other in added)
    ]
    for miss in misses:
        above = [match_of(other.advice, now) for other in misses if other.rule != "same" and other.place != miss.place]
        for match in (now, *above) if miss.rule == "same" else ():
            if _one_by(Match(match.name, match.ignores, (*kept, *added)), trees, miss):
                break
        else:
            assert miss.rule != "same", miss
    for group in common:
        advised = [miss for miss in misses if miss.advice == group.advice]
        assert len(advised) == group.count


def _rule_of(advice: str) -> Settled:
    """The rule in lines of a configuration file."""
    (table,) = tomllib.loads(advice)["same"]
    where = table["in"].strip("/").encode() if "in" in table else None
    return Settled(advice, True, tuple(name.encode() for name in table["names"]), where)


def _one_by(match: Match, trees: Trees, miss: Near) -> bool:
    """Whether the merge has the names in one entry."""
    wanted = {(rank, place) for places in miss.places for rank, place in enumerate(places) if place is not None}
    return any(wanted <= group for group in _merged(match, trees, b"", (b"",) * len(trees)))


def _merged(match: Match, inputs: Trees, path: bytes, above: Places) -> Iterator[set[tuple[int, bytes]]]:
    """The paths in the sources of each entry of the merge."""
    for name, entries, own in match.pairing(inputs, path):
        spelled = own or (name,) * len(entries)
        places = tuple(
            join(place, spelled[rank] or name) if place is not None and entries[rank] is not None else None
            for rank, place in enumerate(above)
        )
        yield {(rank, place) for rank, place in enumerate(places) if place is not None}
        directories = tuple(entry if isinstance(entry, Directory) else None for entry in entries)
        if any(directories):
            yield from _merged(match, directories, join(path, name), places)
