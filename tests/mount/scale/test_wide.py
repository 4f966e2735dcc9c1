"""A directory of a hundred thousand names is listed completely and in order, and blocks no other reader."""

import contextlib
import itertools
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.fresh import shows
from tests.support.mounts import View, mounted
from tests.support.polling import poll
from tests.support.syscalls import Directory
from tests.support.trees import grow
from tests.support.users import output_of

MANY = 100_000
NAMES = [b"%06d" % number for number in range(MANY)]
SHUFFLED = [NAMES[number * 7919 % MANY] for number in range(MANY)]
"""The names in another order."""
QUIET = "--refresh=3600"
"""A maximum staleness longer than the test."""
TURNS = 20
"""Minimum number of rounds of another reader while a directory is opened for the first time. The work between two turns
of the event loop is counted in test_turns.py."""

READER = """
import os, sys, time
while True:
    with open(sys.argv[1], "rb") as file:
        file.read()
    os.write(1, b".")
    time.sleep(0.001)
"""
"""Opens, reads and closes a file again and again, and writes a dot after each round."""


def fill(directory: Path, names: list[bytes]) -> None:
    """Make an empty file for each name, and a directory for every hundredth."""
    fd = os.open(directory, os.O_RDONLY)
    for name in names:
        if name.endswith(b"00"):
            os.mkdir(name, dir_fd=fd)
        else:
            os.mknod(name, 0o644 | stat.S_IFREG, dir_fd=fd)
    os.close(fd)


@contextlib.contextmanager
def wide(place: Path, where: str) -> Iterator[tuple[View, Path]]:
    """A view with all names in one folder, or in a directory merged from two sources; and one of its sources.

    Every tenth name is in both sources.
    """
    disk = grow(place / "disk", {})
    if os.geteuid() == 0:  # many times faster than a disk
        output_of("mount", "-t", "tmpfs", "none", disk)
    high = grow(disk / "high", {b"in": {}, b"other": {b"track": b"h"}})
    low = grow(disk / "low", {b"in": {}, b"more": {}})
    merged = where == "a merged directory"
    fill(high / "in", SHUFFLED[::2] + SHUFFLED[1::10] if merged else SHUFFLED)
    fill(low / "in", SHUFFLED[1::2] if merged else [])
    with mounted(place / "view", high, low, depth=2 if merged else 1, options=[QUIET]) as view:
        yield view, low if merged else high


@contextlib.contextmanager
def reading(view: View, log: Path) -> Iterator[Callable[[], int]]:
    """Another process that reads a file of the view; gives its rounds so far."""
    with open(log, "wb") as file:
        words = [sys.executable, "-c", READER, str(view.mountpoint / "other/track")]
        reader = subprocess.Popen(words, stdout=file)
    try:
        yield lambda: log.stat().st_size
        assert reader.poll() is None, "the reader is still running"
    finally:
        reader.kill()
        reader.wait()


@pytest.mark.slow
@pytest.mark.parametrize("where", ["a folder", "a merged directory"])
def test_a_hundred_thousand_names_are_listed_completely_and_block_no_reader(place: Path, where: str) -> None:
    with wide(place, where) as (mount, source):
        view = mount.where
        with reading(mount, place / "rounds") as rounds:
            poll(rounds, "the first round")
            assert check_names(view + b"/in", rounds) >= TURNS, "the other reader had turns meanwhile"
            check_names(view + b"/in", rounds)
        for name in SHUFFLED[:300]:
            assert stat.S_ISDIR(os.lstat(view + b"/in/" + name).st_mode) == name.endswith(b"00")
        with pytest.raises(FileNotFoundError):
            os.lstat(view + b"/in/1000000")
        check_places(view + b"/in")
        os.mkdir(source / "in/0000000")
        before = mount.text().count(" scanned: ")
        mount.send(signal.SIGHUP)
        poll(
            lambda: mount.text().count(" scanned: ") >= before + 2,
            "a rescan of both; before it the kernel may cache the name as absent",
            30,
        )
        shows(lambda: os.path.isdir(view + b"/in/0000000"), "a new name among so many")
        shows(lambda: first_two(view + b"/in") == [b"000000", b"0000000"], "a new name in the listing")


def first_two(directory: bytes) -> list[bytes]:
    """The first names of a listing; the kernel does not ask for all of it."""
    with os.scandir(directory) as entries:
        return [entry.name for entry in itertools.islice(entries, 2)]


def check_names(directory: bytes, rounds: Callable[[], int]) -> int:
    """All names are listed in order with unique inode numbers; returns the other reader's rounds before the first."""
    before = rounds()
    with os.scandir(directory) as entries:
        first = next(entries)
        meanwhile = rounds() - before
        listed = [first, *entries]
    found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in listed]
    assert found == [(name, name.endswith(b"00")) for name in NAMES]
    assert len({entry.inode() for entry in listed}) == MANY
    return meanwhile


def check_places(directory: bytes) -> None:
    """seekdir to each saved position, backwards too, continues with the entry at that position."""
    places: list[tuple[int, tuple[bytes, int] | None]] = []
    with Directory(os.fsdecode(directory)) as stream:
        seen, at = 0, stream.tell()
        while (entry := stream.next()) is not None:
            if seen % 9973 == 0:
                places.append((at, entry))
            seen, at = seen + 1, stream.tell()
        assert MANY <= seen <= MANY + 2, "with . and .., or without"
        for position, entry in [*reversed(places), (at, None)]:
            stream.seek(position)
            assert stream.next() == entry
