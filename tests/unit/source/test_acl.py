"""Access lists: validating cached ones, reading, and sending them."""

import errno
import os
import time
from pathlib import Path

import pytest

from mmirrorfs.attributes import DIR, FILE, LINK, Attributes, Kind
from mmirrorfs.listing import AccessLists, Listing, pack
from mmirrorfs.source.access import Access
from mmirrorfs.source.acl import NONE, NOTHING, NOTHING_ABOVE, OWN, AccessListReader, Read, of_entries
from mmirrorfs.source.cache_limit import CacheLimit
from mmirrorfs.source.freshness import COARSE, NEVER, WallClock
from mmirrorfs.source.known import Known
from mmirrorfs.source.list_directory import list_directory
from mmirrorfs.source.reader import Reader
from mmirrorfs.tree import EMPTY_DIRECTORY
from tests.support.acls import ACCESS, DEFAULT, access_list, give
from tests.support.crawling import Taken, crawling, plan, until
from tests.support.trees import Link, grow

WALL = 1_700_000_000
"""Seconds since the epoch at 0 of the monotonic clock."""
SOME: AccessLists = {ACCESS.encode(): b"some"}
OTHER: AccessLists = {ACCESS.encode(): b"other"}


def file(ino: int, ctime: float, kind: Kind = FILE, dev: int = 1) -> Attributes:
    """A file with that inode number and a ctime so many seconds after ``WALL``."""
    return Attributes(kind | 0o640, 1, 0, 0, 0, 0, 0, 0, 0, int((WALL + ctime) * 1e9), dev, ino)


def listing(fetched_at: float, lists: object = None, **entries: Attributes) -> Listing:
    listed = [(name.encode(), attr) for name, attr in entries.items()]
    return Listing(pack((1, 2, 3, 4), True, listed), fetched_at, lists=lists)  # type: ignore[arg-type]  # any will do


def wall_clock() -> WallClock:
    made = WallClock()
    made.update(0, int(WALL * 1e9))
    return made


class Reads(list[bytes]):
    """Records the names whose lists were read; each has OTHER."""

    def __call__(self, name: bytes, kind: Kind, dev: int) -> AccessLists | None:
        self.append(name)
        return OTHER


# The arithmetic


@pytest.mark.parametrize(
    ("before", "after", "carried"),
    [
        (file(1, 0), file(1, 0), True),
        (file(1, 0), file(1, 1), False),
        (file(1, 0), file(2, 0), False),
        (file(1, 0), file(1, 0, dev=2), False),
        (file(1, 10 - COARSE - 0.1), file(1, 10 - COARSE - 0.1), True),
        (file(1, 10 - COARSE + 0.1), file(1, 10 - COARSE + 0.1), False),
        (file(1, 99), file(1, 99), False),
    ],
    ids=["as it was", "changed", "replaced", "elsewhere", "settled", "may change within the same tick", "of tomorrow"],
)
def test_a_list_is_kept_while_inode_and_ctime_are_unchanged(
    before: Attributes, after: Attributes, carried: bool
) -> None:
    for lists, expected in (({b"a": SOME}, {b"a": SOME}), (NOTHING, NOTHING)):
        reads = Reads()
        found = of_entries(listing(20, a=after), listing(10, lists, a=before), wall_clock(), reads)
        assert (found, reads) == ((expected, []) if carried else ({b"a": OTHER}, [b"a"]))


def test_unknown_lists_are_read_or_stay_unknown_if_they_may_not_be() -> None:
    old, new = (
        listing(10, {b"a": None, b"b": SOME}, a=file(1, 0), b=file(2, 0)),
        listing(20, a=file(1, 0), c=file(3, 0)),
    )
    assert of_entries(new, old, wall_clock(), Reads()) == {b"a": OTHER, b"c": OTHER}
    assert of_entries(new, old, wall_clock(), None) == {b"a": None, b"c": None}
    assert of_entries(new, listing(10, a=file(1, 0)), wall_clock(), None) is None
    assert of_entries(new, None, wall_clock(), None) is None


def test_lists_of_a_distrusted_listing_are_not_kept() -> None:
    reads = Reads()
    of_entries(listing(20, a=file(1, 0)), listing(NEVER, {b"a": SOME}, a=file(1, 0)), wall_clock(), reads)
    assert reads == [b"a"]


def test_the_list_of_a_merged_directory_is_kept_while_its_stamp_is_unchanged() -> None:
    old = listing(10, {OWN: SOME})
    assert of_entries(listing(20), old, wall_clock(), None, own=True) == {OWN: SOME}
    moved = Listing(pack((1, 2, 3, 5), True, []), 20)
    assert of_entries(moved, old, wall_clock(), None, own=True) == {OWN: None}
    assert of_entries(moved, old, wall_clock(), Reads(), own=True) == {OWN: OTHER}
    assert of_entries(listing(20), listing(10, NOTHING), wall_clock(), None, own=True) == {OWN: None}


def test_lists_of_links_and_entries_without_attributes_are_not_read() -> None:
    reads = Reads()
    new = listing(20, a=file(1, 0, LINK), b=file(1, 0, dev=0))
    assert of_entries(new, None, wall_clock(), reads, own=True) == {OWN: OTHER}
    assert reads == [OWN]


def test_directories_without_lists_share_one_value() -> None:
    new = listing(20, a=file(1, 0), d=file(2, 0, DIR))
    assert of_entries(new, None, wall_clock(), lambda name, kind, dev: NONE) is NOTHING
    assert of_entries(new, None, wall_clock(), lambda name, kind, dev: NONE, own=True) is NOTHING_ABOVE


