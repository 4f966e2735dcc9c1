"""Sources whose directory mtimes do not change: mergerfs shows those of the first disk."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.support.fresh import Observer, observer, shows
from tests.support.mounts import mounted
from tests.support.trees import grow
from tests.support.users import needs_root, output_of, run

pytestmark = [pytest.mark.waits, needs_root]

SETTLED = 4.0
"""Seconds without a change after which the mtime of a directory is trusted."""


@pytest.fixture
def eyes() -> Iterator[Observer]:
    with observer() as eyes:
        yield eyes


OPTIONS = (("--watch=auto",), ("--watch=off",), ("--watch=off", "--crawl=all"))


@pytest.mark.mount(seconds=120)
def test_a_new_entry_on_the_second_disk_of_a_pool_is_shown(place: Path, eyes: Observer) -> None:
    """In a view with each of OPTIONS, all at the same time."""
    album = {b"Ann": {b"One": {b"1": b"one"}}}
    disks = [grow(place / name, album) for name in ("disk1", "disk2")]
    made = time.monotonic()
    pool, other = place / "pool", grow(place / "other", {b"Bob": {}})
    pool.mkdir()
    output_of("mergerfs", "-o", "use_ino", ":".join(map(str, disks)), pool)
    try:
        with ExitStack() as stack:
            for number, options in enumerate(OPTIONS):
                view = mounted(place / f"view {number}", pool, other, depth=2, options=["--refresh=1", *options])
                stack.enter_context(view)
            views = {options: place / f"view {number}/Ann" for number, options in enumerate(OPTIONS)}
            for options, ann in views.items():
                shows(partial(settled, eyes, ann, made), f"the album with {options}")
            for number in range(2, 5):  # the first scan after the start may have another reason
                before = pool.joinpath("Ann").stat().st_mtime_ns, pool.joinpath("Ann/One").stat().st_mtime_ns
                grow(disks[1], {b"Ann": {b"One": {b"%d" % number: b"new"}, b"New%d" % number: {b"1": b"new"}}})
                after = pool.joinpath("Ann").stat().st_mtime_ns, pool.joinpath("Ann/One").stat().st_mtime_ns
                assert after == before, "the pool has the times of its first disk"
                for options, ann in views.items():
                    shows(partial(eyes.exists, ann / f"New{number}/1"), f"a new album with {options}")
                    shows(partial(has, eyes, ann / "One", str(number)), f"a new track with {options}")
    finally:
        run("umount", "-l", pool)


def settled(eyes: Observer, ann: Path, made: float) -> bool:
    """Whether the album is shown, and its mtimes are trusted."""
    return eyes.names(ann / "One") == ["1"] and time.monotonic() > made + SETTLED


def has(eyes: Observer, directory: Path, name: str) -> bool:
    """Whether a listing has the name."""
    return name in eyes.names(directory)
