"""Polled sources: new folders found by a refresh are read at once, and ``--on-change`` hears of them."""

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fresh import REFRESH, Observer, observer, shows
from tests.support.held import crawled, status
from tests.support.mounts import View, mounted
from tests.support.plugs import Plug, plugged
from tests.support.trees import Tree, grow
from tests.support.users import needs_root

pytestmark = needs_root

HIGH: Tree = {b"Ann": {b"One": {b"1": b"one", b"disc 2": {b"1": b"one"}}}}
LOW: Tree = {b"Bob": {b"Solo": {b"1": b"solo"}}}


@pytest.fixture
def source(place: Path) -> Iterator[Plug]:
    with plugged(place / "high", "bindfs", HIGH) as source:
        yield source


@pytest.fixture
def eyes() -> Iterator[Observer]:
    with observer() as eyes:
        yield eyes


def cached_entries(view: View) -> int:
    """The number of cached entries below the depth."""
    return int(status(view)["remembered"])


def test_an_album_new_since_the_crawl_is_cached_before_its_source_is_lost(
    place: Path, source: Plug, eyes: Observer
) -> None:
    low = grow(place / "low", LOW)
    with mounted(place / "view", source.where, low, depth=2, options=[REFRESH, "--crawl=all"]) as view:
        crawled(view)
        before = cached_entries(view)
        grow(
            source.changed, {b"Ann": {b"New": {b"1": b"new", b"disc 2": {b"2": b"new"}}}, b"Cid": {b"New": {b"1": b""}}}
        )
        shows(lambda: cached_entries(view) == before + 4, "what is in the new albums, though nobody asked")
        view.expect(r"source high \(.*\) is lost")
        source.unplug()
        shows(lambda: "is lost" in view.text(), "the warning")
        found = [eyes.names(view.mountpoint / path) for path in ("Ann/New", "Ann/New/disc 2", "Cid/New")]
        assert found == [["1", "disc 2"], ["2"], ["1"]]


def test_without_a_crawl_a_new_album_is_not_read_ahead(place: Path, source: Plug, eyes: Observer) -> None:
    low = grow(place / "low", LOW)
    with mounted(place / "view", source.where, low, depth=2, options=[REFRESH]) as view:
        grow(source.changed, {b"Ann": {b"New": {b"1": b"new"}}})
        shows(lambda: eyes.exists(view.mountpoint / "Ann/New"), "the album")
        view.expect(r"source high \(.*\) is lost")
        source.unplug()
        shows(lambda: "is lost" in view.text(), "the warning")
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            eyes.names(view.mountpoint / "Ann/New")


def test_on_change_reports_a_new_track_in_a_cached_folder(place: Path, source: Plug, eyes: Observer) -> None:
    low, told = grow(place / "low", LOW), place / "told"
    told.touch()
    options = [REFRESH, f"--on-change=cat >>{told}"]
    with mounted(place / "view", source.where, low, depth=2, options=options) as view:
        assert eyes.names(view.mountpoint / "Ann/One") == ["1", "disc 2"]
        (source.changed / "Ann/One/2").write_bytes(b"two")
        shows(lambda: ("added", "Ann/One/2") in changes(told), "the track")


def changes(told: Path) -> list[tuple[str, str]]:
    """The (change, path) lines that the command got."""
    lines = map(json.loads, told.read_text().splitlines())
    return [(line["change"], line["path"]) for line in lines]
