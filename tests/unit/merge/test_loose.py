"""``--match loose``: a table of real names, and properties of any names."""

import itertools
import re
import unicodedata
from pathlib import Path
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mmirrorfs.merge.index import merge
from mmirrorfs.merge.loose import Title
from mmirrorfs.merge.names import key_of, keyed, pairing
from mmirrorfs.merge.settled import Matching
from mmirrorfs.tree import Rank, Trees
from tests.support.name_pairs import APART, SAME, UNKNOWN, NamePair
from tests.support.scanned import scanned

LOOSE = key_of("loose", [])


def _trees(*sources: list[str]) -> Trees:
    return tuple(scanned(rank, dict.fromkeys(names, "dir")) for rank, names in enumerate(sources))


def _paired(one: str, other: str) -> bool:
    found = keyed(_trees([one], [other]), Matching(LOOSE))
    return found[0].keys() == found[1].keys()


def _named(pair: NamePair) -> str:
    return f"{pair.one} | {pair.other}"


@pytest.mark.parametrize("pair", SAME, ids=_named)
def test_spellings_of_the_same_name_are_paired(pair: NamePair) -> None:
    assert _paired(pair.one, pair.other)
    assert _paired(pair.other, pair.one)


@pytest.mark.parametrize("pair", [*APART, *UNKNOWN], ids=_named)
def test_different_names_are_not_paired(pair: NamePair) -> None:
    assert not _paired(pair.one, pair.other)
    assert not _paired(pair.other, pair.one)


def _classes(sources: list[list[str]]) -> set[frozenset[tuple[int, bytes]]]:
    """The classes of paired names, as (rank, name)."""
    found = keyed(_trees(*sources), Matching(LOOSE))
    return {
        frozenset((rank, name) for rank, spelling in enumerate(found) for name in spelling.get(common, ()))
        for common in {common for spelling in found for common in spelling}
    }


@pytest.mark.parametrize(
    ("sources", "pairs"),
    [
        ((["Abbey Road"], ["[1969] Abbey Road"]), [(0, 1)]),
        ((["Peter Gabriel"], ["Peter Gabriel [1977]", "Peter Gabriel [1978]"]), []),
        ((["Peter Gabriel"], ["Peter Gabriel [1977]"], ["Peter Gabriel [1978]"]), []),
        ((["Peter Gabriel [1977]"], ["1977 - Peter Gabriel"], ["Peter Gabriel", "Peter Gabriel [1980]"]), [(0, 1)]),
        ((["Abbey Road"], ["Abbey Road (1969)"], ["1969 - Abbey Road"]), [(0, 1), (0, 2), (1, 2)]),
        ((["Abbey Road", "[1969] Abbey Road"], ["Abbey Road (1969)"]), [(0, 1)]),
        ((["Abbey Road", "[1969] Abbey Road"], ["Abbey Road"]), [(0, 1)]),
        ((["Beatles", "The Beatles"], ["Beatles, The"]), [(0, 1)]),
        ((["The Night"], ["A Night"], ["Night"]), []),
        ((["[1979] Wall"], ["The Wall"]), [(0, 1)]),
        ((["[1979] Wall"], ["The Wall [1980]"]), []),
        ((["[2003] Bells 2003", "[1973] Bells"], ["Bells", "Bells 2003"]), [(0, 1)] * 2),
        ((["Blade Runner (1982)", "Blade Runner 2049 (2017)"], ["Blade Runner", "Blade Runner 2049"]), [(0, 1)] * 2),
        ((["1969 Abbey Road", "Abbey Road"], ["[1969] Abbey Road"]), [(0, 1)]),
        ((["2049 - Blade Runner"], ["Blade Runner 2049"], ["Blade Runner"]), [(0, 1), (0, 2), (1, 2)]),
    ],
)  # fmt: skip
def test_missing_article_or_year_pairs_only_if_it_is_unambiguous(
    sources: tuple[list[str], ...], pairs: list[tuple[int, int]]
) -> None:
    for order in itertools.permutations(range(len(sources))):
        found = [
            tuple(sorted(order[rank] for rank, _ in some))
            for some in _classes([sources[number] for number in order])
            if len(some) > 1
        ]
        pairwise = [pair for some in found for pair in itertools.combinations(some, 2)]
        assert sorted(pairwise) == sorted(pairs)


