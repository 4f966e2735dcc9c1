"""A local disk that hangs, or a filesystem within a local source that does, delays nobody but its own readers.

The disk is ext4 on a loop device over a file that stops answering: names in the kernel's caches are found at once, the
blocks behind them are not.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
"""Longest time in seconds that a request to another source may take."""
TRACKS = 40
NAMES = [f"track-{number:02}" for number in range(TRACKS)]
TREE: Tree = {name.encode(): name.encode() for name in NAMES}
COLD = {"listed", "looked up", "stat", "slow"}
DISK: Tree = {**{name.encode(): TREE for name in COLD}, b"Warm": TREE, b"Deep": {b"Cold": TREE}}
OTHER: Tree = {b"Other": TREE}


@dataclass(frozen=True, slots=True)
class SlowDisk:
    """A disk at ``path``, what its ``blocks`` come from, and a view of it and another source."""

    path: Path
    blocks: Hanging
    view: View


@contextmanager
def view_of_disk(place: Path, depth: int = 1) -> Iterator[SlowDisk]:
    """Such a view; only ``Warm`` was read."""
    other = grow(place / "other", OTHER)
    with (
        slow_disk(place / "disk", DISK) as blocks,
        mounted(place / "view", place / "disk", other, depth=depth, options=["--refresh=60", "--crawl=off"]) as view,
        freed(blocks),
    ):
        warm_up(view, "Warm")
        yield SlowDisk(place / "disk", blocks, view)


@pytest.fixture(scope="module")
def shared(shared_place: Path) -> Iterator[SlowDisk]:
    """One view for all tests that read a cold folder of their own."""
    with view_of_disk(shared_place) as disk:
        yield disk


@pytest.fixture
def disk(shared: SlowDisk) -> Iterator[SlowDisk]:
    """The shared view; the disk answers at once before and after the test."""
    warm_up(shared.view, "Warm")
    try:
        yield shared
    finally:
        shared.blocks.slow(0)
        shared.blocks.go_on()


def warm_up(view: View, folder: str) -> None:
    """Have a folder cached while the disk answers, and the attributes of the folders at the depth.

    The scan before the mount leaves those out where the source is local.
    """
    poll(lambda: len(re.findall(r"source \S+ scanned", view.text())) >= 2, "a scan of both sources")
    for _ in range(3):
        assert os.listdir(view.mountpoint / folder) == NAMES
        assert [entry.stat().st_size for entry in os.scandir(view.mountpoint / folder)] == [8] * TRACKS


def cache_only_the_name(directory: Path) -> None:
    """Have the kernel cache a directory's inode, and nothing else of its disk."""
    drop_caches()
    os.stat(directory)


def read_other(view: View) -> None:
    """Request names, a listing, attributes and bytes of the healthy source."""
    for name in NAMES[:10]:
        assert (view.mountpoint / "Other" / name).read_text() == name
    assert os.listdir(view.mountpoint / "Other") == NAMES
    os.stat(view.mountpoint / "Other")
    os.statvfs(view.mountpoint)


def check_nobody_else_waits(view: View) -> None:
    """All others are answered at once; each check has three attempts, as the machine may be busy."""
    Asked(lambda: read_other(view)).answer(4)  # whoever waits for the hung disk waits longer
    check_worst(lambda: read_other(view), 0.8, 13 * AT_ONCE)
    check_worst(lambda: os.listdir(view.mountpoint / "Other"), 0.3, AT_ONCE)
    check_worst(lambda: os.statvfs(view.mountpoint), 0.3, AT_ONCE)


def check_worst(call: Callable[[], object], seconds: float, bound: float) -> None:
    """Repeated for ``seconds``, the call never takes ``bound`` seconds, in one of three attempts."""
    longest: list[float] = []
    while len(longest) < 3:
        longest.append(worst(call, seconds))
        if longest[-1] < bound:
            return
    raise AssertionError(f"not within {bound * 1000:.0f} ms: {[f'{time * 1000:.0f} ms' for time in longest]}")


