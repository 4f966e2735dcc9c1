"""Unusual times: far in the past and the future, and a daemon whose clock jumps."""

import json
import os
from pathlib import Path

import pytest

from tests.support.fresh import REFRESH, becomes, observer, shows, trees
from tests.support.mounts import View, mounted
from tests.support.polling import poll
from tests.support.trees import Tree, folders, grow

SECOND = 10**9
JUMP = 10**9
"""Seconds: some thirty years."""
MOMENTS = {
    "the epoch": 0,
    "a moment before it": -1,
    "a second before it": -SECOND,
    "a second and a bit before it": -SECOND - 1,
    "the first 32 bits can say": -(1 << 31) * SECOND,
    "after the last 31 bits can say": (1 << 31) * SECOND + 1,
    "after the last 32 bits can say": ((1 << 32) + 5) * SECOND + 999_999_999,
    "in thirty years": 2_800_000_000 * SECOND,
    "the end of the years that 33 bits can say": ((1 << 33) + 7) * SECOND + 7,
}
"""Nanoseconds since the epoch."""
HIGH: Tree = {b"Ann": {b"Album": {b"track": b"h" * 5000, b"sub": {b"deep": b"deep"}}, b"loose": b"l"}, b"top": b"t"}
LOW: Tree = {b"Ann": {b"Other": {b"track": b"other"}}, b"Bob": {b"Album": {b"track": b"bob"}}}
PATHS = ("Ann/Album/sub/deep", "Ann/Album/sub", "Ann/Album/track", "Ann/Album", "Ann/loose", "Ann", "top", ".")

MERGED = ("Ann", ".")


def times(top: Path, *leave_out: str) -> dict[str, int]:
    """The mtime of each path."""
    return {path: os.stat(top / path).st_mtime_ns for path in PATHS if path not in leave_out}


def set_times(top: Path, moment: int) -> None:
    """Set all times in the source, as exactly as its filesystem can."""
    for number, path in enumerate(PATHS):
        os.utime(top / path, ns=(moment + number, moment + number))


def test_all_times_are_shown_as_in_the_source(place: Path) -> None:
    names = [b"%d" % number for number in range(len(MOMENTS))]
    high, low, view = trees(place, dict.fromkeys(names, HIGH), dict.fromkeys(names, LOW))
    for name, moment in zip(map(os.fsdecode, names), MOMENTS.values(), strict=True):
        set_times(high / name, moment)
        for path in MERGED:
            os.utime(low / name / path, ns=(moment - SECOND, moment - SECOND))
    with mounted(view, high, low, depth=3), observer() as eyes:
        assert not eyes.differences(view, [high, low], 3)
        assert [times(view / os.fsdecode(name)) for name in names] == [
            times(high / os.fsdecode(name)) for name in names
        ]


def test_a_change_to_any_time_shows_with_the_changes_made_before_it(place: Path) -> None:
    high, low, view = trees(place, HIGH, LOW)
    with mounted(view, high, low, depth=2, options=[REFRESH]), observer() as eyes:
        for number, (what, moment) in enumerate(MOMENTS.items()):
            (high / "Ann/Album/track").write_bytes(b"%d" % number * 5000)
            grow(high / "Ann", folders("h", f"new {number}"))
            set_times(high, moment)
            becomes(eyes, view, [high, low], 2, what)
            shows(lambda: times(view, *MERGED) == times(high, *MERGED), f"the exact times: {what}")


# The daemon's clock


def clock(place: Path) -> tuple[Path, list[str]]:
    """A file with the offset of the daemon's clock in seconds, and the command's prefix for it."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        pytest.skip("libfaketime is not installed")
    offset = place / "offset"
    offset.write_text("+0")
    words = [f"LD_PRELOAD={library}", f"FAKETIME_TIMESTAMP_FILE={offset}"]
    return offset, ["env", *words, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1"]


def now(view: View) -> float:
    """The daemon's time at its last scan."""
    return float(json.loads(os.getxattr(view.mountpoint, "user.mmirrorfs.status"))["last_refresh"])


def test_a_daemon_whose_clock_jumps_shows_every_change(place: Path) -> None:
    high, low, view = trees(place, HIGH, LOW)
    offset, prefix = clock(place)
    with mounted(view, high, low, depth=2, options=[REFRESH], prefix=prefix) as mount, observer() as eyes:
        assert not eyes.differences(view, [high, low], 2)
        began = now(mount)
        mapping, file = eyes.map(view / "Ann/Album/track"), eyes.open(view / "Ann/Album/track")
        for number, jump in enumerate((JUMP, 0, -JUMP, JUMP, 0)):
            before = eyes.stat(view)
            offset.write_text(f"{jump:+d}")
            poll(lambda jump=jump: abs(now(mount) - began - jump) < JUMP / 10, f"the jump to {jump:+d}")  # type: ignore[misc]
            data = b"%d" % number * 5000
            for path in ("Ann/Album/track", "Ann/Album/sub/deep", "top"):
                with open(high / path, "r+b") as written:
                    written.write(data)
            grow(high, {b"new %d" % number: folders("h", "in it")})
            grow(high / "Ann/Album/sub", {b"new %d" % number: data})
            (high / "Ann/loose").unlink(missing_ok=True)
            becomes(eyes, view, [high, low], 2, f"a change after the jump to {jump:+d}")
            shows(lambda data=data: eyes.mapped(mapping) == eyes.pread(file) == data, "the bytes, mapped and read")  # type: ignore[misc]
            assert eyes.stat(view).st_mtime_ns > before.st_mtime_ns, "scanners compare this"
