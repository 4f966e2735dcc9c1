"""Changes that race with the first crawl, a rescan or renames are not missed.

An event for a directory that is not cached yet is of no use, and the listing made just before it is stale.
"""

import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fresh import Observer, becomes, observer
from tests.support.held import crawled, crawls
from tests.support.mounts import View, mounted
from tests.support.trees import Tree, grow
from tests.support.watched import HOURLY

pytestmark = pytest.mark.mount(seconds=90)

ALBUMS: Tree = {b"%02d" % album: {b"1": b"track", b"sub": {b"2": b"track"}} for album in range(30)}
LIBRARY: Tree = {b"%02d" % artist: ALBUMS for artist in range(20)}
LEAST = 200
"""The least number of changes, because the crawl may begin after the first ones."""


@pytest.fixture
def eyes() -> Iterator[Observer]:
    """An observer in another process."""
    with observer() as eyes:
        yield eyes


def change(album: Path, number: int) -> None:
    """Make a change of one of five kinds, in the album or one level below."""
    where = album / "sub" if number % 2 else album
    track = where / ("2" if number % 2 else "1")
    what = number // 2 % 5
    if what == 0:
        (where / f"new {number}").write_bytes(b"new")
    elif what == 1 and track.exists():
        track.write_bytes(b"edit%d" % (number % 10))
    elif what == 2:
        (where / f"folder {number}").mkdir()
    elif what == 3 and track.exists():
        track.rename(where / f"renamed {number}")
    else:
        album.chmod(0o700 | number % 64)


def keep_changing(view: View, top: Path) -> None:
    """Change albums until the crawl is done, and at least LEAST times."""
    albums = sorted(top.glob("*/*"))
    for number in itertools.count():
        change(albums[number * 7 % len(albums)], number)
        if number >= LEAST and number % 50 == 0 and all(crawl["state"] == "done" for crawl in crawls(view)):
            return


def test_no_change_during_the_first_crawl_is_missed(place: Path, eyes: Observer) -> None:
    high, low = grow(place / "high", LIBRARY), grow(place / "low", {b"Other": ALBUMS})
    with mounted(place / "view", high, low, depth=2, options=[HOURLY]) as view:
        keep_changing(view, high)
        becomes(eyes, view.mountpoint, [high, low], 2, "all that changed during the crawl")


def test_no_change_during_a_rescan_is_missed(place: Path, eyes: Observer) -> None:
    high, low = grow(place / "high", LIBRARY), grow(place / "low", {b"Other": ALBUMS})
    with mounted(place / "view", high, low, depth=2, options=[HOURLY]) as view:
        crawled(view)
        assert not eyes.differences(view.mountpoint, [high, low], 2)
        view.send(signal.SIGHUP)
        keep_changing(view, high)
        becomes(eyes, view.mountpoint, [high, low], 2, "all that changed meanwhile")


def test_no_change_during_renames_is_missed(place: Path, eyes: Observer) -> None:
    """Events name the directory by its key, whatever it is called when they are read."""
    high, low = grow(place / "high", LIBRARY), grow(place / "low", {b"Other": ALBUMS})
    with mounted(place / "view", high, low, depth=2, options=[HOURLY]) as view:
        crawled(view)
        assert not eyes.differences(view.mountpoint, [high, low], 2)
        for number in range(200):
            artist = high / f"{number % 20:02}"
            artist.rename(high / f"new {number % 20:02}")
            (high / f"new {number % 20:02}/{number % 30:02}/added {number}").write_bytes(b"added")
            (high / f"new {number % 20:02}/album {number}").mkdir()
            (high / f"new {number % 20:02}/album {number}/track").write_bytes(b"added")
            os.rename(high / f"new {number % 20:02}", artist)
        becomes(eyes, view.mountpoint, [high, low], 2, "all that changed during the renames")


def test_renaming_twenty_artists_with_a_thousand_albums_at_once(place: Path, eyes: Observer) -> None:
    albums: Tree = {b"%03d" % album: {b"1": b"t"} for album in range(50)}
    many: Tree = {b"%02d" % artist: albums for artist in range(20)}
    high, low = grow(place / "high", {b"top": many}), grow(place / "low", {b"Other": ALBUMS})
    with mounted(place / "view", high, low, depth=3, options=[HOURLY]) as view:
        crawled(view)
        assert not eyes.differences(view.mountpoint, [high, low], 3)
        (high / "top").rename(high / "bottom")
        for artist in range(20):
            (high / f"bottom/{artist:02}").rename(high / f"bottom/{artist:02} renamed")
        (high / "bottom/07 renamed/033/after").write_bytes(b"after")
        becomes(eyes, view.mountpoint, [high, low], 3, "the renames")


def test_a_burst_of_new_folders(place: Path, eyes: Observer) -> None:
    high, low = grow(place / "high", {b"A": ALBUMS}), grow(place / "low", {b"Other": ALBUMS})
    with mounted(place / "view", high, low, depth=2, options=[HOURLY]) as view:
        crawled(view)
        assert not eyes.differences(view.mountpoint, [high, low], 2)
        for number in range(300):
            grow(high / f"A/new {number}", {b"1": b"new", b"sub": {b"2": b"new"}})
            grow(high / f"B {number}/album", {b"1": b"new"})
        becomes(eyes, view.mountpoint, [high, low], 2, "the new folders")
        for number in range(0, 300, 3):
            (high / f"A/new {number}/sub/2").write_bytes(b"edited at the same depth")
            (high / f"B {number}/album/1").unlink()
        becomes(eyes, view.mountpoint, [high, low], 2, "changes in the new folders")
