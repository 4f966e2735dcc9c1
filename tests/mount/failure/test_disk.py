"""A local disk that hangs, or a filesystem within a local source that does, keeps its own readers waiting alone.

The disk is ext4 on a loop device over a file that stops answering: names that are in the kernel's memory are found
at once, and the blocks of what they name are not.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.disks import drop_caches, slow_disk
from tests.support.hanging import Hanging, freed, hanging
from tests.support.mounts import View, mounted
from tests.support.polling import poll
from tests.support.trees import Tree, grow
from tests.support.users import needs_root
from tests.support.waiting import Asked, worst

pytestmark = [pytest.mark.alone, pytest.mark.mount(seconds=30), needs_root]

AT_ONCE = 0.05
"""Seconds at the worst for whoever reads another source."""
TRACKS = 40
NAMES = [f"track-{number:02}" for number in range(TRACKS)]
TREE: Tree = {name.encode(): name.encode() for name in NAMES}
DISK: Tree = {b"Cold": TREE, b"Warm": TREE, b"Deep": {b"Cold": TREE}}
OTHER: Tree = {b"Other": TREE}


@contextmanager
def view_of_disk(place: Path, depth: int = 1) -> Iterator[tuple[Hanging, View]]:
    """A view of such a disk, which was answering at once so far, and another source."""
    other = grow(place / "other", OTHER)
    with (
        slow_disk(place / "disk", DISK) as blocks,
        mounted(place / "view", place / "disk", other, depth=depth, options=["--refresh=60", "--crawl=off"]) as view,
        freed(blocks),
    ):
        quicken(view, "Warm")
        yield blocks, view


def quicken(view: View, folder: str) -> None:
    """Read what is in memory, while the disk answers."""
    for _ in range(3):
        assert os.listdir(view.mountpoint / folder) == NAMES
        assert [entry.stat().st_size for entry in os.scandir(view.mountpoint / folder)] == [8] * TRACKS


def name_alone(directory: Path) -> None:
    """Have the kernel know a directory and nothing that is in it; all that is read of its disk is forgotten."""
    drop_caches()
    os.stat(directory)


def read_other(view: View) -> None:
    """Ask for all there is of the healthy source: names, listings, attributes and bytes."""
    for name in NAMES[:10]:
        assert (view.mountpoint / "Other" / name).read_text() == name
    assert os.listdir(view.mountpoint / "Other") == NAMES
    os.stat(view.mountpoint / "Other")
    os.statvfs(view.mountpoint)


def check_nobody_else_waits(view: View) -> None:
    """All others are answered at once; a machine that is busy with other things gets a second and a third chance."""
    Asked(lambda: read_other(view)).answer(4)  # who waits for what hangs waits for longer: HUNG
    longest = min(worst(lambda: read_other(view), 1.5) for _ in range(3))
    assert longest < AT_ONCE * 13, f"13 questions took {longest * 1000:.0f} ms"
    for call in (lambda: os.listdir(view.mountpoint / "Other"), lambda: os.statvfs(view.mountpoint)):
        longest = min(worst(call, 0.5) for _ in range(3))
        assert longest < AT_ONCE, f"{longest * 1000:.0f} ms"


@pytest.mark.parametrize("folder", ["Cold", "Deep/Cold"])
def test_a_listing_that_the_disk_does_not_give_keeps_nobody_else_waiting(place: Path, folder: str) -> None:
    with view_of_disk(place) as (blocks, view):
        name_alone(place / "disk" / folder)
        blocks.hang()
        stuck = Asked(lambda: os.listdir(view.mountpoint / folder))
        poll(lambda: blocks.figures.held, "a block that does not come")
        check_nobody_else_waits(view)
        assert stuck.is_waiting
        blocks.go_on()
        assert stuck.answer(10) == NAMES


def test_a_name_looked_up_in_a_folder_that_the_disk_does_not_give_keeps_nobody_else_waiting(place: Path) -> None:
    with view_of_disk(place) as (blocks, view):
        name_alone(place / "disk/Cold")
        blocks.hang()
        stuck = Asked(lambda: (view.mountpoint / "Cold" / NAMES[7]).read_text())
        poll(lambda: blocks.figures.held, "a block that does not come")
        check_nobody_else_waits(view)
        assert stuck.is_waiting
        blocks.go_on()
        assert stuck.answer(10) == NAMES[7]


def test_attributes_that_the_disk_does_not_give_keep_nobody_else_waiting(place: Path) -> None:
    """The names are in memory, for the folder was listed, and what they stand for is not."""
    with view_of_disk(place) as (blocks, view):
        name_alone(place / "disk/Cold")
        assert os.listdir(place / "disk/Cold")
        blocks.hang()
        stuck = Asked(lambda: [entry.stat().st_size for entry in os.scandir(view.mountpoint / "Cold")])
        poll(lambda: blocks.figures.held, "a block that does not come")
        check_nobody_else_waits(view)
        blocks.go_on()
        assert stuck.answer(10) == [8] * TRACKS


def test_a_listing_that_comes_slowly_keeps_nobody_else_waiting(place: Path) -> None:
    with view_of_disk(place) as (blocks, view):
        name_alone(place / "disk/Cold")
        blocks.slow(1)
        slow = Asked(lambda: os.listdir(view.mountpoint / "Cold"))
        check_nobody_else_waits(view)
        assert slow.answer(20) == NAMES
        assert slow.took > 0.9, "it had to be read"


def test_nothing_at_the_top_waits_for_a_disk_that_hangs(place: Path) -> None:
    with view_of_disk(place, depth=2) as (blocks, view):
        drop_caches()
        blocks.hang()
        for _ in range(3):
            look = Asked(lambda: [entry.stat().st_mode for entry in os.scandir(view.mountpoint)])
            assert len(look.answer(1)) == 4
            look = Asked(lambda: [entry.stat().st_mode for entry in os.scandir(view.mountpoint / "Deep")])
            assert len(look.answer(1)) == 1
            drop_caches()
        check_nobody_else_waits(view)
        blocks.go_on()


@pytest.mark.parametrize("depth", [1, 2])
def test_a_filesystem_within_a_local_source_that_hangs_keeps_nobody_else_waiting(place: Path, depth: int) -> None:
    local = grow(place / "local", {b"Warm": TREE, b"Net": {}})
    other, under = grow(place / "other", OTHER), grow(place / "under", {b"Album": TREE, **TREE})
    folder = "Net" if depth == 1 else "Net/Album"
    with (
        hanging(under, local / "Net") as net,
        mounted(place / "view", local, other, depth=1, options=["--refresh=60", "--crawl=off"]) as view,
        freed(net),
    ):
        quicken(view, "Warm")
        net.hang()
        stuck = Asked(lambda: os.listdir(view.mountpoint / folder))
        poll(lambda: net.figures.held, "a request without an answer")
        check_nobody_else_waits(view)
        assert Asked(lambda: (view.mountpoint / "Warm" / NAMES[3]).read_text()).answer(1) == NAMES[3]
        net.go_on()
        assert set(stuck.answer(10)) >= set(NAMES)
