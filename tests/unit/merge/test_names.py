"""Pairing of names: no name is hidden, all orders have the same names, and no pattern hangs."""

import itertools
import re
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmirrorfs.merge.index import merge
from mmirrorfs.merge.names import MATCHES, collisions, compiled, key_of, keyed, pairing
from mmirrorfs.merge.settled import Matching
from mmirrorfs.tree import Leaf, Merged, Rank, Trees
from tests.support.scanned import Plan, scanned

IGNORES = ((), (r" \[(FLAC|MP3|V0|320)\]$",), (r"^The ", r"\s+$"))

STEMS = (
    "Björk",
    "Bjo\u0308rk",
    "BJÖRK",
    "Straße",
    "STRASSE",
    "a",
    "A",
    "ﬁn",
    "FIN",
    "\udcff",
    "\udcfe",
    "The ",
    "İ",
    "i̇",
)
NAMES = st.builds(
    "{}{}{}".format,
    st.sampled_from(("", "The ")),
    st.sampled_from(STEMS),
    st.sampled_from(("", " ", " [FLAC]", " [V0]")),
)
KINDS = st.sampled_from(("dir", "dir", "file"))
FLAT = st.dictionaries(NAMES, KINDS, max_size=6)
PLANS = st.lists(FLAT, min_size=2, max_size=4)


def _trees(plans: list[dict[str, str]]) -> Trees:
    return tuple(scanned(rank, plan) for rank, plan in enumerate(plans))


def _merged(trees: Trees, match: str, ignore: tuple[str, ...], order: tuple[int, ...] | None = None) -> Merged:
    ranks = [Rank(rank) for rank in order or range(len(trees))]
    return merge(trees, ranks, pairing(match, [re.compile(pattern) for pattern in ignore]))


def _own(name: bytes, leaf: Leaf) -> bytes:
    """The winner's spelling of a name of the view."""
    return leaf.name if leaf.name is not None else name


@given(PLANS, st.sampled_from(MATCHES), st.sampled_from(IGNORES))
def test_no_name_is_hidden_by_another_of_the_same_key(
    plans: list[dict[str, str]], match: str, ignore: tuple[str, ...]
) -> None:
    for rank, plan in enumerate(plans):
        others = [other for other in range(len(plans)) if other != rank]
        view = _merged(_trees(plans), match, ignore, (rank, *others))
        leaves = {name: child for name, child in view.children.items() if isinstance(child, Leaf)}
        shown = [_own(name, leaf) for name, leaf in leaves.items() if leaf.source == rank]
        folders = [name.encode("utf-8", "surrogateescape") for name, kind in plan.items() if kind == "dir"]
        assert len(shown) == len(set(shown))
        assert set(folders) <= set(shown)


@given(PLANS, st.sampled_from(MATCHES), st.sampled_from(IGNORES))
def test_every_order_has_the_same_names(plans: list[dict[str, str]], match: str, ignore: tuple[str, ...]) -> None:
    trees = _trees(plans)
    seen = {
        frozenset(_merged(trees, match, ignore, order).children) for order in itertools.permutations(range(len(plans)))
    }
    assert len(seen) == 1


@given(PLANS, st.sampled_from(MATCHES), st.sampled_from(IGNORES))
def test_spelling_shown_is_that_of_the_highest_source(
    plans: list[dict[str, str]], match: str, ignore: tuple[str, ...]
) -> None:
    trees = _trees(plans)
    spellings = keyed(trees, Matching(key_of(match, [re.compile(pattern) for pattern in ignore])))
    shown = set(_merged(trees, match, ignore).children)
    for common in {one for spelling in spellings for one in spelling}:
        having = [spelling[common] for spelling in spellings if common in spelling]
        assert any(name in shown for name in having[0])
        if all(len(names) == 1 for names in having):
            assert {name for names in having for name in names} & shown == set(having[0])


@given(PLANS, st.sampled_from(IGNORES))
def test_name_that_is_not_utf_8_is_matched_by_its_bytes(plans: list[dict[str, str]], ignore: tuple[str, ...]) -> None:
    odd = [{name: kind for name, kind in plan.items() if "\udcff" in name or "\udcfe" in name} for plan in plans]
    trees = _trees(odd)
    assert set(_merged(trees, "casefold", ignore).children) == set(_merged(trees, "exact", ()).children)


@given(PLANS)
def test_exact_pairing_with_a_pattern_equals_the_merge_without_pairing(plans: list[dict[str, str]]) -> None:
    trees = _trees(plans)
    assert dict(_merged(trees, "exact", ()).children) == dict(_merged(trees, "exact", ("never there",)).children)


@pytest.mark.parametrize(
    ("match", "one", "other", "paired"),
    [
        ("exact", "Bjo\u0308rk", "Björk", False),
        ("nfc", "Bjo\u0308rk", "Björk", True),
        ("nfc", "björk", "Björk", False),
        ("casefold", "BJO\u0308RK", "björk", True),
        ("casefold", "STRASSE", "Straße", True),
        ("casefold", "ﬁn", "fin", True),
        ("casefold", "a", "b", False),
    ],
)
def test_match_decides_which_names_are_paired(match: str, one: str, other: str, paired: bool) -> None:
    view = _merged(_trees([{one: "dir"}, {other: "dir"}]), match, ())
    assert sorted(view.children) == sorted({one.encode(), one.encode() if paired else other.encode()})