def test_the_wall_clock_never_returns_a_later_time_after_clock_jumps() -> None:
    made = WallClock()
    assert made.at(10) == 10e9 - 10e9, "no clock was seen: nothing is settled"
    for now, wall in ((0, WALL), (5, WALL + 3600), (6, WALL + 6)):  # set forward, and back
        made.update(now, int(wall * 1e9))
        assert made.at(10) == (WALL + 10) * 1e9
    made.update(7, int((WALL - 100) * 1e9))
    assert made.at(10) == (WALL - 107 + 10) * 1e9


# Cached lists


def known_with(lists: object, fetched_at: float = 10) -> tuple[Known, Access]:
    known = Known(EMPTY_DIRECTORY, CacheLimit(1000))
    known.apply(b"d", listing(fetched_at, lists, a=file(1, 0), b=file(2, fetched_at)))
    return known, Access(known, wall_clock())


def test_a_list_holds_for_the_time_of_its_entry() -> None:
    known, access = known_with({b"a": SOME})
    assert access.value(b"d/a", ACCESS.encode()) == (b"some", 10)
    assert access.value(b"d/a", DEFAULT.encode()) == (errno.ENODATA, 10)
    assert access.value(b"d/b", ACCESS.encode()) == (errno.ENODATA, 10)
    known.amend(b"d", b"a", file(1, 0), 30)
    known.amend(b"d", b"b", file(2, 10), 30)
    assert access.value(b"d/a", ACCESS.encode()) == (b"some", 30)
    assert access.value(b"d/b", ACCESS.encode()) is None, "it may have changed within the same tick"


@pytest.mark.parametrize("now", [file(1, 5), file(7, 0), None])
def test_the_list_of_an_entry_changed_replaced_or_removed_since_is_unknown(now: Attributes | None) -> None:
    known, access = known_with({b"a": SOME})
    known.amend(b"d", b"a", now, 30)
    known.current(b"d")
    assert access.value(b"d/a", ACCESS.encode()) is None


def test_a_list_that_could_not_be_read_is_unknown() -> None:
    for lists in (None, {b"a": None}):
        assert known_with(lists)[1].value(b"d/a", ACCESS.encode()) is None


@pytest.mark.parametrize(
    ("read", "counts"),
    [
        (Read(b"d", 10, (1, 2, 3, 4), {b"a": SOME}), True),
        (Read(b"d", 9, (1, 2, 3, 4), {b"a": SOME}), False),
        (Read(b"d", 11, (1, 2, 3, 5), {b"a": SOME}), False),
        (Read(b"e", 11, (1, 2, 3, 4), {b"a": SOME}), False),
    ],
    ids=["known then", "known later", "other names", "not known"],
)
def test_crawled_lists_are_stored_only_for_the_same_stamp(read: Read, counts: bool) -> None:
    access = known_with(None)[1]
    access.learn(read)
    assert access.value(b"d/a", ACCESS.encode()) == ((b"some", 10) if counts else None)


# Reading, and sending


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = grow(tmp_path / "root", {"A": {"one": {"01": "", "02": "", "l": Link("01"), "d": {}}}, "note": ""})
    for name in (".", "A/one", "A/one/02"):
        give(root / name, 4)
    give(root / "A/one/d", 4, 7, DEFAULT)
    return root


FULL: AccessLists = {ACCESS.encode(): access_list(4)}
MORE: AccessLists = {DEFAULT.encode(): access_list(4, 7)}


@pytest.mark.parametrize("listed", [True, False])
def test_lists_are_read_as_the_source_has_them(root: Path, listed: bool) -> None:
    reader = Reader(os.fsencode(root))
    fd = reader.open_directory(b"A/one")
    try:
        device = os.fstat(fd).st_dev
        ask = AccessListReader(reader, b"A/one", fd, device if listed else None)
        assert [ask(name, FILE, device) for name in (b"01", b"02", b"none")] == [NONE, FULL, None]
        assert [ask(name, DIR, device) for name in (b"d", OWN)] == [MORE, FULL]
    finally:
        os.close(fd)


def test_a_listing_reads_lists_and_keeps_valid_ones(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(os.fsencode(root))
    assert list_directory(reader, b"A/one").lists is None
    first = list_directory(reader, b"A/one", None, True)
    assert first.lists == {b"02": FULL, b"d": MORE}
    first.fetched_at += 2 * COARSE  # so long after their ctimes
    monkeypatch.setattr(os, "listxattr", lambda path, follow_symlinks: pytest.fail(str(path)))
    assert list_directory(reader, b"A/one", first, True).lists == first.lists


def test_lists_survive_encoding_and_decoding() -> None:
    for lists in (NOTHING, NOTHING_ABOVE, {b"\xff\n": FULL, b"x": None, OWN: NONE}):
        read = Read(b"d", 1.5, (1, 1 << 63, -3, 4), lists)
        assert Read.decoded(b"d", 1.5, read.encoded()) == read
        assert lists in (NOTHING, NOTHING_ABOVE, Read.decoded(b"d", 1.5, read.encoded()).lists)


async def test_the_crawl_sends_all_lists_after_all_listings(root: Path) -> None:
    received = Taken()
    before = time.monotonic()
    async with crawling(plan(root, 2), received) as crawl:
        await until(lambda: crawl.progress.state == "done" and crawl.pid is None, "the end")
    assert {path: read.lists for path, read in received.lists.items()} == {
        b"": {OWN: FULL},
        b"A": {b"one": FULL, OWN: NONE},
        b"A/one": {b"02": FULL, b"d": MORE},
        b"A/one/d": NOTHING,
    }
    assert received.lists[b"A/one"].stamp == received.listings[b"A/one"].stamp
    assert all(before < listing.fetched_at < received.lists[b""].when for listing in received.listings.values())
