"""Namesakes: similar names that are not paired, and what would pair them, without a disk."""

import shlex
from collections.abc import Mapping

import pytest

from mmirrorfs.merge.settled import Rule
from mmirrorfs.plan.advice import Match
from mmirrorfs.plan.namesakes import Namesake, namesakes
from mmirrorfs.tree import Rank
from tests.support.scanned import scanned

EXACT = Match("exact")
LOW = (Rank(1),)


def alike(name: str, *made: Mapping[str, str], now: Match = EXACT, path: bytes = b"") -> list[Namesake]:
    return namesakes(tuple(scanned(rank, plan) for rank, plan in enumerate(made)), path, name.encode(), now)


@pytest.mark.parametrize(
    ("one", "other", "rule", "advice"),
    [
        ("Bjo\u0308rk", "Bj\u00f6rk", "nfc", "--match nfc"),
        ("bjork", "Bjork", "casefold", "--match casefold"),
        ("Moon", "Moon [FLAC]", "loose", "--match loose"),
        ("Beatles, The", "The Beatles", "loose", "--match loose"),
        ("Moon ", "Moon", "loose", "--match loose"),
        ("Moon", "Moon [my rip]", "ignore", "--ignore ' \\[my rip\\]$'"),
        ("Harbour Lights", "Harbor Lights", "same", '[[same]]\nnames = ["Harbour Lights", "Harbor Lights"]\nin = "/"'),
    ],
)
def test_namesake_has_the_least_that_would_pair_it(one: str, other: str, rule: str, advice: str) -> None:
    found = alike(one, {one: "dir"}, {other: "dir", "else": "dir"})
    assert found == [Namesake(other.encode(), LOW, rule, advice)]


def test_advice_includes_existing_patterns_and_the_directory() -> None:
    now = Match("loose", (" x$",))
    (found,) = alike("Moon", {"Moon": "dir"}, {"Moon {it's}": "dir"}, now=now)
    assert shlex.split(found.advice) == ["--ignore", " x$", "--ignore", r" \{it's\}$"]
    (found,) = alike("Harbour Lights", {"Harbour Lights": "dir"}, {"Harbor Lights": "dir"}, now=now, path=b"Lund/a")
    assert found.advice.endswith('in = "Lund/a"')


def test_namesake_separated_by_a_rule_has_its_label() -> None:
    apart = Rule("[[apart]] 1", False, (b"Moon", b"Moon (1967)"))
    elsewhere = Rule("[[apart]] 2", False, (b"x", b"X"), b"Lund")
    made = ({"Moon": "dir"}, {"moon (1967)": "dir"})
    assert alike("Moon", *made, now=Match("loose", (), (apart, elsewhere))) == [
        Namesake(b"moon (1967)", LOW, "apart", "[[apart]] 1")
    ]
    assert alike("Moon", *made, now=Match("exact", (), (apart,))) == []
    case = ({"x": "dir"}, {"X": "dir"})
    (found,) = alike("x", *case, now=Match("casefold", (), (elsewhere,)), path=b"Lund")
    assert (found.rule, found.advice) == ("apart", "[[apart]] 2")
    assert alike("x", *case, now=Match("casefold", (), (elsewhere,)), path=b"Oslo") == []


def test_advice_extends_an_existing_rule() -> None:
    same = Rule("[[same]] 1", True, (b"Harbour Lights", b"HL"))
    (found,) = alike(
        "Harbour Lights", {"Harbour Lights": "dir"}, {"Harbor Lights": "dir"}, now=Match("loose", (), (same,))
    )
    first, second = found.advice.splitlines()
    assert first == "[[same]]  # in place of [[same]] 1"
    assert second == 'names = ["Harbour Lights", "Harbor Lights", "HL"]'


def test_match_under_which_the_rules_contradict_each_other_is_no_advice() -> None:
    rules = (Rule("[[same]] 1", True, (b"a", b"b")), Rule("[[apart]] 1", False, (b"a!", b"b")))
    now = Match("exact", (), rules)
    assert alike("x", {"x": "dir"}, {"x!": "dir"}, now=now) == []
    assert alike("x", {"x": "dir"}, {"X": "dir"}, now=now) == [Namesake(b"X", LOW, "casefold", "--match casefold")]


@pytest.mark.parametrize(
    "made",
    [
        ({"Moon": "dir", "moon": "dir"}, {}),
        ({"Moon": "dir"}, {"Moon": "dir"}),
        ({"Moon": "dir"}, {"Moonlight": "dir", "Mo": "dir"}),
        ({"Moon": "dir"}, {"Moon (Live)": "dir", "Moon 2": "dir"}),
        ({"Moon": "dir"}, {"Mo\udcffn": "dir"}),
        ({"no": "dir"}, {"moon": "dir"}),
    ],
    ids=["one source", "paired", "another name", "another edition", "not UTF-8", "missing"],
)
def test_name_that_nothing_pairs_is_no_namesake(made: tuple[Mapping[str, str], ...]) -> None:
    assert alike("Moon", *made) == []


def test_names_of_one_source_are_no_namesakes() -> None:
    assert alike("Harbour Lights", {"Harbour Lights": "dir", "Harbor Lights": "dir"}, {}) == []


def test_name_that_is_not_utf_8_has_no_similar_namesake() -> None:
    inputs = (scanned(0, {"Harbour Lights\udcff": "dir"}), scanned(1, {"Harbor Lights\udcff": "dir"}))
    assert namesakes(inputs, b"", b"Harbour Lights\xff", EXACT) == []
