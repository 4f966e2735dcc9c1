"""[[same]] and [[apart]]: they hold under any match, and change nothing else."""

import re
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmirrorfs.merge.index import merge
from mmirrorfs.merge.names import MATCHES, collisions, keyed, matchings, pairing
from mmirrorfs.merge.settled import Matchings, Rule
from mmirrorfs.tree import Merged, Rank, Trees
from tests.support.scanned import Plan, scanned


def same(*names: str, where: str | None = None, number: int = 1) -> Rule:
    return _rule("same", names, where, number)


def apart(*names: str, where: str | None = None, number: int = 1) -> Rule:
    return _rule("apart", names, where, number)


def _rule(kind: str, names: Sequence[str], where: str | None, number: int) -> Rule:
    place = where.encode() if where is not None else None
    return Rule(f"[[{kind}]] {number}", kind == "same", tuple(map(str.encode, names)), place)


def _trees(*plans: Plan) -> Trees:
    return tuple(scanned(rank, plan) for rank, plan in enumerate(plans))


def _merged(match: str, rules: Sequence[Rule], *plans: Plan, ignore: str = "") -> Merged:
    ignores = [re.compile(ignore)] if ignore else []
    return merge(_trees(*plans), [Rank(rank) for rank in range(len(plans))], pairing(match, ignores, rules))


def _names(merged: Merged) -> list[str]:
    return sorted(name.decode() for name in merged.children)


def _folders(*names: str) -> Plan:
    return dict.fromkeys(names, "dir")


@pytest.mark.parametrize("match", MATCHES)
def test_same_pairs_names_under_any_match(match: str) -> None:
    rules = [same("The Fab Four", "Beatles")]
    assert _names(_merged(match, rules, _folders("Beatles"), _folders("The Fab Four"))) == ["Beatles"]
    assert _names(_merged(match, rules, _folders("The Fab Four"), _folders("Beatles"))) == ["The Fab Four"]


def test_same_includes_what_the_match_pairs_with_its_names() -> None:
    rules = [same("Fab Four", "Beatles")]
    plans = _folders("Beatles, The"), _folders("fab four [FLAC]"), _folders("Beatles"), _folders("Fab Four")
    assert _names(_merged("loose", rules, *plans)) == ["Beatles, The"]
    assert len(_names(_merged("casefold", rules, *plans))) == 3


def test_same_rules_whose_names_pair_are_united() -> None:
    rules = [same("a", "B"), same("b", "c", number=2)]
    assert _names(_merged("casefold", rules, _folders("a"), _folders("b"), _folders("c"))) == ["a"]
    assert _names(_merged("exact", rules, _folders("a"), _folders("b"), _folders("c"))) == ["a", "b"]


@pytest.mark.parametrize(
    ("match", "one", "other"),
    [
        ("nfc", "Björk", "Bjo\u0308rk"),
        ("casefold", "HIM", "Him"),
        ("loose", "HIM", "Him"),
        ("loose", "The Band", "Band"),
        ("loose", "Weezer", "[1994] Weezer"),
        ("loose", "Pink", "P.i.n.k"),
        ("loose", "Björk", "Bjo\u0308rk"),
    ],
)
def test_apart_separates_names_that_the_match_pairs(match: str, one: str, other: str) -> None:
    assert _names(_merged(match, [], _folders(one), _folders(other))) == [one]
    assert _names(_merged(match, [apart(one, other)], _folders(one), _folders(other))) == sorted([one, other])
    assert _names(_merged(match, [apart(other, one)], _folders(one), _folders(other), _folders(one, other))) == sorted(
        [one, other]
    )


def test_apart_keeps_other_spellings_with_their_name() -> None:
    rules = [apart("The Band", "Band")]
    assert _names(_merged("loose", rules, _folders("The Band", "Band"), _folders("BAND", "the band"))) == [
        "Band", "The Band",
    ]  # fmt: skip
    rules = [apart("Weezer", "Weezer [1994]")]
    plans = _folders("Weezer [1994]"), _folders("1994 - Weezer"), _folders("weezer")
    assert _names(_merged("loose", rules, *plans)) == ["Weezer [1994]", "weezer"]


