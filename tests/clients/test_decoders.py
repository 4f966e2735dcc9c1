"""Decoders and players give the same samples from a view as from the file of the source that it shows."""

import json
from pathlib import Path

import pytest

from tests.support.mounts import mounted
from tests.support.songs import library, winners
from tests.support.users import Word, output_of

pytestmark = pytest.mark.mount

SECONDS = 10
"""Of noise, so that a file is far longer than one read."""
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
"""The command of each, and the formats that it reads as Debian builds it."""


def on(command: tuple[str, ...], path: Path) -> tuple[Word, ...]:
    """The command for one file."""
    return tuple(path if word == "FILE" else word for word in command)


@pytest.mark.parametrize("program", sorted({command[0] for command, _ in DECODERS.values()}))
def test_the_samples_are_those_of_the_winner(place: Path, program: str) -> None:
    sources = library(place, SECONDS)
    with mounted(place / "mnt", *sources, depth=2) as view:
        for path, winner in winners(*sources).items():
            for decoder, (command, formats) in DECODERS.items():
                if command[0] == program and winner.suffix in formats:
                    samples = output_of(*on(command, view.mountpoint / path))
                    assert len(samples) > 30
                    assert samples == output_of(*on(command, winner)), (path, decoder)


def test_ffprobe_tells_of_the_view_what_it_tells_of_the_winner(place: Path) -> None:
    sources = library(place)
    command = ("ffprobe", "-v", "error", "-show_format", "-show_streams", "-count_packets", "-of", "json")
    with mounted(place / "mnt", *sources, depth=2) as view:
        for path, winner in winners(*sources).items():
            shown, true = (json.loads(output_of(*command, name)) for name in (view.mountpoint / path, winner))
            assert shown["format"].pop("filename") != true["format"].pop("filename")
            assert shown == true
            assert shown["format"]["tags"]["album"] == Path(path).parts[1]


def test_flac_finds_every_file_of_the_view_sound(place: Path) -> None:
    sources = library(place, SECONDS)
    with mounted(place / "mnt", *sources, depth=2) as view:
        output_of("flac", "-t", "-s", "-w", *sorted(view.mountpoint.rglob("*.flac")))


def test_mpv_plays_a_directory_of_the_view_from_the_first_song_to_the_last(place: Path) -> None:
    sources = library(place)
    command = ("mpv", "--no-config", "--no-video", "--ao=null", "--ao-null-untimed")
    with mounted(place / "mnt", *sources, depth=2) as view:
        told = output_of(*command, view.mountpoint / "Ann").decode().splitlines()
        played = [line.removeprefix(f"Playing: {view.mountpoint}/") for line in told if line.startswith("Playing: ")]
        assert [path for path in played if "." in path] == [path for path in winners(*sources) if path < "B"]
