"""The merge as tables: the worked example, the rules, times, changes. ``test_merge_model`` has properties."""

import pytest

from mmirrorfs.attributes import DIR, FILE
from mmirrorfs.merge.index import Change, Group, changes, merge, times
from mmirrorfs.merge.names import pairing
from mmirrorfs.tree import Directory, Leaf, Merged, Rank, Trees
from tests.support.merging import FIFO, Plan, directory, flat, ranks, trees


def shown(merged: Merged) -> str:
    """An index as a line: each name followed by its rank or its children."""
    parts = []
    for name, child in sorted(merged.children.items()):
        inner = (
            f"({shown(child)})" if isinstance(child, Merged) else f"{'/' if child.kind == DIR else ''}{child.source}"
        )
        parts.append(name.decode() + inner)
    return " ".join(parts)


LOW: Plan = {b"%d" % n: {} for n in range(5)}
HIGH: Plan = {b"%d" % n: {} for n in range(2, 6)}


@pytest.mark.parametrize(
    ("order", "expected"),
    [((1, 0), "l0 l1 l2 l3 l4 h5"), ((0, 1), "l0 l1 h2 h3 h4 h5")],
    ids=["low", "high"],
)
def test_worked_example_of_the_design(order: tuple[int, int], expected: str) -> None:
    index = merge(trees(1, HIGH, LOW), ranks(*order))
    named = [f"{'hl'[leaf.source]}{name.decode()}" for name, leaf in sorted(flat(index).items()) if leaf is not None]
    assert " ".join(named) == expected


@pytest.mark.parametrize(
    ("depth", "first", "second", "expected"),
    [
        # Rule 1: union above the depth
        (2, {b"A": {b"x": {}}}, {b"A": {b"y": {}}}, "A(x/0 y/1)"),
        (3, {b"A": {b"B": {b"x": {}}}}, {b"A": {b"B": {b"y": {}}, b"C": {}}}, "A(B(x/0 y/1) C())"),
        (2, {b"A": {}}, {b"A": {}}, "A()"),
        (2, {}, {b"A": {b"x": {}}}, "A(x/1)"),
        # Rule 2: a folder at the depth is of one source
        (1, {b"A": {b"x": {}}}, {b"A": {b"y": {}}}, "A/0"),
        (2, {b"A": {b"x": {}}}, {b"A": {b"x": {}, b"y": {}}}, "A(x/0 y/1)"),
        # Rule 3: a non-directory is ranked too, and gives way to a directory
        (1, {b"f": FILE}, {b"f": FILE}, "f0"),
        (1, {b"f": FILE}, {b"g": FIFO}, "f0 g1"),
        (1, {b"f": FILE}, {b"f": {}}, "f/1"),
        (2, {b"f": FILE}, {b"f": {b"x": {}}}, "f(x/1)"),
        (2, {b"f": {b"x": {}}}, {b"f": FILE}, "f(x/0)"),
        (2, {b"A": {b"f": FIFO}}, {b"A": {b"f": {}}}, "A(f/1)"),
        (2, {b"f": FIFO, b"A": {}}, {b"f": FILE}, "A() f0"),
    ],
)
def test_rules_hold_for_two_sources(depth: int, first: Plan, second: Plan, expected: str) -> None:
    assert shown(merge(trees(depth, first, second), ranks(0, 1))) == expected


@pytest.mark.parametrize(
    ("depth", "first", "second", "expected"),
    [
        (1, {b"x": {}}, {b"x": {b"f": FILE}}, "x/1"),
        (1, {b"x": {b"f": FILE}}, {b"x": {}}, "x/0"),
        (1, {b"x": {}}, {b"x": {}}, "x/0"),
        (1, {b"x": {}}, {}, "x/0"),
        (1, {b"x": {b"a": {}, b"b": {b"c": {}}}}, {b"x": {b"a": {b"b": {b"f": FIFO}}}}, "x/1"),
        (1, {b"x": {}, b"y": {b"f": FILE}}, {b"x": {b"f": FILE}, b"y": {b"f": FILE}, b"z": {}}, "x/1 y/0 z/1"),
        (2, {b"A": {b"x": {}, b"y": {}}}, {b"A": {b"x": {b"f": FILE}}, b"B": {}}, "A(x/1 y/0) B()"),
        # Rule 3: an empty folder still beats a non-directory
        (1, {b"x": {}}, {b"x": FILE}, "x/0"),
        (1, {b"x": FILE}, {b"x": {}}, "x/1"),
        (2, {b"A": {b"x": FILE}}, {b"A": {b"x": {}}}, "A(x/1)"),
        # Above the depth nothing is skipped
        (2, {b"A": {}}, {b"A": {b"f": FILE}}, "A(f1)"),
    ],
)
def test_empty_folder_wins_only_if_all_are_empty(depth: int, first: Plan, second: Plan, expected: str) -> None:
    assert shown(merge(trees(depth, first, second, searched=True), ranks(0, 1))) == expected


