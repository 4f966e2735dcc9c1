"""Decoders and players produce the same samples from a view as from the winner's files."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.mounts import mounted
from tests.support.songs import library, winners
from tests.support.users import Word, output_of

pytestmark = pytest.mark.mount

SECONDS = 10
"""Length of the noise: a file is far longer than one read."""
MPV = ("mpv", "--no-config", "--no-terminal", "--no-video")
DECODERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "ffmpeg": (("ffmpeg", "-nostdin", "-v", "error", "-i", "FILE", "-f", "md5", "-"), (".flac", ".mp3")),
    "ffmpeg from the middle": (
        ("ffmpeg", "-nostdin", "-v", "error", "-ss", "7.3", "-i", "FILE", "-f", "md5", "-"),
        (".flac", ".mp3"),
    ),
    "flac": (("flac", "-s", "-d", "-c", "--force-raw-format", "--endian=little", "--sign=signed", "FILE"), (".flac",)),
    "sox": (("sox", "FILE", "-t", "raw", "-"), (".flac",)),
    "mpv": ((*MPV, "--ao=pcm", "--ao-pcm-file=/dev/stdout", "FILE"), (".flac", ".mp3")),
    "mpv from the middle": ((*MPV, "--start=7.3", "--ao=pcm", "--ao-pcm-file=/dev/stdout", "FILE"), (".flac", ".mp3")),
}
"""The command of each, and the formats that Debian's build reads."""


def on(command: tuple[str, ...], path: Path) -> tuple[Word, ...]:
    """The command for one file."""
    return tuple(path if word == "FILE" else word for word in command)


@dataclass(frozen=True, slots=True)
class Library:
    """A view and by path in it the file of a source that wins."""

    view: Path
    winners: dict[str, Path]


@pytest.fixture(scope="module")
def noise(shared_place: Path) -> Iterator[Library]:
    """One view of files of noise for all tests: none changes anything."""
    sources = library(shared_place, SECONDS)
    with mounted(shared_place / "mnt", *sources, depth=2) as view:
        yield Library(view.mountpoint, winners(*sources))


@pytest.mark.parametrize("program", sorted({command[0] for command, _ in DECODERS.values()}))
def test_decoded_samples_equal_those_of_the_winner(place: Path, noise: Library, program: str) -> None:
    for path, winner in noise.winners.items():
        for decoder, (command, formats) in DECODERS.items():
            if command[0] == program and winner.suffix in formats:
                samples = output_of(*on(command, noise.view / path))
                assert len(samples) > 30
                assert samples == output_of(*on(command, winner)), (path, decoder)


def test_ffprobe_reports_the_same_for_the_view_and_the_winner(place: Path, noise: Library) -> None:
    command = ("ffprobe", "-v", "error", "-show_format", "-show_streams", "-count_packets", "-of", "json")
    for path, winner in noise.winners.items():
        shown, true = (json.loads(output_of(*command, name)) for name in (noise.view / path, winner))
        assert shown["format"].pop("filename") != true["format"].pop("filename")
        assert shown == true
        assert shown["format"]["tags"]["album"] == Path(path).parts[1]


def test_flac_verifies_every_file_of_the_view(place: Path, noise: Library) -> None:
    output_of("flac", "-t", "-s", "-w", *sorted(noise.view.rglob("*.flac")))


def test_mpv_plays_a_directory_of_the_view_completely(place: Path, noise: Library) -> None:
    command = ("mpv", "--no-config", "--no-video", "--ao=null", "--ao-null-untimed")
    lines = output_of(*command, noise.view / "Ann").decode().splitlines()
    played = [line.removeprefix(f"Playing: {noise.view}/") for line in lines if line.startswith("Playing: ")]
    assert [path for path in played if "." in path] == [path for path in noise.winners if path < "B"]
