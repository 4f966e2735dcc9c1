"""What ``--simulate`` says, without a disk: rows for every entry, and remarks on what needs a person's eye."""

import pytest

from mmirrorfs.merge.names import compiled, matchings, pairing
from mmirrorfs.merge.plan import Remark, remarks, rows
from tests.support.scanned import Plan
from tests.support.scanned import scanned as tree


def told(*plans: Plan, names: str = "high low third") -> list[Remark]:
    """The remarks on these sources."""
    return remarks(tuple(tree(rank, plan) for rank, plan in enumerate(plans)), names.split())


def test_rows_are_in_byte_order_each_directory_before_what_is_in_it() -> None:
    high: Plan = {"b": {"2": "dir", "1": "dir", "x": "file"}, "B": "file"}
    low: Plan = {"b": {"1": "dir", "3": "dir"}, "a": {"é": "dir"}}
    found = list(rows((tree(0, high), tree(1, low))))
    assert [row.path.decode() for row in found] == ["B", "a", "a/é", "b", "b/1", "b/2", "b/3", "b/x"]
    assert [(row.have, row.high, row.low) for row in found if row.path in (b"b", b"b/1", b"b/3")] == [
        ((0, 1), None, None),
        ((0, 1), 0, 1),
        ((1,), 1, 1),
    ]


def test_a_row_tells_the_winner_of_both_orders_among_any_number_of_sources() -> None:
    found = {row.path: row for row in rows(tuple(tree(n, {"x": "dir"} if n else {}) for n in range(4)))}
    assert (found[b"x"].have, found[b"x"].high, found[b"x"].low) == ((1, 2, 3), 1, 3)


def test_a_directory_against_a_file_is_a_conflict() -> None:
    (remark,) = told({"x": "file"}, {"x": "dir"})
    assert (remark.about, remark.path) == ("conflict", b"x")
    assert remark.text == "a directory in low, a file in high: the directory is shown"


@pytest.mark.parametrize(
    ("one", "other", "what"),
    [
        ("Bjo\u0308rk", "Bj\u00f6rk", "Unicode normal form only (--match nfc pairs them)"),
        ("bjork", "Bjork", "case only (--match casefold pairs them)"),
        ("STRASSE", "Straße", "case only"),
        ("Album ", "Album", "outer blanks"),
        ("Album [FLAC]", "Album", "a bracketed suffix"),
        ("Album (Deluxe)", "album {V0}", "a bracketed suffix"),
    ],
)
def test_names_that_nearly_match_are_named(one: str, other: str, what: str) -> None:
    (remark,) = told({one: "dir"}, {other: "dir"})
    first, second = sorted((one.encode(), other.encode()))
    assert (remark.about, remark.path) == ("near miss", second)
    assert what in remark.text
    assert repr(first.decode()) in remark.text


@pytest.mark.parametrize(
    ("high", "low"),
    [({"Album": "dir", "album": "dir"}, {"Album": "dir", "album": "dir"}), ({"a": "dir"}, {"b": "dir"})],
    ids=["both have both", "nothing alike"],
)
def test_names_that_are_paired_or_unlike_are_not_near_misses(high: Plan, low: Plan) -> None:
    assert told(high, low) == []


def test_names_of_nothing_but_a_suffix_are_not_all_alike() -> None:
    assert told({"[one]": "dir"}, {"(two)": "dir"}) == []


def test_files_and_names_that_are_no_utf_8_are_no_near_misses() -> None:
    assert told({"a": "file", "\udcff": "dir"}, {"A": "file", "\udcff ": "dir"}) == []


def test_near_misses_are_found_at_every_level_and_told_with_their_paths() -> None:
    (remark,) = told({"x": {"Album": "dir"}}, {"x": {"album": "dir"}})
    assert remark.path == b"x/album"


def test_links_and_what_cannot_be_read_are_remarked_with_their_source() -> None:
    trees = (tree(0, {}, links=(b"way",)), tree(1, {}, errno=13))
    assert [(r.about, r.path, r.text) for r in remarks(trees, ["high", "low"])] == [
        ("unreadable", b"", "cannot be listed in low"),
        ("link", b"way", "symbolic link in high, left out"),
    ]


def test_names_that_a_pairing_brings_together_within_one_source_are_remarked() -> None:
    ignore = [compiled(r" \[FLAC\]$")]
    trees = (tree(0, {"Album": "dir", "Album [FLAC]": "dir"}), tree(1, {"Album": "dir"}))
    found = remarks(trees, ["high", "low"], pairing("exact", ignore), matchings("exact", ignore))
    collision = next(remark for remark in found if remark.about == "collision")
    assert (collision.path, "in high: both are shown" in collision.text) == (b"Album [FLAC]", True)


def test_what_a_pairing_pairs_is_no_near_miss_any_more() -> None:
    trees = (tree(0, {"Björk": "dir"}), tree(1, {"björk": "dir"}))
    how = pairing("casefold", [])
    assert remarks(trees, ["high", "low"], how, matchings("casefold", [])) == []
    assert [(row.path.decode(), row.have) for row in rows(trees, how)] == [("Björk", (0, 1))]
