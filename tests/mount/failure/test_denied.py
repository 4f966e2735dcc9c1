"""A name that exists is never reported missing: a cached listing proves what it contains, not what it lacks.

Inside a folder, readers wait for a slow source; for a hung one they wait only for what was never cached.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.disks import disk
from tests.support.fresh import figures, shows, stays
from tests.support.hanging import Hanging, freed, hanging
from tests.support.mounts import mounted
from tests.support.polling import poll
from tests.support.trees import Tree, grow
from tests.support.users import needs_root
from tests.support.waiting import Asked, worst

pytestmark = [pytest.mark.waits, pytest.mark.mount(seconds=60), needs_root]

STALENESS = 0.2
REFRESH = f"--refresh={STALENESS}"
HUNG = 5.0
"""Seconds without any answer after which a source counts as hung."""
FOLDER: Tree = {b"%02d" % number: b"track" for number in range(12)}
SMALL: Tree = {b"written": b"track", b"mode": b"track", b"removed": b"track"}
TREE: Tree = {b"A": FOLDER, b"B": {b"one": b"1"}, b"Slow 0.1": SMALL, b"Slow 0.2": SMALL, b"Turns": {}}
OTHER: Tree = {b"Other": {b"track": b"o"}}


@dataclass(frozen=True, slots=True)
class Slow:
    """A source that can be slow or hang, the tree under it, and the view of it and another source."""

    net: Hanging
    under: Path
    view: Path


@pytest.fixture(scope="module")
def shared(shared_place: Path) -> Iterator[Slow]:
    """One view for all tests that only change names of their own."""
    under, other = grow(shared_place / "under", TREE), grow(shared_place / "other", OTHER)
    with (
        hanging(under, shared_place / "net") as net,
        mounted(shared_place / "view", shared_place / "net", other, options=[REFRESH]) as view,
        freed(net),
    ):
        yield Slow(net, under, view.mountpoint)


@pytest.fixture
def source(shared: Slow) -> Iterator[Slow]:
    """The shared source, answering at once, with everything cached; it answers at once again afterwards."""
    read_all(shared.view)
    try:
        yield shared
    finally:
        shared.net.slow(0)
        shared.net.go_on()


def read_all(top: Path) -> None:
    """List every directory and stat every name."""
    for above, below, files in os.walk(top):
        for name in (*below, *files):
            os.stat(os.path.join(above, name))


def expire(source: Slow) -> None:
    """Let everything cached of the source exceed its maximum staleness."""
    stays(lambda: source.net.process.poll() is None, "the source", 1.5 * STALENESS)


@pytest.mark.parametrize("pause", [STALENESS / 2, STALENESS])
def test_changes_in_a_slow_source_are_seen_by_the_first_reader(place: Path, source: Slow, pause: float) -> None:
    here, there = source.view / f"Slow {pause}", source.under / f"Slow {pause}"
    source.net.slow(pause)
    (there / "new").write_bytes(b"new track")
    (there / "written").write_bytes(b"another length")
    (there / "mode").chmod(0o640)
    (there / "removed").unlink()
    expire(source)
    assert Asked(lambda: os.stat(here / "new")).answer(20).st_size == 9
    assert Asked(lambda: figures(here / "written")).answer(20) == figures(there / "written")
    assert Asked(lambda: figures(here / "mode")).answer(20) == figures(there / "mode")
    with pytest.raises(FileNotFoundError):
        Asked(lambda: os.stat(here / "removed")).answer(20)
    assert Asked(lambda: (here / "new").read_bytes()).answer(20) == b"new track"


def test_a_listing_slower_than_the_hang_timeout_is_current_and_delays_no_other_reader(
    place: Path, source: Slow
) -> None:
    """Each request is answered in a quarter of a second, so the source is not hung, however long the listing takes."""
    source.net.slow(0.25)
    (source.under / "A/listed").write_bytes(b"new track")
    (source.under / "A/02").unlink()
    expire(source)
    listing = Asked(lambda: sorted(os.listdir(source.view / "A")))

    def read_others() -> None:
        assert (source.view / "Other/track").read_bytes() == b"o"
        assert sorted(os.listdir(source.view)) == sorted(["Other", *map(os.fsdecode, TREE)])
        os.stat(source.view / "B")

    assert any(worst(read_others, 1) < 0.25 for _ in range(3))
    found = listing.answer(60)
    assert listing.took > HUNG
    assert found == sorted(os.listdir(source.under / "A"))
    assert "listed" in found
    assert "02" not in found


def test_a_hung_source_serves_cached_metadata_and_only_uncached_names_wait(place: Path, source: Slow) -> None:
    names = os.listdir(source.under / "A")
    before = {name: figures(source.view / "A" / name) for name in names}
    (source.under / "A/uncached").write_bytes(b"new track")
    source.net.hang()
    expire(source)
    uncached = Asked(lambda: os.stat(source.view / "A/uncached").st_size)
    cached = Asked(lambda: figures(source.view / "B/one"))
    assert cached.answer(HUNG + 3) == figures(source.under / "B/one")
    listing = Asked(lambda: sorted(os.listdir(source.view / "B")))
    assert listing.answer(HUNG + 3) == ["one"]
    assert uncached.is_waiting, "the name may exist"
    source.net.go_on()
    assert uncached.answer(10) == 9
    assert {name: figures(source.view / "A" / name) for name in names} == before


def test_a_hung_source_reports_an_absent_name_missing_only_once_it_answers(place: Path, source: Slow) -> None:
    source.net.hang()
    expire(source)
    absent = Asked(lambda: os.stat(source.view / "B/absent"))
    stays(lambda: absent.is_waiting, "the lookup", HUNG + 2)
    source.net.go_on()
    with pytest.raises(FileNotFoundError):
        absent.answer(10)


def test_a_source_that_answers_any_request_is_not_hung(place: Path, source: Slow) -> None:
    """One reader waits for long, others are answered in between: no cached metadata is served instead."""
    names = sorted(os.listdir(source.under / "A"))
    source.net.slow(0.25)
    expire(source)
    slow = Asked(lambda: sorted(os.listdir(source.view / "A")))
    poll(lambda: source.net.figures.listed, "the listing begun")
    stays(lambda: slow.is_waiting or True, "time", HUNG)
    (source.under / "B/one").write_bytes(b"longer than before")
    expire(source)
    assert Asked(lambda: os.stat(source.view / "B/one").st_size).answer(20) == 18
    assert slow.answer(40) == names


def test_names_added_to_and_removed_from_a_slow_source_show_each_time(place: Path, source: Slow) -> None:
    here, there = source.view / "Turns", source.under / "Turns"
    source.net.slow(STALENESS)
    for turn in range(3):
        (there / f"{turn}").write_bytes(b"added")
        (there / f"{turn - 1}").unlink(missing_ok=True)
        expire(source)
        added, removed = (Asked(lambda name=name: os.path.lexists(here / f"{name}")) for name in (turn, turn - 1))  # type: ignore[misc]
        assert (added.answer(20), removed.answer(20)) == (True, False), turn


def test_a_file_found_after_its_folder_was_listed_stays_cached_when_the_network_is_lost(place: Path) -> None:
    under, other = grow(place / "under", TREE), grow(place / "other", OTHER)
    with (
        hanging(under, place / "net") as net,
        mounted(place / "view", place / "net", other, options=[REFRESH]) as mount,
    ):
        mount.expect("is lost")
        view = mount.mountpoint
        read_all(view)
        (under / "A/new").write_bytes(b"new track")
        shows(lambda: (view / "A/new").exists(), "the file")
        expected = figures(view / "A/new")
        net.abort()
        shows(lambda: "is lost" in mount.text(), "the warning")
        check_stays(view, "A/new", expected)


def test_a_file_found_after_its_folder_was_listed_stays_cached_when_the_disk_is_lost(place: Path) -> None:
    """The folder is large, so that names are looked up in it one by one."""
    large: Tree = {b"%04d" % number: b"track" for number in range(600)}
    other = grow(place / "other", OTHER)
    with (
        disk(place / "disk", {b"A": large}, "ext4") as plug,
        mounted(place / "view", plug.where, other, options=[REFRESH]) as mount,
    ):
        mount.expect("is lost")
        view = mount.mountpoint
        read_all(view)
        (plug.where / "A/new").write_bytes(b"new track")
        shows(lambda: (view / "A/new").exists(), "the file")
        expected = figures(view / "A/new")
        plug.unplug()
        shows(lambda: "is lost" in mount.text(), "the warning")
        check_stays(view, "A/new", expected)
        check_stays(view, "A/0500", figures(view / "A/0500"))


def check_stays(view: Path, path: str, expected: object) -> None:
    """The cached name stays while the kernel's entry expires again and again; absent names are missing."""
    stays(lambda: figures(view / path) == expected, "a cached file", 2 * STALENESS)
    assert not (view / "A/absent").exists()
