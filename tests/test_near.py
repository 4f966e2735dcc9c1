"""Near misses, without a disk: which names are held for one, and why."""

import pytest

from mmirrorfs.merge.names import pairing
from mmirrorfs.merge.near import near_misses
from mmirrorfs.merge.plan import Near
from tests.support.scanned import Plan
from tests.support.scanned import scanned as tree


def near(*plans: Plan) -> list[Near]:
    """The near misses of these sources, names paired exactly."""
    return near_misses(tuple(tree(rank, plan) for rank, plan in enumerate(plans)), pairing("exact", []))


@pytest.mark.parametrize(
    ("one", "other", "rule"),
    [("Bjo\u0308rk", "Bj\u00f6rk", "nfc"), ("bjork", "Bjork", "casefold"), ("STRASSE", "Straße", "casefold")],
)
def test_names_that_nearly_match_are_named(one: str, other: str, rule: str) -> None:
    (miss,) = near({one: "dir"}, {other: "dir"})
    assert miss.names == ((one.encode(), (0,)), (other.encode(), (1,)))
    assert (miss.place, miss.rule) == (b"", rule)


@pytest.mark.parametrize(
    ("high", "low"),
    [({"Album": "dir", "album": "dir"}, {"Album": "dir", "album": "dir"}), ({"a": "dir"}, {"b": "dir"})],
    ids=["both have both", "nothing alike"],
)
def test_names_that_are_paired_or_unlike_are_not_near_misses(high: Plan, low: Plan) -> None:
    assert near(high, low) == []


def test_names_of_nothing_but_a_suffix_are_not_all_alike() -> None:
    assert near({"[one]": "dir"}, {"(two)": "dir"}) == []


def test_files_and_names_that_are_no_utf_8_are_no_near_misses() -> None:
    assert near({"a": "file", "\udcff": "dir"}, {"A": "file", "\udcff ": "dir"}) == []


def test_near_misses_are_found_at_every_level_and_told_with_their_places() -> None:
    (miss,) = near({"x": {"Album": "dir"}}, {"x": {"album": "dir"}})
    assert miss.place == b"x"
