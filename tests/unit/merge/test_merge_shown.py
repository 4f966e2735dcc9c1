"""The path in the view of a source's directory, against the view itself, and the changes there."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from mmirrorfs.attributes import DIR, FILE, Attributes
from mmirrorfs.difference import Difference
from mmirrorfs.merge.index import Change, merge
from mmirrorfs.merge.names import pairing
from mmirrorfs.merge.shown import seen, shown
from mmirrorfs.tree import Leaf, Merged, Rank, join
from tests.support.merging import Plan, depths, ranks, trees

NOTHING: tuple[None, None] = (None, None)
names = st.sampled_from([b"a", b"A", b"b", b"\xff"])
plans = st.recursive(st.just(FILE), lambda inner: st.dictionaries(names, inner, max_size=4), max_leaves=12).map(
    lambda made: made if isinstance(made, dict) else {}
)
ONE = Attributes(FILE | 0o644, 1, 0, 0, 0, 5, 8, 1, 2, 3, 4, 7)
OTHER = ONE._replace(size=6)


def directories(merged: Merged, rank: Rank, own: bytes = b"", path: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
    """The paths in a source, and in the view, of all its directories that are shown."""
    if merged.inputs[rank] is None:
        return
    yield own, path
    for name, child in merged.children.items():
        if isinstance(child, Merged):
            spelled = (child.names[rank] if child.names else None) or name
            yield from directories(child, rank, join(own, spelled), join(path, name))
        elif child.source == rank and child.kind == DIR:
            yield join(own, child.name or name), join(path, name)


@given(plans, plans, depths, st.sampled_from(["exact", "casefold"]))
def test_every_shown_directory_is_found_and_no_other(high: Plan, low: Plan, depth: int, match: str) -> None:
    paired = pairing(match, [])
    index = merge(trees(depth, high, low), ranks(0, 1), paired)
    for rank in ranks(0, 1):
        expected = dict(directories(index, rank))
        for own in expected.keys() | {b"no", b"a/no", b"a/b/a", b"A/a"}:
            found, place = shown(index, rank, own)
            above = own
            while above not in expected and above:
                above = above.rpartition(b"/")[0]
            if own in expected:
                assert found == expected[own]
            elif above and not isinstance(place_of(index, expected[above]), Merged):
                assert found == expected[above] + own[len(above) :], "everything in a shown folder is shown"
            else:
                assert (found, place) == NOTHING


def place_of(index: Merged, path: bytes) -> Merged | Leaf:
    found: Merged | Leaf = index
    for name in path.split(b"/") if path else ():
        assert isinstance(found, Merged)
        found = found.children[name]
    return found


def test_change_in_a_hidden_folder_is_no_change_of_the_view() -> None:
    index = merge(trees(1, {b"x": {}}, {b"x": {}, b"y": {}}), ranks(0, 1))
    differences = [Difference(b"new", None, ONE), Difference(b"edited", ONE, OTHER), Difference(b"old", ONE, None)]
    assert list(seen(index, Rank(1), b"x", differences)) == []
    leaf = Leaf(Rank(0), FILE)
    assert list(seen(index, Rank(0), b"x/deep", differences)) == [
        Change(b"x/deep/new", None, leaf, (None, ONE)),
        Change(b"x/deep/edited", leaf, leaf, (ONE, OTHER)),
        Change(b"x/deep/old", leaf, None, (ONE, None)),
    ]


def test_change_in_a_merged_directory_has_edited_leaves_only() -> None:
    index = merge(trees(1, {b"loose": FILE}, {b"loose": FILE, b"other": FILE}), ranks(0, 1))
    edited = [Difference(name, ONE, OTHER) for name in (b"loose", b"other", b"gone")]
    found = [*edited, Difference(b"new", None, ONE), Difference(b"old", ONE, None)]
    assert [change.path for change in seen(index, Rank(0), b"", found)] == [b"loose"]
    assert [change.path for change in seen(index, Rank(1), b"", found)] == [b"other"]
