"""MPD, the music player daemon, with the null output and a socket in a directory of its own."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.polling import poll
from tests.support.users import output_of

WAIT = 30.0
"""Seconds for an update of a database of four songs."""


def song(path: Path, title: str) -> None:
    """A second of sound with tags; the name says the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", "sine=frequency=440:duration=1"]
    subprocess.run([*command, "-metadata", f"title={title}", "-metadata", "artist=Ann", str(path)], check=True)


class Player:
    """An MPD with one music directory."""

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
        """Run mpc; returns its output."""
        return output_of("mpc", "-h", self._socket, *words).decode()

    def update(self) -> list[str]:
        """Update the database; returns its songs."""
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
    """An MPD that runs while the block runs. With ``watches`` it updates its database on inotify events."""
    made = Player(place, music, watches)
    try:
        yield made
    finally:
        made.end()
