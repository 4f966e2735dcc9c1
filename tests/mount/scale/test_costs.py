"""What things cost, counted and not timed: FUSE requests, and system calls on the sources.

Whoever changes one of these numbers changes how fast the program is. They are the same on a noisy machine.
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
"""The requests of a listing: the second READDIRPLUS is how the kernel learns that the first was all."""


@contextmanager
def mounted_with(place: Path, *options: str) -> Iterator[View]:
    """Two artists of two albums in each source, one artist and one album in both; kept for longer than a test takes."""
    high = grow(place / "sources" / "high", {b"A": {b"a": TRACKS, b"b": TRACKS}, b"B": {b"a": TRACKS, b"b": TRACKS}})
    low = grow(place / "sources" / "low", {b"B": {b"a": TRACKS, b"c": TRACKS}, b"C": {b"a": TRACKS, b"b": TRACKS}})
    with mounted(place / "view", high, low, depth=2, options=[*QUIET, *options]) as view:
        rested(view)
        yield view


@pytest.fixture
def view(place: Path) -> Iterator[View]:
    """A view that is read-only as a whole."""
    with mounted_with(place, "--announce=off") as view:
        yield view


@pytest.fixture
def trace(view: View) -> Iterator[Trace]:
    with traced(view.pid, view.mountpoint, view.mountpoint.parent / "sources") as trace:
        trace.costs(lambda: os.stat(view.mountpoint))
        yield trace


def listed(path: Path) -> list[str]:
    """What ``ls -l`` does: the names, and stat(2) of each."""
    with os.scandir(path) as entries:
        return [entry.name for entry in entries if entry.stat(follow_symlinks=False)]


def read(path: Path) -> bytes:
    """Open, read, close, without what Python asks besides."""
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
def test_where_changes_are_announced_a_directory_that_was_read_is_asked_for_its_attributes_once_more(
    place: Path,
) -> None:
    """The kernel takes the access time of what it reads for moved, as on every filesystem that is not read-only."""
    with mounted_with(place) as view, traced(view.pid, view.mountpoint, view.mountpoint.parent / "sources") as trace:
        listed(view.mountpoint / "B")
        assert trace.costs(lambda: listed(view.mountpoint / "B")) == Costs({**LISTED, "GETATTR": 1}, {})


def test_a_listing_of_folders_costs_the_sources_nothing_more_than_the_scan(view: View, trace: Trace) -> None:
    listed(view.mountpoint)
    for _ in ("cold", "warm"):
        assert trace.costs(lambda: listed(view.mountpoint / "B")) == Costs(LISTED, {})


def test_a_listing_inside_a_folder_costs_a_stat_each_and_the_next_one_nothing(view: View, trace: Trace) -> None:
    folder = view.mountpoint / "B" / "a"
    listed(folder.parent)
    cold = trace.costs(lambda: listed(folder))
    assert cold == Costs(LISTED, {"open": 1, "getdents64": 2, "newfstatat": 5, "close": 2}), "three files"
    warm = trace.costs(lambda: listed(folder))
    assert warm == Costs(LISTED, {})


def test_a_file_that_is_read_is_opened_looked_at_read_and_closed(view: View, trace: Trace) -> None:
    folder = view.mountpoint / "B" / "a"
    listed(folder)
    read(folder / "00")
    cold = trace.costs(lambda: read(folder / "01"))
    assert cold == Costs({"OPEN": 1, "READ": 1, "RELEASE": 1}, {"open": 1, "newfstatat": 1, "read": 1, "close": 1})
    warm = trace.costs(lambda: read(folder / "01"))
    assert warm == Costs({"OPEN": 1, "RELEASE": 1}, {"open": 1, "newfstatat": 1, "close": 1})


def test_a_name_that_is_not_there_costs_a_listing_of_its_folder_once(view: View, trace: Trace) -> None:
    folder = view.mountpoint / "B" / "a"
    listed(folder.parent)
    first = trace.costs(lambda: missing(folder / "cover.jpg"))
    assert first == Costs({"LOOKUP": 1}, {"open": 1, "getdents64": 2, "newfstatat": 5, "close": 2})
    next_one = trace.costs(lambda: missing(folder / "folder.jpg"))
    assert next_one == Costs({"LOOKUP": 1}, {})
    again = trace.costs(lambda: missing(folder / "folder.jpg"))
    assert again == Costs({}, {})


def test_a_name_that_is_not_there_above_the_depth_costs_the_sources_nothing(view: View, trace: Trace) -> None:
    assert trace.costs(lambda: missing(view.mountpoint / "none")) == Costs({"LOOKUP": 1}, {})


def test_a_refresh_with_no_change_costs_a_stat_for_each_directory_above_the_depth(view: View, trace: Trace) -> None:
    def quiet() -> dict[str, int] | None:
        calls = trace.costs(lambda: refresh(view)).calls
        return None if "getdents64" in calls else calls

    poll(quiet, "a refresh that trusts the stamps of what was just made", 15)
    directories, sources = 6, 2
    roots = {"open": sources, "statx": sources, "faccessat": sources, "close": sources}
    stats = {"newfstatat": directories + 2 * sources}
    assert quiet() == {**roots, **stats}, "each root is opened, and looked at twice and for the mount that it is on"
