"""What a known access list is worth later, on clocks that are set; reading lists; and sending them."""

import errno
import os
import time
from pathlib import Path

import pytest

from mmirrorfs.attributes import DIR, FILE, LINK, Attributes, Kind
from mmirrorfs.listing import AccessLists, Listing, pack
from mmirrorfs.source.access import Access
from mmirrorfs.source.freshness import COARSE, NEVER, WallClock
from mmirrorfs.source.known import Known
from mmirrorfs.source.list_directory import list_directory
from mmirrorfs.source.lists import NONE, NOTHING, NOTHING_ABOVE, OWN, Asker, Read, of_entries
from mmirrorfs.source.reader import Reader
from mmirrorfs.source.room import Room
from mmirrorfs.tree import EMPTY_DIRECTORY
from tests.support.acls import ACCESS, DEFAULT, access_list, give
from tests.support.crawling import Taken, crawling, plan, until
from tests.support.trees import Link, grow

WALL = 1_700_000_000
"""Seconds since the epoch at the moment 0 of the monotonic clock."""
SOME: AccessLists = {ACCESS.encode(): b"some"}
OTHER: AccessLists = {ACCESS.encode(): b"other"}


def file(ino: int, ctime: float, kind: Kind = FILE, dev: int = 1) -> Attributes:
    """What has that inode number, changed so many seconds after ``WALL``."""
    return Attributes(kind | 0o640, 1, 0, 0, 0, 0, 0, 0, 0, int((WALL + ctime) * 1e9), dev, ino)


def listing(fetched_at: float, lists: object = None, **entries: Attributes) -> Listing:
    listed = [(name.encode(), attr) for name, attr in entries.items()]
    return Listing(pack((1, 2, 3, 4), True, listed), fetched_at, lists=lists)  # type: ignore[arg-type]  # any will do


def wall_clock() -> WallClock:
    made = WallClock()
    made.update(0, int(WALL * 1e9))
    return made


class Asked(list[bytes]):
    """The names that were asked for: each has OTHER."""

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
def test_a_list_is_carried_over_where_inode_and_ctime_stand(
    before: Attributes, after: Attributes, carried: bool
) -> None:
    for lists, expected in (({b"a": SOME}, {b"a": SOME}), (NOTHING, NOTHING)):
        asked = Asked()
        found = of_entries(listing(20, a=after), listing(10, lists, a=before), wall_clock(), asked)
        assert (found, asked) == ((expected, []) if carried else ({b"a": OTHER}, [b"a"]))


def test_what_was_not_known_is_asked_for_and_what_may_not_be_is_not_known() -> None:
    old, new = (
        listing(10, {b"a": None, b"b": SOME}, a=file(1, 0), b=file(2, 0)),
        listing(20, a=file(1, 0), c=file(3, 0)),
    )
    assert of_entries(new, old, wall_clock(), Asked()) == {b"a": OTHER, b"c": OTHER}
    assert of_entries(new, old, wall_clock(), None) == {b"a": None, b"c": None}
    assert of_entries(new, listing(10, a=file(1, 0)), wall_clock(), None) is None
    assert of_entries(new, None, wall_clock(), None) is None


def test_nothing_that_was_distrusted_is_carried_over() -> None:
    asked = Asked()
    of_entries(listing(20, a=file(1, 0)), listing(NEVER, {b"a": SOME}, a=file(1, 0)), wall_clock(), asked)
    assert asked == [b"a"]


def test_the_list_of_a_merged_directory_is_carried_over_where_its_stamp_stands() -> None:
    old = listing(10, {OWN: SOME})
    assert of_entries(listing(20), old, wall_clock(), None, own=True) == {OWN: SOME}
    moved = Listing(pack((1, 2, 3, 5), True, []), 20)
    assert of_entries(moved, old, wall_clock(), None, own=True) == {OWN: None}
    assert of_entries(moved, old, wall_clock(), Asked(), own=True) == {OWN: OTHER}
    assert of_entries(listing(20), listing(10, NOTHING), wall_clock(), None, own=True) == {OWN: None}


def test_links_and_what_has_no_attributes_are_not_asked_for() -> None:
    asked = Asked()
    new = listing(20, a=file(1, 0, LINK), b=file(1, 0, dev=0))
    assert of_entries(new, None, wall_clock(), asked, own=True) == {OWN: OTHER}
    assert asked == [OWN]


