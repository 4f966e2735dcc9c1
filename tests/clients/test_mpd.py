"""MPD, the music player daemon, with a view as its music directory: its database is what users would lose.

The real program, with the null output; it listens on a socket in the test's own directory.
"""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mount.failure.test_lost import BACK, LOST, disk
from tests.support.fresh import REFRESH
from tests.support.mounts import mounted
from tests.support.polling import poll
from tests.support.users import needs_root, output_of

pytestmark = [
    pytest.mark.mount(seconds=120),
    pytest.mark.clients,
    needs_root,
    pytest.mark.skipif(
        not all(map(shutil.which, ("mpd", "mpc", "ffmpeg"))), reason="mpd, mpc and ffmpeg are needed: apt install them"
    ),
]

WAIT = 30.0
"""Seconds for an update of a database of four songs."""


def song(path: Path, title: str) -> None:
    """A second of sound with tags; the name says the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", "sine=frequency=440:duration=1"]
    subprocess.run([*command, "-metadata", f"title={title}", "-metadata", "artist=Ann", str(path)], check=True)


class Player:
    """An MPD that looks at one music directory."""

    def __init__(self, place: Path, music: Path, watches: bool = False) -> None:
        place.mkdir(exist_ok=True)
        self._place = place
        self._socket = place / "socket"
        update = "yes" if watches else "no"
        lines = [f'music_directory "{music}"', f'bind_to_address "{self._socket}"', f'log_file "{place}/log"']
        lines += [f'db_file "{place}/database"', f'state_file "{place}/state"', f'auto_update "{update}"']
        lines += ['audio_output {\n type "null"\n name "nothing"\n}']
        (place / "mpd.conf").write_text("\n".join(lines) + "\n")
        self._socket.unlink(missing_ok=True)
        self._process = subprocess.Popen(["mpd", "--no-daemon", str(place / "mpd.conf")])
        poll(self._socket.exists, "MPD listens", WAIT)

    def mpc(self, *words: str) -> str:
        """What mpc says."""
        return output_of("mpc", "-h", self._socket, *words).decode()

    def update(self) -> list[str]:
        """Update the database; returns the songs it has."""
        self.mpc("--wait", "update")
        return self.songs()

    def songs(self) -> list[str]:
        """The songs in the database."""
        return sorted(self.mpc("listall").split("\n")[:-1])

    def log(self) -> str:
        """What MPD has logged."""
        return (self._place / "log").read_text()

    def end(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait(WAIT)


@contextlib.contextmanager
def player(place: Path, music: Path, watches: bool = False) -> Iterator[Player]:
    """An MPD, ended with the block. Where it ``watches``, it updates what inotify tells it of."""
    made = Player(place, music, watches)
    try:
        yield made
    finally:
        made.end()


def library(place: Path) -> None:
    """What the low source has."""
    song(place / "low" / "Ann" / "Both" / "1.mp3", "both")
    song(place / "low" / "Ann" / "Low" / "1.mp3", "low")


def test_a_lost_source_costs_mpd_no_song(place: Path) -> None:
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
            poll(lambda: "is lost" in view.text(), "the loss is said", WAIT)
            assert mpd.update() == songs
            high.plug()
            poll(lambda: "is back" in view.text(), "the return is said", WAIT)
            assert mpd.update() == songs
            view.expect(LOST)
            view.expect(BACK)


def test_mpd_plays_an_album_that_changes_hands_meanwhile(place: Path) -> None:
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


def test_nothing_that_changed_is_nothing_updated_also_after_a_remount(place: Path) -> None:
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