def test_name_that_ignore_would_make_empty_is_matched_exactly() -> None:
    trees = _trees([{" [FLAC]": "dir"}, {" [MP3]": "dir"}])
    assert sorted(_merged(trees, "exact", IGNORES[1]).children) == [b" [FLAC]", b" [MP3]"]


def test_paired_directory_keeps_the_spelling_of_each_source() -> None:
    high: Plan = {"Björk": {"Debut": "dir"}}
    low: Plan = {unicodedata.normalize("NFD", "Björk"): {"debut [MP3]": "dir", "Post": "dir"}}
    trees = (scanned(0, high), scanned(1, low))
    view = merge(trees, [Rank(1), Rank(0)], pairing("casefold", [compiled(IGNORES[1][0])]))
    artist = view.children["Björk".encode()]
    assert isinstance(artist, Merged)
    assert artist.names == ("Björk".encode(), unicodedata.normalize("NFD", "Björk").encode())
    assert set(artist.children) == {b"Debut", b"Post"}
    assert artist.children[b"Debut"] == Leaf(Rank(1), artist.children[b"Debut"].kind, b"debut [MP3]")  # type: ignore[union-attr]


def test_collisions_have_names_of_one_source_with_the_same_key() -> None:
    trees = (scanned(0, {"a": "dir", "A": "dir", "b": "dir"}), scanned(1, {"a": "dir"}))
    assert list(collisions(trees, Matching(key_of("casefold", [])))) == [(0, b"A", b"a")]


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+$", r"(a*)*b", r"(a|a)*b", r"((a+))+b", r"(a|aa)+$", r"(a?){30}b", r"(?:a?){50}a{50}", r"(a{1,9}){9}b",
        r".*.*.*x", r".*.*.*.*x", r".+?.+?.+?x", r".{0,200}.{0,200}.{0,200}x", r".{,200}.{9,}.*x", "a?" * 19 + "b",
        "(a|a)" * 19 + "b", r"(a+)\1", r"(?P<x>a)(?P=x)", r"(?P<x>a)", r"(x)?(?(1)a|b)", r"((a|b*)c)*d", r"(?<=a)bb",
        r"(?:(?:a+)?b?)+c", r"(?=(a+)+b)x", r"(?=a)b", r"(?<=a)b", r"(?<!a)b", r"(?>a+)+b", r"(?x)a", r"(?i:a)",
        r"(a)++", r"[]*]*[^]a]*(.)+b", r"\\(a+)+", r"[\]]*(a|b)*c", r".*.*(" + "|" * 16 + "x)",
        r".*.*((a|b|c)|(d|e)(f|g|h))x", "(a){2}b",
    ],
)  # fmt: skip
def test_pattern_that_may_backtrack_too_long_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="may take for ever"):
        compiled(pattern)


def test_pattern_of_more_than_200_characters_is_refused() -> None:
    compiled("x" * 200)
    with pytest.raises(ValueError, match="more than 200 characters"):
        compiled("x" * 201)


@pytest.mark.parametrize("pattern", ["", "x*", "x?", "(a|)", "^", "$", "(?i)"])
def test_pattern_that_matches_the_empty_string_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="matches nothing at all"):
        compiled(pattern)


@pytest.mark.parametrize("pattern", ["(", "[", "*", "a{99999999999}", "(?z)"])
def test_malformed_pattern_is_refused_with_the_reason(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        compiled(pattern)


ORDINARY = [
    r" \[(FLAC|MP3|V0|320)\]$", r"\s*\([^)]*\)$", r"\s*[\[({][^\[\](){}]*[\])}]$", r"^the ", r"[+*]{2}x+", r"\d{4} - ",
    r"( \[(FLAC|MP3)\])?x$", r"[\W_]+$", r"(?i)\s+remaster(?:ed)?$", r"[ab]+c", r"\s+$", r"[[(]x*[]]", r"\*+\(\?=x\)*",
    r"(?i) ?\[(flac|alac|ape|mp3|aac|ogg|opus|v0|v2|320|256|192|web|cd|vinyl|24-96|24-192|24-48|16-44|dsd)\] *$",
]  # fmt: skip
WORST = [
    r".*.*x", r".+?.+?x", r".*.*(.|.|.|.|.|.|.|.|.|.|.|.|.|.|.|.)x", "a?" * 18 + "b", "(a|a)" * 18 + "b",
    r"(.|..)?.*.*(.?.|.)x",
    r".{0,255}.{,255}x", r"[^x]*[^x]*[xy]z", r".*.*" + "." * 190 + "x",
]  # fmt: skip


def test_accepted_pattern_terminates_on_the_longest_names() -> None:
    """In a process that can be killed, because a pattern cannot be interrupted. No time is measured."""
    names = [(unit * 255)[:255] for unit in ("a", "xy", " [FLAC]")]
    program = "import re, sys; [re.sub(pattern, '', name) for name in sys.argv[1:4] for pattern in sys.argv[4:]]"
    for pattern in [*ORDINARY, *WORST]:
        compiled(pattern)
    words = [sys.executable, "-W", "ignore", "-c", program, *names, *ORDINARY, *WORST]
    subprocess.run(words, check=True, timeout=300)
