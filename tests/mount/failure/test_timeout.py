"""``--timeout``: who waits for a source that does not answer gets an I/O error after that time, and nothing is lost."""

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.hanging import Hanging, freed, hanging
from tests.support.held import descriptors
from tests.support.mounts import View, mounted
from tests.support.polling import poll
from tests.support.trees import Tree, grow
from tests.support.users import needs_root
from tests.support.waiting import Asked

pytestmark = needs_root

TIMEOUT = 1.0
"""Seconds."""
SLOW: Tree = {b"A": {b"track": b"t" * 5000, b"other": b"o"}, b"B": {b"track": b"b"}}


@contextmanager
def view_of(place: Path, hang: str = "all", *options: str) -> Iterator[tuple[Hanging, View]]:
    """A FUSE source that can be made to hang, and a view of it and of a local one."""
    under, other = grow(place / "under", SLOW), grow(place / "other", {b"Other": {b"track": b"other"}})
    with (
        hanging(under, place / "net", hang=hang) as net,
        mounted(place / "view", place / "net", other, options=options) as view,
        freed(net),
    ):
        yield net, view


def gives_up(call: Callable[[], object]) -> None:
    """It fails with EIO, not before its time and soon after it."""
    start = time.monotonic()
    with pytest.raises(OSError, match="Input/output error") as raised:
        Asked(call).answer(15 * TIMEOUT)
    assert raised.value.errno == errno.EIO
    assert time.monotonic() - start > 0.9 * TIMEOUT


QUESTIONS: dict[str, Callable[[Path], object]] = {
    "a listing": lambda top: os.listdir(top / "A"),
    "a name": lambda top: os.stat(top / "A/track"),
    "a name that is not there": lambda top: os.stat(top / "A/none"),
}


@pytest.mark.parametrize("what", QUESTIONS)
def test_who_asks_a_hung_source_gets_an_error_in_time(place: Path, what: str) -> None:
    with view_of(place, "all", f"--timeout={TIMEOUT}") as (net, view):
        net.hang()
        gives_up(lambda: QUESTIONS[what](view.mountpoint))
        assert (view.mountpoint / "Other/track").read_bytes() == b"other"
        net.go_on()
        poll(lambda: os.stat(view.mountpoint / "A/track").st_size == 5000, "an answer")


def test_what_is_known_is_shown_before_anybody_gives_up(place: Path) -> None:
    with view_of(place, "all", f"--timeout={TIMEOUT}", "--refresh=1") as (net, view):
        track = view.mountpoint / "A/track"
        names, size = os.listdir(track.parent), os.stat(track).st_size
        net.hang()
        for _ in range(5):
            until = time.monotonic() + 0.6  # by then it is too old to be told without asking
            poll(lambda until=until: time.monotonic() > until, "that")  # type: ignore[misc]
            assert Asked(lambda: (os.listdir(track.parent), os.stat(track).st_size)).answer(20) == (names, size)
        gives_up(track.read_bytes)
        net.go_on()
        poll(lambda: track.read_bytes() == b"t" * 5000, "the bytes")


def test_reads_and_opens_that_are_given_up_leave_no_descriptor(place: Path) -> None:
    with view_of(place, "all", f"--timeout={TIMEOUT}") as (net, view):
        track = view.mountpoint / "A/track"
        assert track.read_bytes() == b"t" * 5000
        before = descriptors(view)
        with (view.mountpoint / "A/other").open("rb", buffering=0) as file:
            net.hang()
            gives_up(track.read_bytes)
            gives_up(lambda: file.read(1))
        net.go_on()
        poll(lambda: track.read_bytes() == b"t" * 5000, "the bytes")
        poll(lambda: descriptors(view) <= before, f"no more than {before} descriptors")


def test_a_read_that_is_answered_after_it_was_given_up_is_nobody_elses(place: Path) -> None:
    with view_of(place, "reads", f"--timeout={TIMEOUT}") as (net, view):
        net.hang()
        for _ in range(3):
            gives_up((view.mountpoint / "A/track").read_bytes)
        net.go_on()
        poll(lambda: (view.mountpoint / "A/track").read_bytes() == b"t" * 5000, "its own bytes")
        assert (view.mountpoint / "A/other").read_bytes() == b"o"


def test_without_it_they_wait(place: Path) -> None:
    with view_of(place, "reads") as (net, view):
        net.hang()
        asked = Asked((view.mountpoint / "A/track").read_bytes)
        poll(lambda: net.figures.held >= 1, "the read at the source")
        with pytest.raises(AssertionError):
            asked.answer(3 * TIMEOUT)
        net.go_on()
        assert asked.answer(10) == b"t" * 5000