def test_first_folder_with_a_file_wins_under_casefold_pairing() -> None:
    three = trees(1, {b"x": {}}, {b"X": {b"f": FILE}}, {b"x": {b"f": FILE}}, searched=True)
    casefold = pairing("casefold", [])
    assert merge(three, ranks(0, 1, 2), casefold).children == {b"x": Leaf(Rank(1), DIR, b"X")}
    assert merge(three, ranks(0, 2, 1), casefold).children == {b"x": Leaf(Rank(2), DIR, b"x")}


def test_folder_that_gets_its_first_file_takes_over_and_is_no_change_if_it_had_won() -> None:
    full: Plan = {b"x": {b"f": FILE}}
    before = merge(trees(1, {b"x": {}}, full, searched=True), ranks(0, 1))
    taken = after(before, *trees(1, full, full, searched=True), now=5)
    assert list(changes(before, taken))[-1] == Change(b"x", Leaf(Rank(1), DIR), Leaf(Rank(0), DIR))
    alone = merge(trees(1, {b"x": {}}, {}, searched=True), ranks(0, 1))
    filled = after(alone, *trees(1, full, {}, searched=True), now=5)
    assert (list(changes(alone, filled)), filled.min_mtimes) == ([], None)


def test_entry_has_the_kind_of_the_winner() -> None:
    index = merge(trees(1, {b"f": FIFO}, {b"f": FILE}), ranks(0, 1))
    assert index.children[b"f"] == Leaf(Rank(0), FIFO)


@pytest.mark.parametrize(
    ("order", "expected"),
    [((0, 1, 2), "a/0 b/0 c/1 d/2"), ((2, 1, 0), "a/2 b/1 c/1 d/2"), ((1, 0, 2), "a/0 b/1 c/1 d/2")],
)
def test_three_sources_are_ranked_in_any_order(order: tuple[int, ...], expected: str) -> None:
    three = trees(1, {b"a": {}, b"b": {}}, {b"b": {}, b"c": {}}, {b"a": {}, b"d": {}})
    assert shown(merge(three, ranks(*order))) == expected


def test_source_that_counts_as_empty_is_ignored() -> None:
    one, two = trees(2, {b"A": {b"x": {}}, b"B": {}}, {b"A": {b"x": {}}})
    assert shown(merge((None, two), ranks(0, 1))) == "A(x/1)"
    assert shown(merge((one, None), ranks(1, 0))) == "A(x/0) B()"
    assert shown(merge((None, None), ranks(0, 1))) == ""


def folded(inputs: Trees, path: bytes) -> list[Group]:
    """Pair names that are equal in lower case; the spelling of the first source is shown."""
    groups: dict[bytes, list[bytes | None]] = {}
    for rank, each in enumerate(inputs):
        for name in each.entries if each is not None else ():
            groups.setdefault(name.lower(), [None] * len(inputs))[rank] = name
    return [
        (
            next(name for name in own if name is not None),
            tuple(d.entries[name] if d and name else None for d, name in zip(inputs, own, strict=True)),
            tuple(own),
        )
        for own in groups.values()
    ]


def test_paired_names_keep_their_own_spellings() -> None:
    two = trees(2, {b"abba": {b"Gold": {}}}, {b"ABBA": {b"GOLD": {}, b"More": {}}})
    index = merge(two, ranks(1, 0), folded)
    assert shown(index) == "abba(Gold/1 More/1)"
    abba = index.children[b"abba"]
    assert isinstance(abba, Merged)
    assert abba.names == (b"abba", b"ABBA")
    assert abba.children[b"Gold"] == Leaf(Rank(1), DIR, b"GOLD")


# Times: rule 4


