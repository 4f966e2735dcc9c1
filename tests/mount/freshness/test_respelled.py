"""``--match=casefold``: directories that are respelled in a source while a process holds them open."""

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.fresh import REFRESH, shows, trees
from tests.support.mounts import mounted
from tests.support.trees import Tree

pytestmark = pytest.mark.waits

HIGH: Tree = {b"ABBA": {b"Gold": {b"1": b"high"}}}
LOW: Tree = {b"ABBA": {b"Live": {b"1": b"low"}, b"loose": b"low", b"GOLD": {b"1": b"never"}}}


@contextmanager
def held(view: Path, *paths: str) -> Iterator[None]:
    """Keep directories open, so that the kernel keeps their inodes."""
    descriptors = [os.open(view / path, os.O_RDONLY | os.O_DIRECTORY) for path in paths]
    try:
        yield
    finally:
        for fd in descriptors:
            os.close(fd)


def read(path: Path) -> bytes:
    """The contents of a file, empty where there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


@pytest.mark.parametrize("holding", [(), ("ABBA",), ("", "ABBA")], ids=["nobody", "a directory", "the root too"])
@pytest.mark.parametrize("name", ["abba", "Abba"])
def test_a_directory_respelled_in_the_low_source_keeps_its_albums(
    place: Path, holding: tuple[str, ...], name: str
) -> None:
    high, low, view = trees(place, HIGH, LOW)
    with mounted(view, high, low, depth=2, options=[REFRESH, "--match=casefold"]):
        assert read(view / "ABBA/Live/1") == b"low"
        with held(view, *holding):
            (low / "ABBA").rename(low / name)
            shows(lambda: read(view / "ABBA/Live/1") == b"low" and read(view / "ABBA/loose") == b"low", "the album")
            assert os.listdir(view / "ABBA") == ["Gold", "Live", "loose"]
            assert os.listdir(view / "ABBA/Live") == ["1"]
            (low / name / "New").mkdir()
            shows(lambda: "New" in os.listdir(view / "ABBA"), "a new folder there")
            assert os.listdir(view / "ABBA/New") == []


def test_a_directory_respelled_in_the_high_source_is_renamed_and_keeps_its_albums(place: Path) -> None:
    high, low, view = trees(place, HIGH, LOW)
    with mounted(view, high, low, depth=2, options=[REFRESH, "--match=casefold"]), held(view, "", "ABBA"):
        assert read(view / "ABBA/Live/1") == b"low"
        (high / "ABBA").rename(high / "Abba")
        shows(lambda: os.listdir(view) == ["Abba"], "the new spelling")
        assert (read(view / "Abba/Live/1"), read(view / "Abba/Gold/1")) == (b"low", b"high")


@pytest.mark.parametrize("holding", [(), ("ABBA",), ("ABBA", "ABBA/Live")], ids=["nobody", "above", "the folder too"])
def test_a_respelled_folder_of_the_same_winner_can_be_read(place: Path, holding: tuple[str, ...]) -> None:
    high, low, view = trees(place, {b"ABBA": {b"Live": b"a file, which a directory beats"}}, LOW)
    with mounted(view, high, low, depth=2, options=[REFRESH, "--match=casefold"]):
        shown = next(name for name in os.listdir(view / "ABBA") if name.casefold() == "live")
        assert read(view / "ABBA" / shown / "1") == b"low"
        with held(view, *holding):
            (low / "ABBA/Live").rename(low / "ABBA/LIVE")

            def ours() -> list[bytes]:
                above = view / "ABBA"
                with contextlib.suppress(NotADirectoryError):  # between two scans the file is all that is left
                    return [read(above / name / "1") for name in os.listdir(above) if name.casefold() == "live"]
                return []

            shows(lambda: ours() == [b"low"], "the folder under any spelling, once")


def test_directories_respelled_at_two_levels_keep_their_albums(place: Path) -> None:
    deep: Tree = {b"Pop": {b"ABBA": {b"Live": {b"1": b"low"}}}}
    high, low, view = trees(place, {b"Pop": {b"ABBA": {b"Gold": {b"1": b"high"}}}}, deep)
    with mounted(view, high, low, depth=3, options=[REFRESH, "--match=casefold"]), held(view, "Pop", "Pop/ABBA"):
        assert read(view / "Pop/ABBA/Live/1") == b"low"
        (low / "Pop").rename(low / "POP")
        (low / "POP/ABBA").rename(low / "POP/abba")
        shows(lambda: read(view / "Pop/ABBA/Live/1") == b"low", "the album")
        (low / "POP/abba").rename(low / "POP/AbbA")
        shows(lambda: read(view / "Pop/ABBA/Live/1") == b"low", "the album once more")