@pytest.mark.parametrize("folder", ["listed", "Deep/Cold"])
def test_a_listing_that_hangs_on_the_disk_delays_no_other_reader(place: Path, disk: SlowDisk, folder: str) -> None:
    cache_only_the_name(disk.path / folder)
    disk.blocks.hang()
    stuck = Asked(lambda: os.listdir(disk.view.mountpoint / folder))
    poll(lambda: disk.blocks.figures.held, "a block request that hangs")
    check_nobody_else_waits(disk.view)
    assert stuck.is_waiting
    disk.blocks.go_on()
    assert stuck.answer(10) == NAMES


def test_a_lookup_that_hangs_on_the_disk_delays_no_other_reader(place: Path, disk: SlowDisk) -> None:
    cache_only_the_name(disk.path / "looked up")
    disk.blocks.hang()
    stuck = Asked(lambda: (disk.view.mountpoint / "looked up" / NAMES[7]).read_text())
    poll(lambda: disk.blocks.figures.held, "a block request that hangs")
    check_nobody_else_waits(disk.view)
    assert stuck.is_waiting
    disk.blocks.go_on()
    assert stuck.answer(10) == NAMES[7]


def test_attributes_that_hang_on_the_disk_delay_no_other_reader(place: Path, disk: SlowDisk) -> None:
    """The names are cached, as the folder was listed; their inodes are not."""
    cache_only_the_name(disk.path / "stat")
    assert os.listdir(disk.path / "stat")
    disk.blocks.hang()
    stuck = Asked(lambda: [entry.stat().st_size for entry in os.scandir(disk.view.mountpoint / "stat")])
    poll(lambda: disk.blocks.figures.held, "a block request that hangs")
    check_nobody_else_waits(disk.view)
    disk.blocks.go_on()
    assert stuck.answer(10) == [8] * TRACKS


def test_a_slow_listing_delays_no_other_reader(place: Path, disk: SlowDisk) -> None:
    cache_only_the_name(disk.path / "slow")
    disk.blocks.slow(1)
    slow = Asked(lambda: os.listdir(disk.view.mountpoint / "slow"))
    check_nobody_else_waits(disk.view)
    assert slow.answer(20) == NAMES
    assert slow.took > 0.9, "it had to be read from the disk"


def test_no_request_above_the_depth_waits_for_a_hung_disk(place: Path) -> None:
    with view_of_disk(place, depth=2) as disk:
        top = disk.view.mountpoint
        drop_caches()
        disk.blocks.hang()
        for _ in range(3):
            for directory, count in ((top, len(DISK) + 1), (top / "Deep", 1)):
                modes = Asked(lambda path=directory: [entry.stat().st_mode for entry in os.scandir(path)])  # type: ignore[misc]
                assert len(modes.answer(1)) == count
            drop_caches()
        check_nobody_else_waits(disk.view)
        disk.blocks.go_on()


def test_a_hung_filesystem_mounted_within_a_local_source_delays_no_other_reader(place: Path) -> None:
    """It is a folder itself, or has folders; both hang at once."""
    local = grow(place / "local", {b"Warm": TREE, b"Net": {}})
    other, under = grow(place / "other", OTHER), grow(place / "under", {b"Album": TREE, **TREE})
    with (
        hanging(under, local / "Net") as net,
        mounted(place / "view", local, other, depth=1, options=["--refresh=60", "--crawl=off"]) as view,
        freed(net),
    ):
        warm_up(view, "Warm")
        net.hang()
        folder, deep = (Asked(lambda path=path: os.listdir(view.mountpoint / path)) for path in ("Net", "Net/Album"))  # type: ignore[misc]
        poll(lambda: net.figures.held, "a request without an answer")
        check_nobody_else_waits(view)
        assert Asked(lambda: (view.mountpoint / "Warm" / NAMES[3]).read_text()).answer(1) == NAMES[3]
        assert folder.is_waiting
        assert deep.is_waiting
        net.go_on()
        assert set(folder.answer(10)) == {*NAMES, "Album"}
        assert deep.answer(10) == NAMES
