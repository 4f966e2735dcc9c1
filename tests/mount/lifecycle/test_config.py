"""A configuration file with three views of three sources: the winners, and the loss of one source."""

import os
from pathlib import Path

import pytest

from tests.support.polling import poll
from tests.support.running import background, called, is_view
from tests.support.trees import folders, grow
from tests.support.users import output_of

FILE = """
depth = 1
refresh = 1
on-missing = "keep"

[sources]
hires = "hires"
flac = "flac"
mp3 = "mp3"

[[view]]
mountpoint = "best"

[[view]]
mountpoint = "small"
prefer = "low"

[[view]]
mountpoint = "middle"
prefer = "flac"
"""
WINNERS = {"best": "h1 h2 f3 m4", "small": "m1 f2 m3 m4", "middle": "f1 f2 f3 m4"}


@pytest.fixture
def library(place: Path) -> Path:
    """Three sources and the file, below the returned directory."""
    for name, has in (("hires", "12"), ("flac", "123"), ("mp3", "134")):
        grow(place / name, folders(name[0], *has))
    (place / "views.toml").write_text(FILE)
    return place


def _winners(view: Path) -> str:
    return " ".join((view / name / "track").read_text() for name in sorted(os.listdir(view)))


@pytest.mark.parametrize("words", ["--config views.toml", "-o config=views.toml"])
def test_all_views_of_a_file_are_mounted_and_their_directories_made(library: Path, words: str) -> None:
    with background(library, *words.split()):
        assert {name: _winners(library / name) for name in WINNERS} == WINNERS
        assert called(library, *words.split()).returncode == 0, "a second time nothing happens"
        assert len(output_of("findmnt", "-rn", "-t", "fuse.mmirrorfs", "-o", "TARGET").splitlines()) >= 3


def test_one_view_of_a_file_can_be_mounted_by_its_mountpoint(library: Path) -> None:
    (library / "middle").mkdir()
    with background(library, "--config", "views.toml", "middle"):
        assert [name for name in WINNERS if is_view(library / name)] == ["middle"]
        assert _winners(library / "middle") == WINNERS["middle"]


def test_a_lost_source_keeps_its_names_in_every_view_until_it_is_back(library: Path) -> None:
    with background(library, "--config", "views.toml"):
        assert {name: _winners(library / name) for name in WINNERS} == WINNERS
        os.rename(library / "flac", library / "away")

        def lost() -> list[int]:
            return [called(library, "--status", name).returncode for name in WINNERS]

        poll(lambda: lost() == [1, 1, 1], "that all views know")
        assert {name: os.listdir(library / name) for name in WINNERS} == {name: list("1234") for name in WINNERS}
        assert (library / "best/1/track").read_text() == "h1"
        with pytest.raises(OSError, match="Input/output error"):
            (library / "middle/3/track").read_text()
        grow(library / "away", folders("f", "5"))
        os.rename(library / "away", library / "flac")
        poll(lambda: lost() == [0, 0, 0], "that all views are well again")
        poll(lambda: _winners(library / "middle") == "f1 f2 f3 m4 f5", "the folder added while it was lost")
