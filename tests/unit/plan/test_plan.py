"""The plan of ``--simulate``, without a disk: rows, totals and remarks."""

from mmirrorfs.merge.names import compiled, matchings, pairing
from mmirrorfs.plan.remarks import remarks
from mmirrorfs.plan.rows import Remark, in_several, rows, totals
from tests.support.scanned import Plan
from tests.support.scanned import scanned as tree


def remarks_on(*plans: Plan, names: str = "high low third") -> list[Remark]:
    """The remarks on these sources."""
    return remarks(tuple(tree(rank, plan) for rank, plan in enumerate(plans)), names.split())


def test_rows_are_in_byte_order_and_a_directory_precedes_its_entries() -> None:
    high: Plan = {"b": {"2": "dir", "1": "dir", "x": "file"}, "B": "file"}
    low: Plan = {"b": {"1": "dir", "3": "dir"}, "a": {"é": "dir"}}
    found = list(rows((tree(0, high), tree(1, low))))
    assert [row.path.decode() for row in found] == ["B", "a", "a/é", "b", "b/1", "b/2", "b/3", "b/x"]
    assert [(row.have, row.high, row.low) for row in found if row.path in (b"b", b"b/1", b"b/3")] == [
        ((0, 1), None, None),
        ((0, 1), 0, 1),
        ((1,), 1, 1),
    ]


def test_row_has_the_winners_of_both_orders() -> None:
    found = {row.path: row for row in rows(tuple(tree(n, {"x": "dir"} if n else {}) for n in range(4)))}
    assert (found[b"x"].have, found[b"x"].high, found[b"x"].low) == ((1, 2, 3), 1, 3)


def test_row_has_the_path_in_each_source() -> None:
    trees = (tree(0, {"Abba": {"Arrival": "dir"}}), tree(1, {"ABBA": {"arrival": "dir"}}), tree(2, {}))
    found = {row.path: row.places for row in rows(trees, pairing("casefold", []))}
    assert found == {b"Abba": (b"Abba", b"ABBA", None), b"Abba/Arrival": (b"Abba/Arrival", b"ABBA/arrival", None)}


def test_source_with_a_file_of_the_name_does_not_count_as_having_the_folder() -> None:
    trees = tuple(tree(rank, {"x": kind, "y": "dir"}) for rank, kind in enumerate(("file", "dir", "dir")))
    found = list(rows(trees[:2]))
    assert [row.have for row in found] == [(1,), (0, 1)]
    assert totals(found, ["high", "low"]) == {"folders": 2, "in both": 1, "only in high": 0, "only in low": 1}
    assert totals(rows(trees), ["a", "b", "c"])["in both"] == 2
    assert in_several(trees[:2], pairing("exact", [])) == 1


def test_source_with_a_file_of_the_name_is_no_input_of_a_merged_directory() -> None:
    trees = (tree(0, {"x": "file"}), tree(1, {"x": {"y": "dir"}}))
    found = list(rows(trees))
    assert [(row.path, row.have) for row in found] == [(b"x", (1,)), (b"x/y", (1,))]
    assert totals(found, ["high", "low"]) == {"folders": 1, "in both": 0, "only in high": 0, "only in low": 1}


def test_in_several_counts_folders_under_a_pairing() -> None:
    trees = (tree(0, {"Abba": {"Arrival": "dir", "Gold": "dir"}}), tree(1, {"ABBA": {"arrival": "dir"}}))
    assert [in_several(trees, pairing(match, [])) for match in ("exact", "casefold")] == [0, 1]
    assert totals(rows(trees, pairing("casefold", [])), ["high", "low"])["in both"] == 1


def test_directory_against_a_file_is_a_conflict() -> None:
    (remark,) = remarks_on({"x": "file"}, {"x": "dir"})
    assert (remark.about, remark.path) == ("conflict", b"x")
    assert remark.text == "a directory in low, a file in high: the directory is shown"


def test_links_and_unreadable_directories_are_remarked_with_their_source() -> None:
    trees = (tree(0, {}, links=(b"way",)), tree(1, {}, errno=13))
    assert [(r.about, r.path, r.text) for r in remarks(trees, ["high", "low"])] == [
        ("unreadable", b"", "cannot be listed in low"),
        ("link", b"way", "symbolic link in high, left out"),
    ]


def test_collision_within_one_source_is_remarked() -> None:
    ignore = [compiled(r" \[FLAC\]$")]
    trees = (tree(0, {"Album": "dir", "Album [FLAC]": "dir"}), tree(1, {"Album": "dir"}))
    found = remarks(trees, ["high", "low"], pairing("exact", ignore), matchings("exact", ignore))
    collision = next(remark for remark in found if remark.about == "collision")
    assert (collision.path, "in high: both are shown" in collision.text) == (b"Album [FLAC]", True)


def test_paired_names_are_one_row() -> None:
    trees = (tree(0, {"Björk": "dir"}), tree(1, {"björk": "dir"}))
    how = pairing("casefold", [])
    assert remarks(trees, ["high", "low"], how, matchings("casefold", [])) == []
    assert [(row.path.decode(), row.have) for row in rows(trees, how)] == [("Björk", (0, 1))]
