"""Properties of the merge, against a model that is independent of the implementation."""

from collections.abc import Iterator, Mapping
from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from mmirrorfs.attributes import DIR, FILE, Kind
from mmirrorfs.merge.index import changes, merge, times
from mmirrorfs.source.walks import revisions
from mmirrorfs.tree import Directory, Entry, Leaf, Merged, Rank, Trees
from tests.support.merging import (
    FIFO,
    Plan,
    attr,
    depths,
    flat,
    folder,
    holds_a_file,
    only_folders,
    paths,
    ranks,
    trees,
)

names = st.sampled_from([b"a", b"b", b"c", b"\xff"])
CONTENTS: list[Plan] = [{}, {b"a": FILE}, {b"a": {b"b": {}}}, {b"a": {b"b": FIFO}, b"b": {}}]
plans = st.recursive(
    st.sampled_from([FILE, FIFO, *CONTENTS]),
    lambda inner: st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
).map(lambda made: made if isinstance(made, dict) else {})
several = st.lists(plans, min_size=2, max_size=5)
moments = st.integers(0, 1000)


def model(plans: list[Plan], order: tuple[int, ...], depth: int, skip_empty: bool) -> dict[bytes, Leaf | None]:
    """The rules of the merge, for each path by itself; None stands for a merged directory."""
    found = [paths(plan, depth) for plan in plans]
    expected: dict[bytes, Leaf | None] = {}
    for path in set().union(*found):
        have = [rank for rank in order if path in found[rank]]
        directories = [rank for rank in have if found[rank][path] == DIR]
        if directories and len(path) < depth:
            expected[b"/".join(path)] = None
        else:
            full = [rank for rank in directories if skip_empty and holds_a_file(inside(plans[rank], path))]
            winner = (full or directories or have)[0]
            expected[b"/".join(path)] = Leaf(Rank(winner), found[winner][path])
    return expected


def inside(plan: Plan, path: tuple[bytes, ...]) -> Plan:
    """The contents of a directory of a source."""
    for name in path:
        what = plan[name]
        assert not isinstance(what, int)
        plan = what
    return plan


@given(several, depths, st.booleans(), st.data())
def test_merge_agrees_with_the_model(plans: list[Plan], depth: int, skip_empty: bool, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(plans))))
    inputs = trees(depth, *plans, searched=skip_empty)
    assert flat(merge(inputs, ranks(*order))) == model(plans, tuple(order), depth, skip_empty)


@given(st.lists(plans, min_size=2, max_size=4), depths, st.booleans())
def test_all_orders_show_the_same_names_and_directories(plans: list[Plan], depth: int, skip_empty: bool) -> None:
    inputs = trees(depth, *plans, searched=skip_empty)
    shapes = [
        {path: leaf is None or leaf.kind == DIR for path, leaf in flat(merge(inputs, ranks(*order))).items()}
        for order in permutations(range(len(plans)))
    ]
    assert all(shape == shapes[0] for shape in shapes)


def rescanned(rank: int, depth: int, plan: Plan, old: Directory | None, mtime: int, searched: bool) -> Directory:
    """The tree of a later scan: a directory with the same names, all the way down, is the old object."""
    entries: dict[bytes, Entry] = {}
    for name, what in plan.items():
        last = old.entries.get(name) if old is not None else None
        if isinstance(what, int):
            entries[name] = Leaf(Rank(rank), Kind(what))
        elif depth == 1:
            entries[name] = folder(rank, what, searched)
        else:
            before = last if isinstance(last, Directory) else None
            entries[name] = rescanned(rank, depth - 1, what, before, mtime, searched)
    own = attr(mtime, mtime)
    if old is not None and leaves(old.entries) == leaves(entries):  # same names: it keeps its own times
        own = old.attr
        if all(is_same(old.entries[name], new) for name, new in entries.items()):
            return old
    return Directory(own, entries, only_folders(entries))


def is_same(old: Entry, new: Entry) -> bool:
    """Whether a scan finds no change."""
    if not isinstance(old, Leaf) or not isinstance(new, Leaf):
        return old is new
    return old == new and old.evidence == new.evidence


def leaves(entries: Mapping[bytes, Entry]) -> dict[bytes, Leaf | None]:
    return {name: entry if isinstance(entry, Leaf) else None for name, entry in entries.items()}


def merges(history: tuple[int, list[tuple[Trees, int]]]) -> Iterator[tuple[Merged, Merged, int]]:
    """(previous index, index, time of the merge) for each index except the first."""
    count, steps = history
    before = merge(steps[0][0], ranks(*range(count)))
    for inputs, now in steps[1:]:
        index = merge(inputs, ranks(*range(count)), before=before, now_ns=now)
        yield before, index, now
        before = index


def later(old: Trees, plans: list[Plan], depth: int, mtimes: list[int], searched: bool) -> Trees:
    return tuple(
        rescanned(rank, depth, plan, before, mtime, searched)
        for rank, (plan, before, mtime) in enumerate(zip(plans, old, mtimes, strict=True))
    )


