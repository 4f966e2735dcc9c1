"""The cost of operations in FUSE requests and system calls on the sources.

They are counted and not timed, so they are the same on a busy machine.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.held import QUIET, refresh, rested
from tests.support.mounts import View, mounted
from tests.support.polling import poll
from tests.support.tracing import Costs, Trace, traced
from tests.support.trees import Tree, grow
from tests.support.users import needs_root

pytestmark = pytest.mark.alone

TRACKS: Tree = {b"%02d" % n: b"track..." * 1024 for n in range(3)}
LISTED = {"OPENDIR": 1, "READDIRPLUS": 2, "RELEASEDIR": 1}
"""The requests of a listing: the second READDIRPLUS returns the end of the directory."""


@contextmanager
def mounted_with(place: Path, *options: str) -> Iterator[View]:
    """Two artists of two albums in each source, one artist and one album in both; cached throughout."""
    high = grow(place / "sources" / "high", {b"A": {b"a": TRACKS, b"b": TRACKS}, b"B": {b"a": TRACKS, b"b": TRACKS}})
    low = grow(place / "sources" / "low", {b"B": {b"a": TRACKS, b"c": TRACKS}, b"C": {b"a": TRACKS, b"b": TRACKS}})
    with mounted(place / "view", high, low, depth=2, options=[*QUIET, *options]) as view:
        rested(view)
        yield view


@pytest.fixture(scope="module")
def view(shared_place: Path) -> Iterator[View]:
    """A view whose superblock is read-only, for all tests: each uses another album of ``B``."""
    with mounted_with(shared_place, "--announce=off") as view:
        yield view


@pytest.fixture(scope="module")
def trace(view: View) -> Iterator[Trace]:
    with traced(view.pid, view.mountpoint, view.mountpoint.parent / "sources") as trace:
        trace.costs(lambda: os.stat(view.mountpoint))
        yield trace


def listed(path: Path) -> list[str]:
    """List like ``ls -l``: the names, and stat(2) of each."""
    with os.scandir(path) as entries:
        return [entry.name for entry in entries if entry.stat(follow_symlinks=False)]


def read(path: Path) -> bytes:
    """Open, read, close, without Python's additional calls."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)


def missing(path: Path) -> None:
    assert not os.access(path, os.F_OK)


def test_a_listing_above_the_depth_costs_the_sources_nothing(view: View, trace: Trace) -> None:
    for _ in ("cold", "warm"):
        assert trace.costs(lambda: listed(view.mountpoint)) == Costs(LISTED, {})


@needs_root
def test_with_announcements_a_second_listing_costs_one_more_getattr(
    place: Path,
) -> None:
    """The kernel expires the access time of a directory that it read, as on every filesystem that is not read-only."""
    with mounted_with(place) as view, traced(view.pid, view.mountpoint, view.mountpoint.parent / "sources") as trace:
        listed(view.mountpoint / "B")
        assert trace.costs(lambda: listed(view.mountpoint / "B")) == Costs({**LISTED, "GETATTR": 1}, {})


def test_a_listing_of_folders_costs_the_sources_nothing_after_the_scan(view: View, trace: Trace) -> None:
    listed(view.mountpoint)
    for _ in ("cold", "warm"):
        assert trace.costs(lambda: listed(view.mountpoint / "B")) == Costs(LISTED, {})


def test_a_listing_inside_a_folder_costs_a_stat_per_name_and_the_next_one_nothing(view: View, trace: Trace) -> None:
    folder = view.mountpoint / "B" / "a"
    listed(folder.parent)
    cold = trace.costs(lambda: listed(folder))
    assert cold == Costs(LISTED, {"open": 1, "getdents64": 2, "newfstatat": 5, "close": 2}), "three files"
    warm = trace.costs(lambda: listed(folder))
    assert warm == Costs(LISTED, {})


def test_reading_a_file_costs_an_open_a_stat_a_read_and_a_close(view: View, trace: Trace) -> None:
    folder = view.mountpoint / "B" / "b"
    listed(folder)
    read(folder / "00")
    cold = trace.costs(lambda: read(folder / "01"))
    assert cold == Costs({"OPEN": 1, "READ": 1, "RELEASE": 1}, {"open": 1, "newfstatat": 1, "read": 1, "close": 1})
    warm = trace.costs(lambda: read(folder / "01"))
    assert warm == Costs({"OPEN": 1, "RELEASE": 1}, {"open": 1, "newfstatat": 1, "close": 1})


def test_an_absent_name_costs_one_listing_of_its_folder(view: View, trace: Trace) -> None:
    folder = view.mountpoint / "B" / "c"
    listed(folder.parent)
    first = trace.costs(lambda: missing(folder / "cover.jpg"))
    assert first == Costs({"LOOKUP": 1}, {"open": 1, "getdents64": 2, "newfstatat": 5, "close": 2})
    next_one = trace.costs(lambda: missing(folder / "folder.jpg"))
    assert next_one == Costs({"LOOKUP": 1}, {})
    again = trace.costs(lambda: missing(folder / "folder.jpg"))
    assert again == Costs({}, {})


def test_an_absent_name_above_the_depth_costs_the_sources_nothing(view: View, trace: Trace) -> None:
    assert trace.costs(lambda: missing(view.mountpoint / "none")) == Costs({"LOOKUP": 1}, {})


def test_a_rescan_without_changes_costs_a_stat_per_directory_above_the_depth(view: View, trace: Trace) -> None:
    def quiet() -> dict[str, int] | None:
        calls = trace.costs(lambda: refresh(view)).calls
        return None if "getdents64" in calls else calls

    poll(quiet, "a rescan that trusts the mtimes of the new directories", 15)
    directories, sources = 6, 2
    roots = {"open": sources, "statx": sources, "faccessat": sources, "close": sources}
    stats = {"newfstatat": directories + 2 * sources}
    assert quiet() == {**roots, **stats}, "each root is opened, and checked twice and for its mount"