PARTS = (
    "The ", "A ", ", The", ", Die", "1969", " - ", "[1969]", " (1980)", "[FLAC]", "Wall", "II", " ", "_", "!!!", "( )",
    "&", " + ", "Straße", "CD", "3", "10,000", "½", "…", "“", "[", ")", "24-96", "ё", "バ", "ﾊﾞ", "\u0301", "\udcff",
)  # fmt: skip
NAMES = st.one_of(
    st.text(max_size=12), st.builds("".join, st.lists(st.sampled_from(PARTS), min_size=1, max_size=6))
).filter(lambda name: name and not set("/\0") & set(name))
SOURCES = st.lists(st.lists(NAMES, max_size=6), min_size=1, max_size=4)


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


@given(SOURCES, st.randoms())
def test_pairing_is_independent_of_the_order_of_sources_and_names(sources: list[list[str]], random: Random) -> None:
    order = random.sample(range(len(sources)), len(sources))
    other = [random.sample(sources[number], len(sources[number])) for number in order]
    assert _classes(sources) == {frozenset((order[rank], name) for rank, name in some) for some in _classes(other)}


@given(SOURCES)
def test_every_name_is_in_one_class_and_the_merge_is_idempotent(sources: list[list[str]]) -> None:
    classes = [pair for some in _classes(sources) for pair in some]
    assert sorted(classes) == sorted({(rank, _bytes(name)) for rank, names in enumerate(sources) for name in names})
    ranks = [Rank(rank) for rank in range(len(sources))]
    shown = merge(_trees(*sources), ranks, pairing("loose", [])).children
    names = [name.decode("utf-8", "surrogateescape") for name in shown]
    assert merge(_trees(names, names), [Rank(0), Rank(1)], pairing("loose", [])).children.keys() == shown.keys()


@given(NAMES, st.sampled_from(["exact", "nfc", "casefold"]))
def test_loose_pairs_everything_that_a_stricter_match_pairs(name: str, match: str) -> None:
    key = key_of(match, [])
    for other in (name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD")), name.casefold(), name.upper()):
        if key(_bytes(other)) == key(_bytes(name)):
            assert LOOSE(_bytes(other)) == LOOSE(_bytes(name))


@given(NAMES)
def test_every_name_has_a_base(name: str) -> None:
    key = LOOSE(_bytes(name))
    assert key.base if isinstance(key, Title) else key


@given(st.lists(st.sampled_from(["blue", "Ärger", "the", "a", "la", "II", "C", "ヒカル", "ё"]), min_size=1, max_size=5))
def test_separators_between_words_do_not_count(words: list[str]) -> None:
    assert (
        len(
            {
                LOOSE(_bytes(between.join(words)))
                for between in (" ", "_", "-", ".", "  ", ": ", "\u2215", "\uff5e", "・")
            }
        )
        == 1
    )


@given(NAMES, st.sampled_from(["[FLAC]", "(V0)", "[24-96]", "{WEB}", "[320]", "【MP3】", "(CD FLAC)"]))
def test_bracketed_tag_of_format_or_source_does_not_count(name: str, mark: str) -> None:
    assume(not set("[](){}<>\udcff") & set(name) and LOOSE(_bytes(name)) != name and name[-1].isalnum())
    assert LOOSE(_bytes(f"{name} {mark}")) == LOOSE(_bytes(name)) == LOOSE(_bytes(f"{mark} {name}"))


def test_hostile_name_does_not_backtrack() -> None:
    """No time is measured: exponential backtracking would never end."""
    for unit in (
        "[",
        "[]",
        "[a",
        "24bit-96khz ",
        "(24bit-96khz-",
        "1969 - ",
        ", the",
        "+ ",
        "a#",
        "1,000",
        "!!! ",
        "é",
        "バ",
    ):
        name = (unit * 255).encode()[:255].decode(errors="ignore")
        for odd in (name, f"[{name}]"[:255], f"{name[:240]} [24bit-96khz"):
            LOOSE(odd.encode())


def _rows(heading: str) -> list[tuple[str, str]]:
    """The examples of a table in docs/matching.md."""
    text = (Path(__file__).parents[3] / "docs" / "matching.md").read_text()
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\|.*\| `(.+?)` \| `(.+?)` \|$", section, re.MULTILINE)


@pytest.mark.parametrize(("one", "other"), _rows("What `--match loose` pairs"))
def test_documented_pairs_are_paired(one: str, other: str) -> None:
    assert _paired(one, other)


@pytest.mark.parametrize(("one", "other"), _rows("What it keeps apart"))
def test_documented_different_names_are_not_paired(one: str, other: str) -> None:
    assert not _paired(one, other)


def test_documentation_has_examples() -> None:
    assert len(_rows("What `--match loose` pairs")) > 20
    assert len(_rows("What it keeps apart")) > 20
