"""Packed listings: entries, names and ranges, in byte order, for any number of entries."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmirrorfs.attributes import DIR, FILE, Attributes, bare
from mmirrorfs.listing import CHUNK, Listed, Listing, pack

STAMP = (1, 2, 3_000, -4_000)
NAMES = st.binary(min_size=1, max_size=12).filter(lambda name: b"\0" not in name and b"/" not in name)
SHORT, LONG = st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 64) - 1)
TIMES = st.integers(-(1 << 61), (1 << 64) - (1 << 61) - 1)
ATTRIBUTES = st.builds(Attributes, SHORT, SHORT, SHORT, SHORT, LONG, LONG, LONG, TIMES, TIMES, TIMES, LONG, LONG)


def listing(listed: list[Listed], settled: bool = True) -> Listing:
    return Listing(pack(STAMP, settled, listed), 1.0)


def file(number: int) -> Attributes:
    return Attributes(0o100644, 1, 0, 0, 0, number, 8, number, number, number, 7, number)


def numbered(count: int) -> list[Listed]:
    return [(b"%06d" % number, file(number)) for number in range(count)]


@given(st.dictionaries(NAMES, ATTRIBUTES, max_size=200))
def test_packed_entries_are_unpacked_in_byte_order(listed: dict[bytes, Attributes]) -> None:
    made = listing(list(listed.items()))
    assert list(made.entries()) == sorted(listed.items())
    assert made.names() == sorted(listed)
    assert dict(made.kinds()) == {name: attr.kind for name, attr in listed.items()}
    assert {name: made.get(name) for name in listed} == listed
    assert len(made) == len(listed)


@given(st.sets(NAMES, max_size=200), NAMES)
def test_name_is_found_only_if_it_was_packed(names: set[bytes], other: bytes) -> None:
    made = listing([(name, bare(FILE)) for name in names])
    assert (other in made) == (other in names)
    assert (made.get(other) is None) == (other not in names)
    assert b"" not in made


@pytest.mark.parametrize("count", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 5 * CHUNK + 3])
def test_any_range_of_entries_can_be_unpacked(count: int) -> None:
    whole = numbered(count)
    made = listing(whole)
    for start in range(0, count + 2, 7):
        for most in (0, 1, 50, 64, 1000):
            assert list(made.entries(start, most)) == whole[start : start + most]
            assert made.names(start, start + most) == [name for name, _ in whole[start : start + most]]
    assert [made.get(name) for name, _ in whole] == [attr for _, attr in whole]
    assert made.get(b"999999") is None
    assert made.get(b"!") is None


def test_names_with_a_common_prefix_or_suffix_are_distinguished() -> None:
    names = [b"a", b"aa", b"aaa", b"ba", b"ab", b" ", b"a ", b"\xff", b"\xff\xff"]
    made = listing([(name, file(number)) for number, name in enumerate(names)])
    assert [made.get(name) for name in names] == [file(number) for number in range(len(names))]


def test_unchanged_stamp_proves_the_names_only_if_it_is_settled() -> None:
    assert listing([]).stamp == STAMP
    assert listing([]).stands(STAMP)
    assert not listing([], settled=False).stands(STAMP)
    assert not listing([]).stands((1, 2, 3_000, -4_001))
    later = listing(numbered(3)).still(5.0)
    assert (later.fetched_at, later.validated_at, len(later)) == (1.0, 5.0, 3)


def test_times_out_of_range_are_clamped() -> None:
    far = bare(DIR)._replace(atime_ns=-(1 << 70), mtime_ns=1 << 70)
    found = listing([(b"far", far)]).get(b"far")
    assert found is not None
    assert found.atime_ns == -(1 << 61)
    assert found.mtime_ns == (1 << 64) - 1 - (1 << 61)


def test_entry_takes_at_most_53_bytes_and_its_name() -> None:
    tracemalloc.start()
    try:
        kept = [listing(numbered(10)) for _ in range(100)]
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(kept) == 100
    assert size / 1000 < 53 + 6 + 22, "and a tenth of the overhead of a directory"


def test_directories_returns_only_the_subdirectories() -> None:
    some = [(b"a", bare(DIR)), (b"b", bare(FILE)), (b"c", bare(DIR))]
    assert list(Listing(pack((1, 2, 3, 4), True, some), 0.0).directories()) == [some[0], some[2]]
    none = Listing(pack((1, 2, 3, 4), True, [(b"%d" % n, bare(FILE)) for n in range(10)]), 0.0)
    assert (list(none.directories()), list(Listing(pack((1, 2, 3, 4), True, []), 0.0).directories())) == ([], [])


def test_unknown_returns_entries_with_only_the_type_known() -> None:
    assert listing([(b"a", file(1)), (b"b", bare(DIR)), (b"c", bare(FILE))]).unknown() == [
        (b"b", bare(DIR)),
        (b"c", bare(FILE)),
    ]
    assert listing(numbered(3)).unknown() == []