def test_apart_rules_may_distinguish_by_different_matches() -> None:
    rules = [apart("HIM", "Him"), apart("him", "Other", number=2)]
    plans = _folders("HIM", "Other"), _folders("Him", "other"), _folders("him")
    assert _names(_merged("casefold", rules, *plans)) == ["HIM", "Him", "Other", "him"]


def test_apart_separates_names_that_ignore_pairs() -> None:
    plans = _folders("Two", "Two [FLAC]"), _folders("Two [FLAC]")
    assert _names(_merged("exact", [apart("Two", "Two [FLAC]")], *plans, ignore=r" \[FLAC\]$")) == ["Two", "Two [FLAC]"]
    trees = _trees(*plans)
    ignore = [re.compile(r" \[FLAC\]$")]
    assert list(collisions(trees, matchings("exact", ignore).at(b""))) == [(0, b"Two", b"Two [FLAC]")]
    assert list(collisions(trees, matchings("exact", ignore, [apart("Two", "Two [FLAC]")]).at(b""))) == []


def test_name_of_an_apart_can_be_in_a_same() -> None:
    rules = [apart("The Band", "Band"), same("Band", "La Banda")]
    plans = _folders("The Band", "Band"), _folders("La Banda")
    assert _names(_merged("loose", rules, *plans)) == ["Band", "The Band"]


@pytest.mark.parametrize("where", ["Artist", "ARTIST", "The Artist", "Someone"])
def test_rule_for_one_directory_applies_to_any_spelling_that_pairs(where: str) -> None:
    rules = [same("x", "y", where=where), same("Artist", "Someone", number=2)]
    one: Plan = {"Artist": _folders("x"), "Other": _folders("x"), "x": "dir"}
    other: Plan = {"Artist": _folders("y"), "Other": _folders("y"), "y": "dir"}
    merged = _merged("loose", rules, one, other)
    assert _names(merged) == ["Artist", "Other", "x", "y"]
    inner = {name: child for name, child in merged.children.items() if isinstance(child, Merged)}
    assert {name: sorted(child.children) for name, child in inner.items()} == {
        b"Artist": [b"x"],
        b"Other": [b"x", b"y"],
    }


def test_rule_for_one_directory_applies_at_that_level_only() -> None:
    one: Plan = {"x": "dir", "G": {"A": _folders("x"), "x": "dir"}}
    other: Plan = {"y": "dir", "G": {"A": _folders("y"), "y": "dir"}}

    def shown(where: str | None) -> list[list[str]]:
        top = _merged("exact", [same("x", "y", where=where)], one, other)
        middle = top.children[b"G"]
        assert isinstance(middle, Merged)
        low = middle.children[b"A"]
        assert isinstance(low, Merged)
        return [_names(top), _names(middle), _names(low)]

    assert shown(None) == [["G", "x"], ["A", "x"], ["x"]]
    assert shown("") == [["G", "x"], ["A", "x", "y"], ["x", "y"]]
    assert shown("G") == [["G", "x", "y"], ["A", "x"], ["x", "y"]]
    assert shown("G/A") == [["G", "x", "y"], ["A", "x", "y"], ["x"]]
    assert shown("G/B") == [["G", "x", "y"], ["A", "x", "y"], ["x", "y"]]


def test_rule_for_one_year_does_not_apply_to_another() -> None:
    plans: list[Plan] = [{"PG [1977]": _folders(x), "PG [1978]": _folders(x)} for x in ("x", "y")]
    merged = _merged("loose", [same("x", "y", where="1977 - PG")], *plans)
    assert [len(child.children) for _, child in sorted(merged.children.items()) if isinstance(child, Merged)] == [1, 2]


