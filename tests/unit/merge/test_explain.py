"""Explanations, without a disk: they agree with the merge at every path."""

from collections.abc import Sequence

from hypothesis import assume, given
from hypothesis import strategies as st

from mmirrorfs.attributes import DIR, FILE
from mmirrorfs.merge.explain import (
    Place,
    Rule,
    elsewhere,
    in_view,
    nearest,
    place_of,
    spellings,
    unreadable,
)
from mmirrorfs.merge.index import Pairing, exact, merge
from mmirrorfs.merge.names import MATCHES, pairing
from mmirrorfs.merge.settled import Rule as Settled
from mmirrorfs.tree import Directory, Leaf, Merged, Rank
from tests.support.merging import FIFO, Plan, depths, flat, paths, ranks, trees
from tests.support.scanned import scanned

NAMES = [b"a", b"A", "a\u0301".encode(), "\u00e1".encode(), b"The a", b"a (1990)", b"b", b"\xff"]
names = st.sampled_from(NAMES)
plans = st.recursive(
    st.sampled_from([FILE, FIFO]), lambda inner: st.dictionaries(names, inner, max_size=4), max_leaves=12
).map(lambda made: made if isinstance(made, dict) else {})
several = st.lists(plans, min_size=2, max_size=4)
settled = st.builds(
    Settled,
    st.just("a rule"),
    st.booleans(),
    st.lists(st.sampled_from(NAMES[:-1]), min_size=2, max_size=3, unique=True).map(tuple),
    st.sampled_from([None, b"", b"a", b"b/a"]),
)


@st.composite
def pairings(draw: st.DrawFn) -> Pairing:
    """A pairing: any match, with and without rules."""
    try:
        return pairing(draw(st.sampled_from(MATCHES)), [], draw(st.lists(settled, max_size=2)))
    except ValueError:  # the rules contradict each other
        assume(False)
        raise


def drawn_order(data: st.DataObject, made: Sequence[Plan]) -> Sequence[Rank]:
    return ranks(*data.draw(st.permutations(range(len(made)))))


def checked(place: Place, found: Leaf | None) -> None:
    """The place has the entry of the index, and its rule alone selects the winner among the claims."""
    assert place.rest == b""
    if found is None:
        assert isinstance(place.found, Merged)
        assert place.rule is Rule.MERGED
        assert all(claim.kind == DIR for claim in place.shown)
        assert [rank for rank, one in enumerate(place.found.inputs) if one] == sorted(c.rank for c in place.shown)
        return
    assert place.found == found
    (winner,) = place.shown
    assert (winner.rank, winner.kind) == (found.source, found.kind)
    directories = [claim for claim in place.claims if claim.kind == DIR]
    full = [claim for claim in directories if not claim.is_empty]
    expected = {
        Rule.ONLY: len(place.claims) == 1,
        Rule.ORDER: len(place.claims) > 1 and place.claims[0] is winner,
        Rule.DIRECTORY: place.claims[0].kind != DIR and directories[:1] == [winner],
        Rule.FILLED: winner.kind == DIR and directories[:1] != [winner] and full[:1] == [winner],
        Rule.OTHER: False,
    }
    assert place.skipped == (directories[: directories.index(winner)] if found.kind == DIR else [])
    assert [rule for rule, holds in expected.items() if holds] == [place.rule]


@given(several, depths, pairings(), st.booleans(), st.data())
def test_explanation_of_every_path_agrees_with_the_merge(
    made: list[Plan], depth: int, paired: Pairing, searched: bool, data: st.DataObject
) -> None:
    order = drawn_order(data, made)
    index = merge(trees(depth, *made, searched=searched), order, paired)
    for path, leaf in flat(index).items():
        checked(place_of(index, order, paired, path), leaf)


@given(several, depths, st.data())
def test_claims_are_the_entries_of_all_sources_in_order(made: list[Plan], depth: int, data: st.DataObject) -> None:
    order = drawn_order(data, made)
    index, found = merge(trees(depth, *made), order), [paths(plan, depth) for plan in made]
    for path in flat(index):
        parts = tuple(path.split(b"/"))
        claims = [(claim.rank, claim.path, claim.kind) for claim in place_of(index, order, exact, path).claims]
        assert claims == [(rank, path, found[rank][parts]) for rank in order if parts in found[rank]]


