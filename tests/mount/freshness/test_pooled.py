"""Sources whose directory mtimes do not change: mergerfs shows those of the first disk."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fresh import Observer, observer, shows
from tests.support.mounts import mounted
from tests.support.trees import grow
from tests.support.users import needs_root, output_of, run

pytestmark = needs_root

SETTLED = 4.0
"""Seconds without a change after which the mtime of a directory is trusted."""


@pytest.fixture
def eyes() -> Iterator[Observer]:
    with observer() as eyes:
        yield eyes


@pytest.mark.parametrize("options", [("--watch=auto",), ("--watch=off",), ("--watch=off", "--crawl=all")])
def test_a_new_entry_on_the_second_disk_of_a_pool_is_shown(
    place: Path, eyes: Observer, options: tuple[str, ...]
) -> None:
    album = {b"Ann": {b"One": {b"1": b"one"}}}
    disks = [grow(place / name, album) for name in ("disk1", "disk2")]
    made = time.monotonic()
    pool, other = place / "pool", grow(place / "other", {b"Bob": {}})
    pool.mkdir()
    output_of("mergerfs", "-o", "use_ino", ":".join(map(str, disks)), pool)
    try:
        with mounted(place / "view", pool, other, depth=2, options=["--refresh=1", *options]) as view:
            ann = view.mountpoint / "Ann"
            shows(lambda: eyes.names(ann / "One") == ["1"] and time.monotonic() > made + SETTLED, "the album")
            for number in range(2, 5):  # the first look after the start may have another reason
                before = pool.joinpath("Ann").stat().st_mtime_ns, pool.joinpath("Ann/One").stat().st_mtime_ns
                grow(disks[1], {b"Ann": {b"One": {b"%d" % number: b"new"}, b"New%d" % number: {b"1": b"new"}}})
                after = pool.joinpath("Ann").stat().st_mtime_ns, pool.joinpath("Ann/One").stat().st_mtime_ns
                assert after == before, "the pool has the times of its first disk"
                shows(lambda: eyes.exists(ann / f"New{number}/1"), "a new album")  # noqa: B023
                shows(lambda: str(number) in eyes.names(ann / "One"), "a new track")  # noqa: B023
    finally:
        run("umount", "-l", pool)
