"""MPD, the music player daemon, with a view as its music directory: its database loses nothing.

The real program, with the null output and a socket in the test's own directory.
"""

import shutil
from pathlib import Path

import pytest

from tests.support.disks import disk
from tests.support.fresh import REFRESH
from tests.support.losing import BACK, LOST
from tests.support.mounts import mounted
from tests.support.mpd import WAIT, player, song
from tests.support.polling import poll
from tests.support.users import needs_root

pytestmark = [
    pytest.mark.mount(seconds=120),
    needs_root,
    pytest.mark.skipif(
        not all(map(shutil.which, ("mpd", "mpc", "ffmpeg"))), reason="mpd, mpc and ffmpeg are needed: apt install them"
    ),
]


def library(place: Path) -> None:
    """Fill the low source."""
    song(place / "low" / "Ann" / "Both" / "1.mp3", "both")
    song(place / "low" / "Ann" / "Low" / "1.mp3", "low")


def test_an_update_while_a_source_is_lost_removes_no_song(place: Path) -> None:
    library(place)
    with disk(place / "high", {}) as high:
        song(place / "high" / "Ann" / "Both" / "1.flac", "both")
        song(place / "high" / "Ann" / "High" / "1.flac", "high")
        sources = (place / "high", place / "low")
        with (
            mounted(place / "mnt", *sources, depth=2, options=[REFRESH]) as view,
            player(place / "mpd", view.mountpoint) as mpd,
        ):
            songs = ["Ann/Both/1.flac", "Ann/High/1.flac", "Ann/Low/1.mp3"]
            assert mpd.update() == songs
            high.unplug()
            poll(lambda: "is lost" in view.text(), "the loss logged", WAIT)
            assert mpd.update() == songs
            high.plug()
            poll(lambda: "is back" in view.text(), "the recovery logged", WAIT)
            assert mpd.update() == songs
            view.expect(LOST)
            view.expect(BACK)


def test_mpd_plays_on_when_another_source_takes_over_the_album(place: Path) -> None:
    library(place)
    (place / "high" / "Ann").mkdir(parents=True)
    with (
        mounted(place / "mnt", place / "high", place / "low", depth=2, options=[REFRESH]) as view,
        player(place / "mpd", view.mountpoint) as mpd,
    ):
        assert mpd.update() == ["Ann/Both/1.mp3", "Ann/Low/1.mp3"]
        mpd.mpc("add", "Ann/Both/1.mp3")
        mpd.mpc("play")
        song(place / "high" / "Ann" / "Both" / "1.flac", "both")
        poll(
            lambda: "1.flac" in "".join(path.name for path in (view.mountpoint / "Ann/Both").iterdir()),
            "taken over",
            WAIT,
        )
        poll(lambda: "playing" not in mpd.mpc("status"), "played to its end", WAIT)
        assert "ERROR" not in mpd.mpc("status")
        assert mpd.update() == ["Ann/Both/1.flac", "Ann/Low/1.mp3"]


def test_an_update_without_changes_changes_nothing_even_after_a_remount(place: Path) -> None:
    library(place)
    song(place / "high" / "Ann" / "Both" / "1.flac", "both")
    sources, database = (place / "high", place / "low"), place / "mpd" / "database"
    with mounted(place / "mnt", *sources, depth=2) as view, player(place / "mpd", view.mountpoint) as mpd:
        mpd.update()
        before = database.read_bytes()
        mpd.update()
        assert database.read_bytes() == before
    with mounted(place / "mnt", *sources, depth=2) as view, player(place / "mpd", view.mountpoint) as mpd:
        added = mpd.log().count("added ")
        mpd.update()
        assert mpd.log().count("added ") == added
        assert database.read_bytes() == before