@pytest.mark.parametrize(
    ("match", "rules", "said"),
    [
        ("exact", [same("a", "b"), same("b", "c", number=2)], "[[same]] 2: b is in [[same]] 1 too: make one of"),
        ("exact", [apart("a", "b"), apart("c", "a", number=2)], "[[apart]] 2: a is in [[apart]] 1 too: make one of"),
        ("exact", [same("a", "b"), apart("a", "b")], "[[apart]] 1: a and b are the same by a [[same]]"),
        ("exact", [same("a", "b", "c"), apart("c", "d", "a")], "[[apart]] 1: c and a are the same by a [[same]]"),
        ("exact", [same("a", "b"), apart("a", "b", where="X")], "[[apart]] 1: a and b are the same by a [[same]]"),
        ("exact", [same("a", "b", where="X"), apart("a", "b")], "[[apart]] 1: a and b are the same by a [[same]]"),
        ("exact", [same("a", "b"), same("a", "c", where="X", number=2)], "[[same]] 2: a is in [[same]] 1 too"),
        ("loose", [same("a", "b", where="The X"), apart("a", "b", where="X")], "[[apart]] 1: a and b are the same"),
        ("casefold", [same("a", "x"), same("b", "X", number=2), apart("a", "b")], "[[apart]] 1: a and b are the same"),
        ("exact", [same("a\x1b", "b"), apart("a\x1b", "b")], r"[[apart]] 1: a\x1b and b are the same"),
    ],
)  # fmt: skip
def test_rules_that_contradict_each_other_are_refused(match: str, rules: list[Rule], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        pairing(match, [], rules)


def test_rules_of_different_directories_may_differ() -> None:
    pairing("exact", [], [same("a", "b", where="X"), apart("a", "b", where="Y"), same("a", "c", where="Z", number=2)])


def _unknown(match: str, rules: list[Rule], *plans: Plan) -> list[tuple[str, bytes]]:
    how: Matchings = matchings(match, [], rules)
    return [(rule.label, name) for rule, name in how.unknown(_merged(match, rules, *plans))]


def test_unknown_has_names_that_no_source_has_where_the_rule_applies() -> None:
    plans: list[Plan] = [{"A": _folders("x"), "B": _folders("y")}, {"A": _folders("X")}]
    assert _unknown("exact", [same("A", "C"), apart("x", "y")], *plans) == [("[[same]] 1", b"C")]
    assert _unknown("exact", [same("x", "X", where="A")], *plans) == []
    assert _unknown("exact", [same("x", "y", where="A")], *plans) == [("[[same]] 1", b"y")]
    assert _unknown("exact", [same("x", "y", where="D")], *plans) == [("[[same]] 1", b"x"), ("[[same]] 1", b"y")]
    assert _unknown("casefold", [same("a", "b", where="")], *plans) == []
    assert _unknown("casefold", [apart("x", "X")], *plans) == []


NAMES = ("a", "A", "The a", "[1969] a", "b", "B", "c", "Bjo\u0308rk", "Björk", "\udcff")
FLAT = st.lists(st.sampled_from(NAMES), max_size=5, unique=True)


@st.composite
def _rules(draw: st.DrawFn) -> list[Rule]:
    names, count = draw(st.permutations(NAMES[:-1])), draw(st.integers(1, 3))
    kinds = [draw(st.sampled_from([same, apart])) for _ in range(count)]
    return [kind(*names[2 * number : 2 * number + 2], number=number) for number, kind in enumerate(kinds)]


@given(st.lists(FLAT, min_size=2, max_size=4), _rules(), st.sampled_from(MATCHES), st.randoms())
def test_rules_hold_in_any_order_of_sources_and_hide_no_name(
    plans: list[list[str]], rules: list[Rule], match: str, random: Random
) -> None:
    try:
        matching = matchings(match, [], rules).at(b"")
    except ValueError:
        return
    order = random.sample(range(len(plans)), len(plans))
    classes, others = (
        [
            frozenset((number, name) for number, found in zip(ranks, keys, strict=True) for name in found.get(key, ()))
            for key in set().union(*keys)
        ]
        for ranks in (range(len(plans)), order)
        for keys in [keyed(_trees(*[_folders(*plans[number]) for number in ranks]), matching)]
    )
    everything = {(n, name.encode("utf-8", "surrogateescape")) for n, plan in enumerate(plans) for name in plan}
    assert sorted(pair for some in classes for pair in some) == sorted(everything)
    assert set(classes) == set(others)
    for rule in rules:
        found = [some for some in classes if {name for _, name in some} & set(rule.names)]
        having = {name for some in found for _, name in some} & set(rule.names)
        assert len(found) == 1 or not rule.is_same or not having
        assert len(found) == len(having) or rule.is_same
