"""``--timeout``: a request that waits for a hung source fails with EIO after that time, and leaks nothing."""

import errno
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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

pytestmark = [pytest.mark.waits, needs_root]

TIMEOUT = 0.5
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


def times_out(call: Callable[[], object]) -> None:
    """Check that the call fails with EIO, after the timeout and soon after it."""
    start = time.monotonic()
    with pytest.raises(OSError, match="Input/output error") as raised:
        Asked(call).answer(15)
    assert raised.value.errno == errno.EIO
    assert time.monotonic() - start > 0.9 * TIMEOUT


REQUESTS: dict[str, Callable[[Path], object]] = {
    "listing": lambda top: os.listdir(top / "A"),
    "lookup": lambda top: os.stat(top / "A/track"),
    "lookup of an absent name": lambda top: os.stat(top / "A/none"),
}


def test_each_request_to_a_hung_source_fails_after_the_timeout(place: Path) -> None:
    """None of the names was cached; each request is made while the others wait."""
    with view_of(place, "all", f"--timeout={TIMEOUT}") as (net, view):
        net.hang()
        with ThreadPoolExecutor(len(REQUESTS)) as pool:
            done = {
                name: pool.submit(times_out, lambda call=call: call(view.mountpoint))  # type: ignore[misc]
                for name, call in REQUESTS.items()
            }
        assert {name: future.exception() for name, future in done.items()} == dict.fromkeys(REQUESTS)
        assert (view.mountpoint / "Other/track").read_bytes() == b"other"
        net.go_on()
        poll(lambda: os.stat(view.mountpoint / "A/track").st_size == 5000, "an answer")


def test_cached_metadata_is_served_instead_of_an_error(place: Path) -> None:
    with view_of(place, "all", f"--timeout={TIMEOUT}", "--refresh=0.5") as (net, view):
        track = view.mountpoint / "A/track"
        names, size = os.listdir(track.parent), os.stat(track).st_size
        net.hang()
        for _ in range(3):
            until = time.monotonic() + 0.3  # by then it is stale, and the source is asked first
            poll(lambda until=until: time.monotonic() > until, "stale metadata")  # type: ignore[misc]
            assert Asked(lambda: (os.listdir(track.parent), os.stat(track).st_size)).answer(20) == (names, size)
        times_out(track.read_bytes)
        net.go_on()
        poll(lambda: track.read_bytes() == b"t" * 5000, "the bytes")


def test_reads_and_opens_that_time_out_leak_no_descriptor(place: Path) -> None:
    with view_of(place, "all", f"--timeout={TIMEOUT}") as (net, view):
        track = view.mountpoint / "A/track"
        assert track.read_bytes() == b"t" * 5000
        before = descriptors(view)
        with (view.mountpoint / "A/other").open("rb", buffering=0) as file:
            net.hang()
            times_out(track.read_bytes)
            times_out(lambda: file.read(1))
        net.go_on()
        poll(lambda: track.read_bytes() == b"t" * 5000, "the bytes")
        poll(lambda: descriptors(view) <= before, f"no more than {before} descriptors")


def test_a_read_answered_after_its_timeout_is_not_given_to_another_reader(place: Path) -> None:
    with view_of(place, "reads", f"--timeout={TIMEOUT}") as (net, view):
        net.hang()
        for _ in range(3):
            times_out((view.mountpoint / "A/track").read_bytes)
        net.go_on()
        poll(lambda: (view.mountpoint / "A/track").read_bytes() == b"t" * 5000, "its own bytes")
        assert (view.mountpoint / "A/other").read_bytes() == b"o"


def test_without_a_timeout_a_read_waits_until_the_source_answers(place: Path) -> None:
    with view_of(place, "reads") as (net, view):
        net.hang()
        asked = Asked((view.mountpoint / "A/track").read_bytes)
        poll(lambda: net.figures.held >= 1, "the read at the source")
        with pytest.raises(AssertionError):
            asked.answer(4 * TIMEOUT)
        net.go_on()
        assert asked.answer(10) == b"t" * 5000
