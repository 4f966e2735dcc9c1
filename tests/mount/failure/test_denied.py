"""What is there is never denied: an old listing proves what is in it, and nothing of what is not.

Inside a folder a slow source is waited for by those who ask, and a hung one for what was never seen.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.disks import disk
from tests.support.fresh import PROMISE, REFRESH, figures, shows, stays
from tests.support.hanging import Hanging, freed, hanging
from tests.support.mounts import mounted
from tests.support.polling import poll
from tests.support.trees import Tree, grow
from tests.support.users import needs_root
from tests.support.waiting import Asked, worst

pytestmark = [pytest.mark.mount(seconds=60), needs_root]

HUNG = 5.0
"""Seconds without any answer after which a source counts as hung."""
FOLDER: Tree = {b"%02d" % number: b"track" for number in range(12)}
NAMES = [f"{number:02}" for number in range(12)]
SLOW: Tree = {b"A": FOLDER, b"B": {b"one": b"1"}}


@contextmanager
def view_of(place: Path, refresh: str = REFRESH) -> Iterator[tuple[Hanging, Path, Path]]:
    """The source, what lies under it, and the view, in which everything was listed."""
    under, other = grow(place / "under", SLOW), grow(place / "other", {b"Other": {b"track": b"o"}})
    with (
        hanging(under, place / "net") as net,
        mounted(place / "view", place / "net", other, options=[refresh]) as view,
        freed(net),
    ):
        read_all(view.mountpoint)
        yield net, under, view.mountpoint


def read_all(top: Path) -> list[str]:
    """Every name, with its attributes."""
    found = []
    for above, below, files in os.walk(top):
        for name in (*below, *files):
            os.stat(os.path.join(above, name))
            found.append(name)
    return found


def age(net: Hanging) -> None:
    """Let everything that is kept of the source become too old to be told as new."""
    stays(lambda: net.process.poll() is None, "the source", 1.5 * PROMISE)


@pytest.mark.parametrize("pause", [0.5, 1.0])
def test_a_file_added_to_a_slow_source_is_found(place: Path, pause: float) -> None:
    with view_of(place) as (net, under, view):
        net.slow(pause)
        (under / "A/new").write_bytes(b"new track")
        age(net)
        assert Asked(lambda: os.stat(view / "A/new")).answer(20).st_size == 9
        assert Asked(lambda: (view / "A/new").read_bytes()).answer(20) == b"new track"
        net.slow(0)


@pytest.mark.parametrize("pause", [0.5, 1.0])
def test_a_change_in_a_slow_source_is_seen_by_the_first_who_asks(place: Path, pause: float) -> None:
    with view_of(place) as (net, under, view):
        net.slow(pause)
        (under / "A/00").write_bytes(b"another length")
        (under / "A/01").chmod(0o640)
        (under / "A/02").unlink()
        age(net)
        assert Asked(lambda: figures(view / "A/00")).answer(20) == figures(under / "A/00")
        assert Asked(lambda: figures(view / "A/01")).answer(20) == figures(under / "A/01")
        with pytest.raises(FileNotFoundError):
            Asked(lambda: os.stat(view / "A/02")).answer(20)
        net.slow(0)


def test_a_folder_whose_listing_takes_longer_than_a_hang_is_listed_as_it_is(place: Path) -> None:
    """Each request is answered in half a second, so the source does not hang, however long they take together."""
    with view_of(place) as (net, under, view):
        net.slow(0.5)
        (under / "A/new").write_bytes(b"new track")
        (under / "A/02").unlink()
        age(net)
        found = Asked(lambda: sorted(os.listdir(view / "A")))
        assert found.answer(40) == sorted({*NAMES, "new"} - {"02"})
        net.slow(0)


def test_who_waits_for_a_slow_source_keeps_nobody_else_waiting(place: Path) -> None:
    with view_of(place) as (net, under, view):
        net.slow(0.5)
        (under / "A/new").write_bytes(b"new track")
        age(net)
        slow = Asked(lambda: os.listdir(view / "A"))

        def others() -> None:
            assert (view / "Other/track").read_bytes() == b"o"
            assert sorted(os.listdir(view)) == ["A", "B", "Other"]
            os.stat(view / "B")

        assert min(worst(others, 1) for _ in range(3)) < 0.25
        assert "new" in slow.answer(60)
        net.slow(0)


def test_of_a_hung_source_what_was_seen_is_told_and_what_was_not_is_waited_for(place: Path) -> None:
    with view_of(place) as (net, under, view):
        before = {name: figures(view / "A" / name) for name in NAMES}
        (under / "A/new").write_bytes(b"new track")
        net.hang()
        age(net)
        new = Asked(lambda: os.stat(view / "A/new").st_size)
        old = Asked(lambda: {name: figures(view / "B" / name) for name in ("one",)})
        assert old.answer(HUNG + 3)["one"] == figures(under / "B/one")
        listing = Asked(lambda: sorted(os.listdir(view / "B")))
        assert listing.answer(HUNG + 3) == ["one"]
        assert new.is_waiting, "it may be there"
        net.go_on()
        assert new.answer(10) == 9
        assert {name: figures(view / "A" / name) for name in NAMES} == before


def test_a_name_that_is_nowhere_is_denied_by_a_hung_source_only_when_it_answers_again(place: Path) -> None:
    with view_of(place) as (net, _, view):
        net.hang()
        age(net)
        absent = Asked(lambda: os.stat(view / "B/absent"))
        stays(lambda: absent.is_waiting, "the question", HUNG + 2)
        net.go_on()
        with pytest.raises(FileNotFoundError):
            absent.answer(10)


def test_a_file_looked_up_since_its_folder_was_listed_is_known_when_its_network_is_lost(place: Path) -> None:
    under, other = grow(place / "under", SLOW), grow(place / "other", {b"Other": {b"track": b"o"}})
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


def test_a_file_looked_up_since_its_folder_was_listed_is_known_when_its_disk_is_lost(place: Path) -> None:
    """The folder is large, so that names are looked up in it one by one."""
    large: Tree = {b"%04d" % number: b"track" for number in range(600)}
    other = grow(place / "other", {b"Other": {b"track": b"o"}})
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
    """The name is known while the kernel forgets it again and again, and others are denied."""
    stays(lambda: figures(view / path) == expected, "a file that was seen", 2 * PROMISE)
    assert not (view / "A/absent").exists()


def test_a_source_is_not_hung_while_it_answers_somebody(place: Path) -> None:
    """One reader waits for long, others are answered in between: nothing old is told for new."""
    with view_of(place) as (net, under, view):
        net.slow(1)
        age(net)
        slow = Asked(lambda: os.listdir(view / "A"))
        poll(lambda: net.figures.listed, "the listing begun")
        stays(lambda: slow.is_waiting or True, "time", HUNG)
        (under / "B/one").write_bytes(b"longer than before")
        age(net)
        assert Asked(lambda: os.stat(view / "B/one").st_size).answer(20) == 18
        assert slow.answer(40) == NAMES
        net.slow(0)


def test_names_come_and_go_in_a_slow_source_and_the_view_tells_the_truth_of_each(place: Path) -> None:
    def there(view: Path, name: str) -> bool:
        return Asked(lambda: os.path.lexists(view / "B" / name)).answer(20)

    with view_of(place) as (net, under, view):
        net.slow(0.5)
        for turn in range(2):
            (under / f"B/{turn}").write_bytes(b"come")
            age(net)
            assert there(view, f"{turn}")
            (under / f"B/{turn}").unlink()
            age(net)
            assert not there(view, f"{turn}")
        net.slow(0)
