"""The differences of two listings, against a model that compares everything."""

from hypothesis import given
from hypothesis import strategies as st

from mmirrorfs.attributes import DIR, FILE, Attributes, bare
from mmirrorfs.difference import Difference, differences
from mmirrorfs.listing import Listing, pack

ATTR = Attributes(FILE | 0o644, 1, 0, 0, 0, 5, 8, 1, 2, 3, 4, 7)

names = st.sampled_from([b"a", b"b", b"c", b"d", b"\xff"])
attrs = st.builds(
    lambda size, uid, atime, kind: ATTR._replace(mode=kind | 0o644, size=size, uid=uid, atime_ns=atime),
    st.integers(0, 2),
    st.integers(0, 2),
    st.integers(0, 2),
    st.sampled_from([FILE, DIR]),
)
shapes = st.dictionaries(names, attrs)


def listing(listed: dict[bytes, Attributes]) -> Listing:
    return Listing(pack((4, 1, 0, 0), True, listed.items()), 0)


@given(shapes, shapes, st.permutations(range(5)))
def test_differences_agree_with_a_full_comparison(
    before: dict[bytes, Attributes], after: dict[bytes, Attributes], order: list[int]
) -> None:
    shuffled = [list(after)[position] for position in order if position < len(after)]  # gives other classes
    found = differences(listing(before), listing({name: after[name] for name in shuffled}))
    expected = [
        Difference(name, before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if without_atime(before.get(name)) != without_atime(after.get(name))
    ]
    assert found == expected


def without_atime(attr: Attributes | None) -> Attributes | None:
    return attr._replace(atime_ns=0) if attr is not None else None


def test_unknown_attributes_are_no_difference_unless_the_type_differs() -> None:
    known, unknown = listing({b"a": ATTR}), listing({b"a": bare(FILE)})
    assert differences(known, unknown) == differences(unknown, known) == []
    other = listing({b"a": bare(DIR)})
    assert [one.name for one in differences(known, other)] == [b"a"]