@given(several, depths, st.lists(names, min_size=1, max_size=5))
def test_missing_path_is_split_where_the_index_ends(made: list[Plan], depth: int, parts: list[bytes]) -> None:
    order, path = ranks(*range(len(made))), b"/".join(parts)
    index = merge(trees(depth, *made), order)
    known = flat(index)
    place = place_of(index, order, exact, path)
    assert b"/".join(filter(None, [place.path, place.rest])) == path
    assert not place.path or place.path in known
    following = b"/".join(filter(None, [place.path, place.rest.partition(b"/")[0]]))
    assert not place.rest or not isinstance(place.found, Merged) or following not in known


@given(several, depths, pairings())
def test_in_view_finds_shown_and_hidden_entries_of_a_source(made: list[Plan], depth: int, paired: Pairing) -> None:
    order = ranks(*range(len(made)))
    index = merge(trees(depth, *made, searched=True), order, paired)
    for rank, plan in enumerate(made):
        for parts in paths(plan, depth):
            own = b"/".join(parts)
            place = place_of(index, order, paired, in_view(index, paired, Rank(rank), own))
            assert (rank, own, b"") in [(claim.rank, claim.path, place.rest) for claim in place.claims]


def test_path_below_the_depth_is_split_into_folder_and_rest() -> None:
    order = ranks(0, 1)
    index = merge(trees(1, {b"x": {}}, {b"x": {}}), order)
    place = place_of(index, order, exact, b"x/CD 1/01")
    assert (place.path, place.rest, place.rule) == (b"x", b"CD 1/01", Rule.ORDER)
    assert [claim.path for claim in place.hidden] == [b"x"]
    assert in_view(index, exact, Rank(1), b"x/CD 1/01") == b"x/CD 1/01"
    assert in_view(index, exact, Rank(1), b"no/such") == b"no/such"


def test_skipped_has_empty_folders_that_would_have_won() -> None:
    order, full = ranks(0, 1, 2), {b"f": FILE}
    index = merge(trees(1, {b"x": {}, b"y": {}}, {b"x": full, b"y": {}}, {b"x": {}}, searched=True), order)
    place = place_of(index, order, exact, b"x")
    assert (place.rule, [claim.rank for claim in place.skipped]) == (Rule.FILLED, [0])
    assert [claim.rank for claim in place.hidden] == [0, 2]
    place = place_of(index, order, exact, b"y")
    assert (place.rule, place.skipped) == (Rule.ORDER, [])


def test_other_spelling_is_found_under_the_name_shown() -> None:
    paired, order = pairing("casefold", []), ranks(1, 0)
    index = merge(trees(2, {b"Lund": {b"Two": {}}}, {b"LUND": {b"TWO": {}}}), order, paired)
    assert in_view(index, paired, Rank(1), b"LUND/TWO/1") == b"Lund/Two/1"
    assert spellings(index, b"", paired, b"LUND") == [b"Lund"]
    assert spellings(index, b"", paired, b"lund") == []
    place = place_of(index, order, paired, b"Lund/Two")
    assert [(claim.rank, claim.path, claim.shown) for claim in place.claims] == [
        (1, b"LUND/TWO", True), (0, b"Lund/Two", False),
    ]  # fmt: skip


def test_nearest_finds_similar_names_and_no_others() -> None:
    have = [b"Harbour", b"Lighthouse", "Björk".encode(), b"caf\xe9", b"HARBOR"]
    assert nearest(b"harbor", have)[0] == b"HARBOR"
    assert nearest(b"Bjork", have) == ["Björk".encode()]
    assert nearest(b"caf\xe8", have) == [b"caf\xe9"]
    assert nearest(b"nothing like it", have) == []


def test_elsewhere_finds_all_paths_of_a_name() -> None:
    index = merge(trees(2, {b"a": {b"x": {}}, b"b": {b"y": {}}}, {b"c": {b"x": {}}, b"d": {}}), ranks(0, 1))
    assert sorted(elsewhere(index, b"x")) == [b"a/x", b"c/x"]
    assert elsewhere(index, b"z") == []


def test_unreadable_has_directories_that_could_not_be_listed() -> None:
    index = Merged((scanned(0, {}), None, scanned(2, {}, errno=13)), {})
    assert [(rank, directory.errno) for rank, directory in unreadable(index)] == [(2, 13)]
    assert isinstance(next(unreadable(index))[1], Directory)
