"""A scanner that compares all of stat finds real changes only.

Attributes must not depend on when, in which order, or how often they are requested.
"""

import os
from pathlib import Path

import pytest

from tests.support.fresh import REFRESH, shows
from tests.support.model import predict
from tests.support.mounts import View, mounted
from tests.support.songs import looked_again
from tests.support.trees import Link, Tree, grow
from tests.support.users import output_of

pytestmark = [pytest.mark.waits, pytest.mark.mount]

FIELDS = "%y %i %T@ %C@ %s %b %m %n %U %G %l"
"""All that find prints of a file but the device number and the access time."""
HIGH: Tree = {
    b"Ann": {b"Both": {b"1.flac": b"one", b"scans": {b"front": b"x", b"back": Link(b"front")}}, b"High": {b"1": b""}},
    b"cover": b"high",
}
LOW: Tree = {
    b"Ann": {b"Both": {b"1.mp3": b"1", b"scans": {b"front": b"y"}}, b"Low": {b"1": b"l"}, b"note": b"n"},
    b"Bob": {b"Solo": {b"1": b"s"}},
    b"cover": b"low",
}


def scan(view: View) -> dict[str, str]:
    """The attributes by path, as found by walking the tree."""
    found = output_of("find", view.mountpoint, "-printf", f"%P\\t{FIELDS}\\n").decode()
    return dict(line.split("\t", 1) for line in found.splitlines())


def look_up(view: View, paths: list[str]) -> dict[str, str]:
    """The same for given paths, looked up without listing their directories."""
    names = [view.mountpoint / path for path in paths]
    lines = output_of("find", *names, "-maxdepth", "0", "-printf", f"{FIELDS}\\n").decode().splitlines()
    return dict(zip(paths, lines, strict=True))


@pytest.mark.parametrize("prefer", ["high", "low"])
def test_without_changes_attributes_are_the_same_after_a_refresh_and_a_remount(place: Path, prefer: str) -> None:
    sources = grow(place / "high", HIGH), grow(place / "low", LOW)
    with mounted(place / "mnt", *sources, prefer=prefer, depth=2, options=[REFRESH]) as view:
        first = scan(view)
        order = [os.fsencode(source) for source in (sources if prefer == "high" else sources[::-1])]
        assert first.keys() == {"", *map(os.fsdecode, predict(order, 2))}
        assert scan(view) == first
        looked_again(view)
        assert scan(view) == first
    with mounted(place / "mnt", *sources, prefer=prefer, depth=2) as view:
        assert look_up(view, sorted(first, reverse=True)) == first
        assert scan(view) == first


def test_a_change_shows_in_its_path_and_the_directories_above_only(place: Path) -> None:
    high, low = grow(place / "high", HIGH), grow(place / "low", LOW)
    with mounted(place / "mnt", high, low, depth=2, options=[REFRESH]) as view:
        first = scan(view)
        (low / "Ann/Both/scans/side").write_bytes(b"hidden")
        (low / "Ann/Both/1.mp3").write_bytes(b"hidden too")
        os.utime(low / "Ann/Both")
        grow(high / "Bob/New", {b"1": b"new"})
        shows(lambda: (view.mountpoint / "Bob/New/1").exists(), "the new folder")
        looked_again(view)
        second = scan(view)
        changed = {path for path in first | second if first.get(path) != second.get(path)}
        assert changed == {"Bob", "Bob/New", "Bob/New/1", ""}
