"""Why a view shows what it shows, without a disk: the explanation of every place is that of the merge itself."""

import re
import shlex
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmirrorfs.attributes import DIR, FILE
from mmirrorfs.merge.explain import (
    Namesake,
    Place,
    Rule,
    elsewhere,
    in_view,
    namesakes,
    nearest,
    place_of,
    spellings,
    unreadable,
)
from mmirrorfs.merge.index import Pairing, exact, merge
from mmirrorfs.merge.names import MATCHES, compiled, pairing
from mmirrorfs.tree import Directory, Leaf, Merged, Rank
from tests.support.scanned import scanned
from tests.test_merge import FIFO, Plan, flat, ranks, trees
from tests.test_merge_model import depths, paths

names = st.sampled_from([b"a", b"A", b"b", b"\xff"])
plans = st.recursive(
    st.sampled_from([FILE, FIFO]), lambda inner: st.dictionaries(names, inner, max_size=4), max_leaves=12
).map(lambda made: made if isinstance(made, dict) else {})
several = st.lists(plans, min_size=2, max_size=4)
matches = st.sampled_from(["exact", "casefold"])


def checked(place: Place, found: Leaf | None) -> None:
    """An explanation is of what the index has, and its rule alone gives the winner from what the sources have."""
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
    expected = {
        Rule.ONLY: len(place.claims) == 1,
        Rule.ORDER: len(place.claims) > 1 and place.claims[0] is winner,
        Rule.DIRECTORY: place.claims[0].kind != DIR and directories[:1] == [winner],
        Rule.OTHER: False,
    }
    assert [rule for rule, holds in expected.items() if holds] == [place.rule]


@given(several, depths, matches, st.data())
def test_the_explanation_of_every_path_agrees_with_the_merge(
    made: list[Plan], depth: int, match: str, data: st.DataObject
) -> None:
    order, paired = ranks(*data.draw(st.permutations(range(len(made))))), pairing(match, [])
    index = merge(trees(depth, *made), order, paired)
    for path, leaf in flat(index).items():
        checked(place_of(index, order, paired, path), leaf)


@given(several, depths, st.data())
def test_all_sources_that_have_something_at_a_place_are_told(made: list[Plan], depth: int, data: st.DataObject) -> None:
    order = ranks(*data.draw(st.permutations(range(len(made)))))
    index, found = merge(trees(depth, *made), order), [paths(plan, depth) for plan in made]
    for path in flat(index):
        parts = tuple(path.split(b"/"))
        told = [(claim.rank, claim.path, claim.kind) for claim in place_of(index, order, exact, path).claims]
        assert told == [(rank, path, found[rank][parts]) for rank in order if parts in found[rank]]


@given(several, depths, st.lists(names, min_size=1, max_size=5))
def test_a_path_that_is_not_there_leads_as_far_as_the_index_does(
    made: list[Plan], depth: int, parts: list[bytes]
) -> None:
    order, path = ranks(*range(len(made))), b"/".join(parts)
    index = merge(trees(depth, *made), order)
    known = flat(index)
    place = place_of(index, order, exact, path)
    assert b"/".join(filter(None, [place.path, place.rest])) == path
    assert not place.path or place.path in known
    following = b"/".join(filter(None, [place.path, place.rest.partition(b"/")[0]]))
    assert not place.rest or not isinstance(place.found, Merged) or following not in known


@given(several, depths, matches)
def test_what_a_source_has_is_found_in_the_view_whether_it_is_shown_or_not(
    made: list[Plan], depth: int, match: str
) -> None:
    order, paired = ranks(*range(len(made))), pairing(match, [])
    index = merge(trees(depth, *made), order, paired)
    for rank, plan in enumerate(made):
        for parts in paths(plan, depth):
            own = b"/".join(parts)
            place = place_of(index, order, paired, in_view(index, paired, Rank(rank), own))
            assert (rank, own, b"") in [(claim.rank, claim.path, place.rest) for claim in place.claims]


def test_a_path_in_a_folder_is_a_place_and_what_is_left_of_it() -> None:
    order = ranks(0, 1)
    index = merge(trees(1, {b"x": {}}, {b"x": {}}), order)
    place = place_of(index, order, exact, b"x/CD 1/01")
    assert (place.path, place.rest, place.rule) == (b"x", b"CD 1/01", Rule.ORDER)
    assert [claim.path for claim in place.hidden] == [b"x"]
    assert in_view(index, exact, Rank(1), b"x/CD 1/01") == b"x/CD 1/01"
    assert in_view(index, exact, Rank(1), b"no/such") == b"no/such"


