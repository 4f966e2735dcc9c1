"""What is remembered, how compactly, and what is forgotten first."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmirrorfs.attributes import DIR, FILE, Attributes
from mmirrorfs.source.reader import Listed, attributes
from mmirrorfs.source.source import Source
from mmirrorfs.view.memory import Listing, Memory, _unpack, pack
from mmirrorfs.view.nodes import FileNode
from tests.build import sources


def attr(size: int = 0, kind: int = FILE) -> Attributes:
    return Attributes(kind | 0o644, 1, 0, 0, 0, size, 0, 1, 2, 3, 4, size + 5)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return sources(tmp_path)[0]


class Shelf:
    """Makes listings of nodes."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def __call__(self, *names: bytes, size: int = 0) -> Listing:
        return Listing([(name, self.node(name, size)) for name in names], 0.0, None)

    def node(self, name: bytes, size: int = 0) -> FileNode:
        node = FileNode(self._source, name, name, FILE, False)
        node.attr = attr(size)
        return node


@pytest.fixture
def listing(source: Source) -> Shelf:
    return Shelf(source)


u32, u64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
s64 = st.integers(-(2**63), 2**63 - 1)
all_attributes = st.builds(Attributes, u32, u32, u32, u32, u32, u64, u64, s64, s64, s64, u64, u64)


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=255), all_attributes), max_size=20))
def test_what_is_packed_comes_out_as_it_was(entries: list[Listed]) -> None:
    assert list(_unpack(pack(entries))) == entries


def test_an_entry_takes_82_bytes_and_its_name() -> None:
    assert len(pack([(b"name", attr())])) == 86


def test_attributes_of_real_files_can_be_packed() -> None:
    for path in ("/", "/dev/null", "/dev/zero", "/proc/self/exe", "/etc/passwd"):
        entry = (os.fsencode(path), attributes(os.lstat(path)))
        assert list(_unpack(pack([entry]))) == [entry]


def test_a_listing_used_lately_is_given_back_as_it_was_handed_out(listing: Shelf) -> None:
    memory, kept = Memory(100), listing(b"a", b"b")
    memory.keep((0, b"A"), kept)
    assert memory.listing((0, b"A")) is kept
    assert memory.listing((1, b"A")) is None
    assert len(memory) == 2


def test_a_listing_finds_its_entries_by_name(listing: Shelf) -> None:
    kept = listing(b"a", b"b")
    assert kept.find(b"b") is kept.entries[1][1]
    assert kept.find(b"c") is None
    assert listing().find(b"a") is None


def test_a_listing_is_recalled_from_either_shelf(listing: Shelf) -> None:
    memory = Memory(100, hot=2)
    memory.keep((0, b"A"), listing(b"a", b"b", size=7))
    assert memory.recall((0, b"A")) == [(b"a", attr(7)), (b"b", attr(7))]
    memory.keep((0, b"B"), listing(b"c"))
    assert memory.listing((0, b"A")) is None
    assert memory.recall((0, b"A")) == [(b"a", attr(7)), (b"b", attr(7))]
    assert memory.recall((0, b"C")) is None
    assert len(memory) == 3


def test_a_hot_listing_is_recalled_with_the_attributes_that_its_nodes_have_by_now(listing: Shelf) -> None:
    memory, kept = Memory(100), listing(b"a")
    memory.keep((0, b"A"), kept)
    kept.entries[0][1].attr = attr(99)
    assert memory.recall((0, b"A")) == [(b"a", attr(99))]
    assert memory.recall_one(0, b"A/a") == attr(99)


def test_a_listing_too_large_for_the_first_shelf_is_packed_at_once(listing: Shelf) -> None:
    memory = Memory(100, hot=2)
    memory.keep((0, b"A"), listing(b"a", b"b", b"c"))
    assert memory.listing((0, b"A")) is None
    assert memory.is_listed((0, b"A"))


def test_a_new_listing_takes_the_place_of_the_old_one_on_both_shelves(listing: Shelf) -> None:
    memory = Memory(100, hot=2)
    memory.keep((0, b"A"), listing(b"a", b"b", b"c"))
    memory.keep((0, b"A"), listing(b"a"))
    assert memory.recall((0, b"A")) == [(b"a", attr())]
    memory.keep((0, b"A"), listing(b"a", b"b", b"c", b"d"))
    assert (memory.listing((0, b"A")), len(memory)) == (None, 4)


