"""A folder whose winner was removed is served from the next source at once, without waiting for a scan.

The kernel has all names cached, as after the scan of a media server, and no refresh happens.
"""

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.fresh import trees
from tests.support.handles import forget
from tests.support.held import crawled
from tests.support.mounts import mounted
from tests.support.polling import poll
from tests.support.trees import Tree
from tests.support.users import needs_root

pytestmark = needs_root

HIGH: Tree = {b"A": {b"X": {b"1": b"high", b"sub": {b"2": b"high"}}, b"loose": b"high"}, b"B": {b"Y": {b"1": b"high"}}}
LOW: Tree = {b"A": {b"X": {b"1": b"low!", b"sub": {b"2": b"low!"}}, b"loose": b"low!"}, b"C": {b"Z": {b"1": b"low!"}}}
SOON = 1.0
"""Seconds. A reader may come before the event and see a half-removed folder, but never an error."""
TRACKS = ("A/X/1", "A/X/sub/2")


@contextmanager
def hot(place: Path, high: Tree = HIGH, low: Tree = LOW, depth: int = 2) -> Iterator[tuple[Path, Path]]:
    """The high source and a view whose names the kernel has cached."""
    order = trees(place, high, low)
    with mounted(order[2], *order[:2], depth=depth, options=["--refresh=600"]) as mount:
        crawled(mount)  # one that came by while something is being removed would know the half of it
        for above, _, files in os.walk(mount.mountpoint):
            for name in files:
                assert Path(above, name).read_bytes()
        yield order[0], mount.mountpoint


def remove(path: Path) -> None:
    """Remove a tree, or a file."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def move_away(path: Path) -> None:
    """Move a path out of the source."""
    source = next(above for above in path.parents if above.name == "high")
    path.rename(source.parent / "-".join(path.relative_to(source).parts))


WAYS = {"removed": remove, "moved away": move_away}
AWAY = {"the folder": "A/X", "the artist": "A"}
ASK: dict[str, Callable[[Path], object]] = {
    "stat of the folder": lambda view: os.stat(view / "A/X"),
    "its listing": lambda view: os.listdir(view / "A/X"),
    "stat of a track": lambda view: os.stat(view / "A/X/1"),
    "reading a track": lambda view: (view / "A/X/1").read_bytes(),
    "reading a track further down": lambda view: (view / "A/X/sub/2").read_bytes(),
    "the listing of the artist": lambda view: os.listdir(view / "A"),
    "stat of the artist": lambda view: os.stat(view / "A"),
}


def test_the_first_request_after_a_removal_gets_the_next_source(place: Path) -> None:
    """Each request has its own subtree, which no request has touched since its removal."""
    cases = {"-".join(case): case for case in itertools.product(ASK, AWAY, WAYS)}
    parts = {os.fsencode(part): HIGH for part in cases}, {os.fsencode(part): LOW for part in cases}
    with hot(place, *parts, depth=3) as (high, view):
        for part, (ask, what, way) in cases.items():
            top = view / part
            WAYS[way](high / part / AWAY[what])
            ASK[ask](top)
            assert sorted(os.listdir(top)) == ["A", "B", "C"], part
            assert sorted(os.listdir(top / "A")) == ["X", "loose"], part
            for track in TRACKS:
                assert (top / track).read_bytes() == b"low!", part
            assert os.listdir(top / "A/X") == ["1", "sub"], part


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", AWAY)
def test_a_folder_removed_at_the_top_is_soon_the_next_sources(place: Path, way: str, what: str) -> None:
    with hot(place) as (high, view):
        WAYS[way](high / AWAY[what])
        poll(lambda: os.listdir(view / "A/X") == ["1", "sub"], "the next source's", SOON)
        poll(lambda: sorted(os.listdir(view)) == ["A", "B", "C"], "what is at the top", SOON)


@pytest.mark.parametrize("what", AWAY)
def test_the_next_source_answers_after_drop_caches(place: Path, what: str) -> None:
    with hot(place) as (high, view):
        shutil.rmtree(high / AWAY[what])
        forget()
        assert (view / "A/X/1").read_bytes() == b"low!"
        assert os.listdir(view / "A/X") == ["1", "sub"]


def test_a_removed_loose_file_is_taken_from_the_next_source(place: Path) -> None:
    with hot(place) as (high, view):
        (high / "A/loose").unlink()
        assert (view / "A/loose").read_bytes() == b"low!"
        os.stat(view / "A/loose")


def test_a_walk_finds_every_album_while_a_winner_is_removed(place: Path) -> None:
    with hot(place) as (high, view):
        found = []
        for above, directories, files in os.walk(view):
            if Path(above) == view / "A":
                shutil.rmtree(high / "A/X")
            found += [str(Path(above, name).relative_to(view)) for name in files]
            for name in [*directories, *files]:
                os.stat(Path(above, name))
        assert set(found) == {"A/X/1", "A/X/sub/2", "A/loose", "B/Y/1", "C/Z/1"}


def test_a_removed_folder_without_another_source_raises_enoent(place: Path) -> None:
    with hot(place) as (high, view):
        shutil.rmtree(high / "B")
        with pytest.raises(FileNotFoundError):
            (view / "B/Y/1").read_bytes()
        with pytest.raises(FileNotFoundError):
            os.listdir(view / "B/Y")


def test_a_removed_track_is_not_taken_from_the_next_source(place: Path) -> None:
    """The folder is taken whole, and the high source still has it."""
    with hot(place) as (high, view):
        (high / "A/X/1").unlink()
        with pytest.raises(FileNotFoundError):
            (view / "A/X/1").read_bytes()
        assert (view / "A/X/sub/2").read_bytes() == b"high"


def test_an_open_track_stays_readable_after_its_folder_is_removed(place: Path) -> None:
    with hot(place) as (high, view), open(view / "A/X/1", "rb") as file:
        shutil.rmtree(high / "A/X")
        assert (view / "A/X/1").read_bytes() == b"low!"
        assert file.read() == b"high"