def merged_at(index: Merged, prefix: bytes = b"") -> dict[bytes, Merged]:
    """All merged directories of an index by path, the root as b""."""
    found = {prefix: index}
    for name, child in index.children.items():
        if isinstance(child, Merged):
            found |= merged_at(child, prefix + b"/" + name if prefix else name)
    return found


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, list[tuple[Trees, int]]]:
    """The number of sources, and successive scans of them, each with the time of its merge."""
    count, depth, searched = draw(st.integers(2, 3)), draw(depths), draw(st.booleans())
    trees: Trees = (None,) * count
    steps = []
    for _ in range(draw(st.integers(2, 4))):
        mtimes = [draw(moments) for _ in range(count)]
        trees = later(trees, [draw(plans) for _ in range(count)], depth, mtimes, searched)
        shown = tuple(None if draw(st.integers(0, 9)) == 0 else tree for tree in trees)
        steps.append((shown, draw(moments)))
    return count, steps


@settings(max_examples=60)
@given(histories())
def test_incremental_merge_equals_a_merge_from_scratch(
    history: tuple[int, list[tuple[Trees, int]]],
) -> None:
    count, steps = history
    before: Merged | None = None
    for inputs, now in steps:
        index = merge(inputs, ranks(*range(count)), before=before, now_ns=now)
        assert flat(index) == flat(merge(inputs, ranks(*range(count))))
        if before is not None:
            old = merged_at(before)
            for path, merged in merged_at(index).items():
                same = path in old and all(a is b for a, b in zip(merged.inputs, old[path].inputs, strict=True))
                assert (merged is old.get(path)) == same
        before = index


def differing(before: Trees, after: Trees) -> dict[bytes, set[bytes]] | None:
    """The names that may have changed, by directory; None if a source was lost or recovered."""
    only: dict[bytes, set[bytes]] = {}
    for old, new in zip(before, after, strict=True):
        if old is None or new is None:
            return None
        for one in revisions(old, new) if old is not new else ():
            only.setdefault(one.path, set()).update(one.names)
    return only


@settings(max_examples=60)
@given(histories())
def test_merge_of_changed_names_only_gives_the_same_index_times_and_changes(
    history: tuple[int, list[tuple[Trees, int]]],
) -> None:
    count, steps = history
    before, last = merge(steps[0][0], ranks(*range(count))), steps[0][0]
    for inputs, now in steps[1:]:
        only = differing(last, inputs)
        whole = merge(inputs, ranks(*range(count)), before=before, now_ns=now)
        index = merge(inputs, ranks(*range(count)), before=before, now_ns=now, only=only)
        assert flat(index) == flat(whole)
        of_whole = merged_at(whole)
        for path, merged in merged_at(index).items():
            assert (times(merged), merged.min_mtimes) == (times(of_whole[path]), of_whole[path].min_mtimes)
        found = {change.path for change in changes(before, index, only=only)}
        assert found == {change.path for change in changes(before, whole)}
        before, last = index, inputs


@settings(max_examples=60)
@given(histories())
def test_changes_are_the_differing_paths_and_move_the_times_forward(
    history: tuple[int, list[tuple[Trees, int]]],
) -> None:
    for before, index, _ in merges(history):
        old, new = flat(before), flat(index)
        stayed = merged_at(before).keys() & merged_at(index).keys()
        differing = {
            path
            for path in old.keys() | new.keys()
            if (path not in old or path not in new or old[path] != new[path]) and path.rpartition(b"/")[0] in stayed
        }
        found = list(changes(before, index))
        assert sorted(c.path for c in found if not (isinstance(c.before, Merged) and isinstance(c.after, Merged))) == (
            sorted(differing)
        )
        moved = {c.path for c in found if isinstance(c.before, Merged) and isinstance(c.after, Merged)}
        for path in stayed:
            was, now_is = merged_at(before)[path], merged_at(index)[path]
            if {p for p in differing if p.rpartition(b"/")[0] == path}:
                assert path in moved
                assert all(b > a for a, b in zip(times(was), times(now_is), strict=True))
            elif times(was) != times(now_is):
                assert path in moved
        positions = {change.path: position for position, change in enumerate(found)}
        for path, position in positions.items():
            assert positions.get(path.rpartition(b"/")[0], -1) <= position


@settings(max_examples=60)
@given(histories())
def test_minimum_mtime_of_a_folder_grows_whenever_its_winner_changes(
    history: tuple[int, list[tuple[Trees, int]]],
) -> None:
    for before, index, now in merges(history):
        for path, merged in merged_at(index).items():
            last = merged_at(before).get(path)
            for name, child in merged.children.items():
                old = last.children.get(name) if last is not None else None
                if not (isinstance(child, Leaf) and isinstance(old, Leaf) and child.kind == old.kind == DIR):
                    continue
                was = ((last and last.min_mtimes) or {}).get(name, 0)
                min_mtimes = (merged.min_mtimes or {}).get(name, 0)
                assert min_mtimes == was if child == old else min_mtimes >= max(now, was + 1)
