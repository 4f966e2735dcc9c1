"""Reported changes show at once, with a timer of one hour: every kind of change, at every level.

An observer in another process has read everything, and looked up the names to come, so that the kernel has all of it
cached. Each change has its own subtree of one view.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.altering import FILES, HIGH, LOW, MODES, NAMES, TO_COME, Change
from tests.support.fresh import Observer, becomes, observer
from tests.support.held import crawled
from tests.support.mounts import View, mounted
from tests.support.polling import poll
from tests.support.trees import grow
from tests.support.users import NOBODY
from tests.support.watched import HOURLY, KINDS, source

pytestmark = pytest.mark.mount(seconds=120)

DEPTH = 3
"""Each change has its own subtree, one level below the top."""


def replaced_alike(path: Path) -> None:
    """Replace a file by one of the same size and mtime."""
    times, new = path.stat(), path.with_name("being written")
    new.write_bytes(path.read_bytes()[::-1])
    os.utime(new, ns=(times.st_atime_ns, times.st_mtime_ns))
    new.rename(path)


def moved_and_filled(old: Path, new: Path) -> None:
    """Rename a directory and add a file to it at once."""
    old.rename(new)
    (new / "after").write_bytes(b"after the renaming")


def owned(*paths: Path) -> None:
    """Change the owner, where the test may."""
    for path in paths:
        os.chown(path, *((NOBODY, NOBODY) if os.geteuid() == 0 else (-1, -1)))


def moded(modes: Iterator[tuple[Path, int]]) -> None:
    """Set the mode of each path."""
    for path, mode in modes:
        path.chmod(mode)


MORE: dict[str, Change] = {
    "a file is replaced at the same size and time": lambda high, low: replaced_alike(high / "Ann/Both/1"),
    "a loose file is replaced at the same size and time": lambda high, low: replaced_alike(high / "cover"),
    "modes": lambda high, low: moded(_modes(high, low)),
    "owners": lambda high, low: owned(*(path for path, _ in _modes(high, low))),
    "a directory far below is renamed": lambda high, low: (high / "Ann/Both/sub").rename(high / "Ann/Both/new"),
    "a directory is renamed and filled": lambda high, low: moved_and_filled(high / "Ann/Both", high / "Ann/New"),
    "an artist is renamed and filled": lambda high, low: moved_and_filled(high / "Bob", high / "New"),
    "an artist is renamed and its album filled": lambda high, low: [
        (high / "Bob").rename(high / "New"),
        (high / "New/Solo/after").write_bytes(b"after"),
    ],
    "an artist becomes an album of another": lambda high, low: (high / "Bob").rename(high / "Ann/Bob"),
    "an album becomes an artist": lambda high, low: (high / "Ann/Both").rename(high / "Both"),
    "two albums change places": lambda high, low: [
        (high / old).rename(high / new)
        for old, new in (("Ann/Both", "Ann/3"), ("Bob/Solo", "Ann/Both"), ("Ann/3", "Bob/Solo"))
    ],
    "a tree is copied": lambda high, low: shutil.copytree(high / "Ann", high / "New/Album/deep/er"),
}
CHANGES = {**NAMES, **FILES, **MORE}


def _modes(high: Path, low: Path) -> Iterator[tuple[Path, int]]:
    for path, mode in MODES.items():
        top, _, inner = path.partition("/")
        yield (high if top == "high" else low) / inner, mode


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_change_shows_at_once(place: Path, kind: str) -> None:
    numbers = {name: b"%02d" % number for number, name in enumerate(CHANGES)}
    low = grow(place / "low", dict.fromkeys(numbers.values(), LOW))
    missing = [f"{number.decode()}/{name}" for number in numbers.values() for name in TO_COME]
    with (
        source(place / "high", kind, dict.fromkeys(numbers.values(), HIGH)) as high,
        observer() as eyes,
        mounted(place / "view", high, low, depth=DEPTH, options=[HOURLY]) as view,
    ):
        hot(eyes, view, [high, low], missing)
        for name, number in numbers.items():
            top = os.fsdecode(number)
            CHANGES[name](high / top, low / top)
        becomes(eyes, view.mountpoint, [high, low], DEPTH, "every kind of change")


def hot(eyes: Observer, view: View, order: list[Path], missing: list[str]) -> None:
    """Wait for the crawl, and have the observer read everything and look up the names to come."""
    crawled(view)
    assert not eyes.differences(view.mountpoint, order, DEPTH)
    for name in missing:
        assert not eyes.exists(view.mountpoint / name)


@pytest.mark.parametrize("album", ["Ann/New", "Ann/New/sub"])
def test_a_recreated_directory_with_the_same_inode_number_shows_its_new_contents(place: Path, album: str) -> None:
    high, low, view = grow(place / "high", {b"Ann": {}}), grow(place / "low", LOW), place / "view"
    made = high / album
    with mounted(view, high, low, depth=2, options=[HOURLY]), observer() as eyes:
        for turn in range(5):
            made.mkdir(parents=True)
            poll(lambda: eyes.lists(view / album, []), "an empty directory")
            made.rmdir()
            made.mkdir()
            (made / "track").touch()
            poll(lambda: eyes.lists(view / album, ["track"]), f"what is in another directory, turn {turn}")
            shutil.rmtree(high / "Ann/New")
            poll(lambda: not eyes.exists(view / "Ann/New"), "nothing")