def test_directories_without_any_share_one_value() -> None:
    new = listing(20, a=file(1, 0), d=file(2, 0, DIR))
    assert of_entries(new, None, wall_clock(), lambda name, kind, dev: NONE) is NOTHING
    assert of_entries(new, None, wall_clock(), lambda name, kind, dev: NONE, own=True) is NOTHING_ABOVE


def test_a_clock_that_is_set_or_stood_still_makes_no_moment_later_than_it_was() -> None:
    made = WallClock()
    assert made.at(10) == 10e9 - 10e9, "no clock was seen: nothing is settled"
    for now, wall in ((0, WALL), (5, WALL + 3600), (6, WALL + 6)):  # set forward, and back
        made.update(now, int(wall * 1e9))
        assert made.at(10) == (WALL + 10) * 1e9
    made.update(7, int((WALL - 100) * 1e9))
    assert made.at(10) == (WALL - 107 + 10) * 1e9


# What is known


def known_with(lists: object, fetched_at: float = 10) -> tuple[Known, Access]:
    known = Known(EMPTY_DIRECTORY, Room(1000))
    known.apply(b"d", listing(fetched_at, lists, a=file(1, 0), b=file(2, fetched_at)))
    return known, Access(known, wall_clock())


def test_a_list_is_told_as_of_when_its_entry_was_proved() -> None:
    known, access = known_with({b"a": SOME})
    assert access.value(b"d/a", ACCESS.encode()) == (b"some", 10)
    assert access.value(b"d/a", DEFAULT.encode()) == (errno.ENODATA, 10)
    assert access.value(b"d/b", ACCESS.encode()) == (errno.ENODATA, 10)
    known.amend(b"d", b"a", file(1, 0), 30)
    known.amend(b"d", b"b", file(2, 10), 30)
    assert access.value(b"d/a", ACCESS.encode()) == (b"some", 30)
    assert access.value(b"d/b", ACCESS.encode()) is None, "it may have changed within the same tick"


@pytest.mark.parametrize("now", [file(1, 5), file(7, 0), None])
def test_a_list_of_what_was_changed_replaced_or_removed_since_is_not_known(now: Attributes | None) -> None:
    known, access = known_with({b"a": SOME})
    known.amend(b"d", b"a", now, 30)
    known.current(b"d")
    assert access.value(b"d/a", ACCESS.encode()) is None


def test_a_list_that_could_not_be_read_is_not_known() -> None:
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
def test_what_the_crawl_read_counts_for_a_directory_that_is_known_as_it_was_then(read: Read, counts: bool) -> None:
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
        ask = Asker(reader, b"A/one", fd, device if listed else None)
        assert [ask(name, FILE, device) for name in (b"01", b"02", b"none")] == [NONE, FULL, None]
        assert [ask(name, DIR, device) for name in (b"d", OWN)] == [MORE, FULL]
    finally:
        os.close(fd)


def test_a_look_takes_them_and_asks_again_for_none_that_stands(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(os.fsencode(root))
    assert list_directory(reader, b"A/one").lists is None
    first = list_directory(reader, b"A/one", None, True)
    assert first.lists == {b"02": FULL, b"d": MORE}
    first.fetched_at += 2 * COARSE  # so long after their ctimes
    monkeypatch.setattr(os, "listxattr", lambda path, follow_symlinks: pytest.fail(str(path)))
    assert list_directory(reader, b"A/one", first, True).lists == first.lists


def test_what_is_sent_arrives() -> None:
    for lists in (NOTHING, NOTHING_ABOVE, {b"\xff\n": FULL, b"x": None, OWN: NONE}):
        read = Read(b"d", 1.5, (1, 1 << 63, -3, 4), lists)
        assert Read.decoded(b"d", 1.5, read.encoded()) == read
        assert lists in (NOTHING, NOTHING_ABOVE, Read.decoded(b"d", 1.5, read.encoded()).lists)


async def test_the_crawl_sends_those_of_all_directories_after_all_listings(root: Path) -> None:
    fetched_at = Taken()
    before = time.monotonic()
    async with crawling(plan(root, 2), fetched_at) as crawl:
        await until(lambda: crawl.progress.state == "done" and crawl.pid is None, "the end")
    assert {path: read.lists for path, read in fetched_at.lists.items()} == {
        b"": {OWN: FULL},
        b"A": {b"one": FULL, OWN: NONE},
        b"A/one": {b"02": FULL, b"d": MORE},
        b"A/one/d": NOTHING,
    }
    assert fetched_at.lists[b"A/one"].stamp == fetched_at.listings[b"A/one"].stamp
    assert all(before < listing.fetched_at < fetched_at.lists[b""].when for listing in fetched_at.listings.values())