def test_another_spelling_is_found_under_the_name_that_is_shown() -> None:
    paired, order = pairing("casefold", []), ranks(1, 0)
    index = merge(trees(2, {b"Lund": {b"Two": {}}}, {b"LUND": {b"TWO": {}}}), order, paired)
    assert in_view(index, paired, Rank(1), b"LUND/TWO/1") == b"Lund/Two/1"
    assert spellings(index, paired, b"LUND") == [b"Lund"]
    assert spellings(index, paired, b"lund") == []
    place = place_of(index, order, paired, b"Lund/Two")
    assert [(claim.rank, claim.path, claim.shown) for claim in place.claims] == [
        (1, b"LUND/TWO", True), (0, b"Lund/Two", False),
    ]  # fmt: skip


def others() -> Iterator[tuple[str, Pairing]]:
    for match in MATCHES[1:]:
        yield f"--match {match}", pairing(match, [])


def alike(name: str, *made: Mapping[str, str]) -> list[Namesake]:
    inputs = tuple(scanned(rank, plan) for rank, plan in enumerate(made))
    return namesakes(
        inputs, name.encode(), exact, dict(others()), lambda pattern: pairing("exact", [compiled(pattern)])
    )


@pytest.mark.parametrize(
    ("one", "other", "advice"),
    [
        ("Bjo\u0308rk", "Bj\u00f6rk", "--match nfc"),
        ("bjork", "Bjork", "--match casefold"),
        ("Moon", "Moon [FLAC]", "--ignore ' \\[FLAC\\]$'"),
        ("Moon (24-96)", "Moon", "--ignore ' \\(24\\-96\\)$'"),
        ("Moon ", "Moon", "--ignore ' $'"),
    ],
)
def test_a_name_that_is_not_paired_is_told_with_what_would_pair_it(one: str, other: str, advice: str) -> None:
    assert alike(one, {one: "dir"}, {other: "dir", "else": "dir"}) == [Namesake(other.encode(), advice)]


def test_what_is_advised_is_a_word_of_a_shell() -> None:
    (found,) = alike("Moon", {"Moon": "dir"}, {"Moon {it's}": "dir"})
    option, pattern = shlex.split(found.advice)
    assert option == "--ignore"
    assert re.search(pattern, "Moon {it's}")


@pytest.mark.parametrize(
    "made",
    [
        ({"Moon": "dir", "moon": "dir"}, {}),
        ({"Moon": "dir"}, {"Moon": "dir"}),
        ({"Moon": "dir"}, {"Moonlight": "dir", "Mo": "dir"}),
        ({"no": "dir"}, {"moon": "dir"}),
    ],
    ids=["one source", "paired", "another name", "not there"],
)
def test_what_cannot_be_paired_is_no_namesake(made: tuple[Mapping[str, str], ...]) -> None:
    assert alike("Moon", *made) == []


def test_names_that_are_nearly_the_one_that_was_meant_are_found() -> None:
    have = [b"Harbour", b"Lighthouse", "Björk".encode(), b"caf\xe9", b"HARBOR"]
    assert nearest(b"harbor", have)[0] == b"HARBOR"
    assert nearest(b"Bjork", have) == ["Björk".encode()]
    assert nearest(b"caf\xe8", have) == [b"caf\xe9"]
    assert nearest(b"nothing like it", have) == []


def test_a_name_is_found_wherever_else_the_index_has_it() -> None:
    index = merge(trees(2, {b"a": {b"x": {}}, b"b": {b"y": {}}}, {b"c": {b"x": {}}, b"d": {}}), ranks(0, 1))
    assert sorted(elsewhere(index, b"x")) == [b"a/x", b"c/x"]
    assert elsewhere(index, b"z") == []


def test_directories_that_could_not_be_listed_are_told() -> None:
    index = Merged((scanned(0, {}), None, scanned(2, {}, errno=13)), {})
    assert [(rank, directory.errno) for rank, directory in unreadable(index)] == [(2, 13)]
    assert isinstance(next(unreadable(index))[1], Directory)