def test_merged_directory_has_the_newest_times_of_all_sources() -> None:
    index = merge((directory(0, 1, {}, mtime=5, ctime=7), directory(1, 1, {}, mtime=6, ctime=3)), ranks(0, 1))
    assert times(index) == (6, 7)


def after(before: Merged, *new: Directory | None, now: int) -> Merged:
    return merge(new, ranks(0, 1), before=before, now_ns=now)


def test_loss_of_the_newest_source_moves_the_times_forward() -> None:
    old, new = directory(0, 1, {b"a": {}}, 5, 5), directory(1, 1, {b"b": {}}, 90, 90)
    before = merge((old, new), ranks(0, 1))
    assert times(after(before, old, None, now=100)) == (100, 100)


def test_change_after_a_time_in_the_future_moves_the_times_forward() -> None:
    future = 10**15
    one, two = directory(0, 1, {b"a": {}}, 5, 5), directory(1, 1, {b"b": {}}, future, future)
    before = merge((one, two), ranks(0, 1))
    gone = after(before, one, None, now=100)
    assert times(gone) == (future + 1, future + 1)
    assert times(after(gone, one, two, now=101)) == (future + 2, future + 2)


def test_folder_taken_over_by_an_older_one_gets_the_time_of_the_change() -> None:
    old = directory(1, 1, {b"a": {}}, 50, 50)
    before = merge((directory(0, 1, {}, 5, 5), old), ranks(0, 1))
    assert before.min_mtimes is None
    taken = after(before, directory(0, 1, {b"a": {}}, 60, 60), old, now=100)
    assert taken.min_mtimes == {b"a": 100}
    back = after(taken, directory(0, 1, {}, 70, 70), old, now=90)
    assert back.min_mtimes == {b"a": 101}, "forward even if the clock was set back"


def test_minimum_mtime_of_a_folder_is_kept_until_its_name_is_removed() -> None:
    one, two = directory(0, 1, {}, 5, 5), directory(1, 1, {b"a": {}}, 5, 5)
    taken = after(merge((one, two), ranks(0, 1)), directory(0, 1, {b"a": {}}, 6, 6), two, now=100)
    wider = after(taken, directory(0, 1, {b"a": {}, b"c": {}}, 7, 7), two, now=110)
    assert wider.min_mtimes == {b"a": 100}
    assert after(wider, directory(0, 1, {b"c": {}}, 8, 8), None, now=120).min_mtimes is None


def test_change_below_does_not_move_the_times_of_the_parent() -> None:
    one = directory(0, 2, {b"A": {b"x": {}}}, 5, 5)
    before = merge((one, None), ranks(0, 1))
    inner = directory(0, 1, {b"x": {}, b"y": {}}, 5, 5)
    changed = after(before, Directory(one.attr, {b"A": inner}), None, now=100)
    below = changed.children[b"A"]
    assert isinstance(below, Merged)
    assert (times(changed), times(below)) == ((5, 5), (100, 100))


# Changes


def test_changes_have_created_removed_and_taken_over_paths() -> None:
    before = merge(trees(2, {b"A": {b"x": {}}, b"f": FILE}, {b"A": {b"x": {}, b"y": {}}, b"B": {}}), ranks(0, 1))
    now = merge(trees(2, {b"A": {}, b"f": {}}, {b"A": {b"x": {}, b"y": {}}, b"C": {b"z": {}}}), ranks(0, 1))
    found = {change.path: (change.before, change.after) for change in changes(before, now)}
    assert found == {
        b"f": (Leaf(Rank(0), FILE), now.children[b"f"]),
        b"B": (before.children[b"B"], None),
        b"C": (None, now.children[b"C"]),
        b"A/x": (Leaf(Rank(0), DIR), Leaf(Rank(1), DIR)),
    }


def test_changed_attributes_of_a_directory_are_a_change_of_itself() -> None:
    before = merge((directory(0, 1, {b"a": {}}, 5, 5),), ranks(0))
    now = merge((directory(0, 1, {b"a": {}}, 6, 6),), ranks(0), before=before, now_ns=100)
    assert list(changes(before, now)) == [Change(b"", before, now)]


def test_merge_of_unchanged_trees_returns_the_old_index() -> None:
    two = trees(2, {b"A": {b"x": {}}}, {b"A": {}})
    before = merge(two, ranks(0, 1))
    assert merge(two, ranks(0, 1), before=before, now_ns=100) is before
    assert list(changes(before, before)) == []