def test_the_first_shelf_gives_up_the_longest_unused(listing: Shelf) -> None:
    memory = Memory(100, hot=3)
    for name in (b"A", b"B", b"C"):
        memory.keep((0, name), listing(b"x"))
    assert memory.listing((0, b"A")) is not None
    memory.keep((0, b"D"), listing(b"x"))
    assert [name for name in (b"A", b"B", b"C", b"D") if memory.listing((0, name)) is None] == [b"B"]


def test_the_limit_holds_and_the_longest_unused_is_forgotten_first(listing: Shelf) -> None:
    memory = Memory(5, hot=1)
    for name in (b"A", b"B", b"C", b"D", b"E"):
        memory.keep((0, name), listing(b"x"))
    assert memory.recall((0, b"A")) is not None
    memory.keep((0, b"F"), listing(b"x"))
    assert [name for name in (b"A", b"B", b"C", b"D", b"E", b"F") if memory.recall((0, name)) is None] == [b"B"]
    assert len(memory) == 5


@given(
    st.integers(0, 12),
    st.integers(0, 12),
    st.lists(st.tuples(st.sampled_from("ABCDE"), st.integers(-1, 8)), max_size=30),
)
def test_the_limit_holds_whatever_is_kept_and_seen(limit: int, hot: int, steps: list[tuple[str, int]]) -> None:
    memory, listing = Memory(limit, hot), Shelf(sources(Path("/"))[0])
    for name, count in steps:
        if count < 0:
            memory.see(0, name.encode() + b"/x", attr())
        else:
            memory.keep((0, name.encode()), listing(*[b"%d" % n for n in range(count)]))
        assert len(memory) <= limit
        held = [memory.recall((0, key.encode())) for key in "ABCDE"]
        assert sum(len(entries) for entries in held if entries is not None) <= len(memory)


def test_nothing_is_remembered_where_nothing_is_to_be(listing: Shelf) -> None:
    memory = Memory(0)
    memory.keep((0, b"A"), listing(b"a"))
    memory.see(0, b"A/a", attr())
    assert (len(memory), memory.recall((0, b"A")), memory.recall_one(0, b"A/a")) == (0, None, None)


def test_a_merged_directory_s_listing_is_never_packed(listing: Shelf) -> None:
    memory = Memory(100, hot=1)
    memory.keep((-1, b"A"), listing(b"a"))
    memory.keep((-1, b"B"), listing(b"a"))
    assert (memory.recall((-1, b"A")), len(memory)) == (None, 1)


# Single files


def test_a_single_file_is_remembered_by_itself(listing: Shelf) -> None:
    memory = Memory(100)
    memory.see(0, b"A/a", attr(3))
    assert memory.recall_one(0, b"A/a") == attr(3)
    assert memory.recall_one(1, b"A/a") is None
    assert not memory.is_listed((0, b"A"))


@pytest.mark.parametrize("hot", [100, 1])
def test_a_listed_directory_knows_what_is_not_in_it(listing: Shelf, hot: int) -> None:
    memory = Memory(100, hot)
    memory.keep((0, b"A"), listing(b"a", b"b", size=3))
    assert memory.recall_one(0, b"A/a") == attr(3)
    assert memory.recall_one(0, b"A/none") is None


@pytest.mark.parametrize("hot", [100, 1])
def test_a_listing_knows_better_than_what_was_seen_before_it(listing: Shelf, hot: int) -> None:
    memory = Memory(100, hot)
    memory.see(0, b"A/gone", attr(1))
    memory.see(0, b"A/a", attr(1))
    memory.keep((0, b"A"), listing(b"a", b"b", size=2))
    assert memory.recall_one(0, b"A/gone") is None
    assert memory.recall_one(0, b"A/a") == attr(2)


@pytest.mark.parametrize("hot", [100, 1])
def test_what_was_seen_after_a_listing_knows_better_than_that(listing: Shelf, hot: int) -> None:
    memory = Memory(100, hot)
    memory.keep((0, b"A"), listing(b"a", b"gone", size=2))
    memory.keep((0, b"B"), listing(b"a"))
    memory.see(0, b"A/new", attr(5))
    memory.see(0, b"A/gone", None)
    memory.see(0, b"C/none", None)
    assert (memory.recall_one(0, b"A/new"), memory.recall_one(0, b"A/gone")) == (attr(5), None)
    assert memory.recall((0, b"A")) == [(b"a", attr(2)), (b"new", attr(5))]
    assert len(memory) == 5, "two listings, and what was seen since"


def test_what_is_at_the_root_of_a_source_is_remembered_too(listing: Shelf) -> None:
    memory = Memory(100)
    memory.see(0, b"file", attr(3, DIR))
    assert memory.recall_one(0, b"file") == attr(3, DIR)
