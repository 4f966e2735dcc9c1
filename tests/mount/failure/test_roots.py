"""A source's root is pinned at the start: no symlink put in its place is followed; a bare mountpoint is a loss."""

import os
import re
from pathlib import Path

import pytest

from tests.support.disks import disk
from tests.support.fresh import shows, stays, trees
from tests.support.mounts import View, mounted
from tests.support.trees import Tree, grow
from tests.support.users import needs_root

pytestmark = [pytest.mark.waits, needs_root]

REFRESH = "--refresh=0.3"
LONG = 1.2
"""Seconds: several rescans."""
LOST = r"source high \(.*\) is lost"
HIGH: Tree = {b"A": {b"X": {b"1": b"high"}}, b"B": {b"Y": {b"1": b"high"}}}
LOW: Tree = {b"A": {b"Z": {b"1": b"low"}}}
SECRET: Tree = {b"A": {b"X": {b"1": b"secret"}, b"secret": {b"1": b"secret"}}, b"secret": {b"1": b"secret"}}


def names(view: Path) -> list[str]:
    """All paths in a view."""
    return sorted(
        str(Path(above, name).relative_to(view)) for above, below, files in os.walk(view) for name in below + files
    )


def warnings(view: View) -> int:
    """How often the log says that the source is lost."""
    return len(re.findall(LOST, view.text()))


def read(path: Path) -> bytes:
    """The content of a file; empty where it cannot be opened."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("refresh", [REFRESH, "--refresh=600"], ids=["scanned", "not scanned"])
def test_a_symlink_that_replaces_a_root_is_not_followed_and_the_source_is_lost(place: Path, refresh: str) -> None:
    high, low, view = trees(place, HIGH, LOW)
    secret = grow(place / "secret", SECRET)
    with mounted(view, high, low, depth=2, options=[refresh]) as mount:
        before = names(view)
        mount.expect(LOST)
        high.rename(place / "high.x")
        high.symlink_to(secret)
        stays(lambda: read(view / "A/X/1") in (b"", b"high"), "a file is the source's or cannot be opened", LONG)
        assert names(view) == before, "a lost source keeps its names"
        assert read(view / "A/X/1") != b"secret"
        shows(lambda: warnings(mount) == 1, "one warning")


def test_a_symlink_that_replaces_a_root_is_not_followed_with_followsymlinks_either(place: Path) -> None:
    high, low, view = trees(place, HIGH, LOW)
    secret = grow(place / "secret", SECRET)
    with mounted(view, high, low, depth=2, options=[REFRESH, "--followsymlinks"]) as mount:
        before = names(view)
        mount.expect(LOST)
        high.rename(place / "high.x")
        high.symlink_to(secret)
        stays(lambda: names(view) == before and read(view / "A/X/1") != b"secret", "the original source", LONG)


def test_a_root_recovers_after_a_symlink_replaced_it(place: Path) -> None:
    high, low, view = trees(place, HIGH, LOW)
    secret = grow(place / "secret", SECRET)
    with mounted(view, high, low, depth=2, options=[REFRESH]) as mount:
        mount.expect(LOST)
        mount.expect("is back")
        high.rename(place / "high.x")
        high.symlink_to(secret)
        shows(lambda: warnings(mount) == 1, "the warning")
        high.unlink()
        (place / "high.x").rename(high)
        shows(lambda: read(view / "A/X/1") == b"high", "the file again")


def test_a_root_given_as_a_symlink_is_resolved_once_at_the_start(place: Path) -> None:
    high, low, view = trees(place, HIGH, LOW)
    secret, link = grow(place / "secret", SECRET), place / "link"
    link.symlink_to(high)
    with mounted(view, link, low, depth=2, options=[REFRESH]):
        before = names(view)
        link.unlink()
        link.symlink_to(secret)
        stays(lambda: names(view) == before and read(view / "A/X/1") == b"high", "the original source", LONG)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_name_in_the_root_that_becomes_a_symlink_is_not_followed(place: Path, depth: int) -> None:
    high, low, view = trees(place, HIGH, LOW)
    secret = grow(place / "secret", SECRET)
    with mounted(view, high, low, depth=depth, options=["--refresh=600"]):
        names(view)
        (high / "A").rename(high / "A.x")
        (high / "A").symlink_to(secret / "A")
        assert "A/secret" not in names(view)
        assert read(view / "A/X/1") != b"secret"
        with pytest.raises(OSError, match=r"."):
            os.listdir(view / "A/secret")


EXCLUDED = (".DS_Store", "lost+found")


@pytest.mark.parametrize("fill", [(), EXCLUDED[:1], EXCLUDED], ids=["empty", "a file", "a file and a directory"])
@pytest.mark.parametrize("refresh", [REFRESH, "--refresh=600"], ids=["scanned", "not scanned"])
def test_a_bare_mountpoint_with_only_excluded_names_is_a_lost_source(
    place: Path, fill: tuple[str, ...], refresh: str
) -> None:
    low, view = grow(place / "low", LOW), place / "view"
    options = [refresh, *(f"--exclude={name}" for name in EXCLUDED)]
    with disk(place / "high", HIGH) as high:
        high.unplug()
        for name in fill:
            (high.where / name).mkdir() if name == EXCLUDED[1] else (high.where / name).touch()
        high.plug()
        with mounted(view, high.where, low, depth=2, options=options) as mount:
            mount.expect(LOST)
            mount.expect("is back")
            before = names(view)
            high.unplug()
            read(view / "A/X/1")
            stays(lambda: names(view) == before, "the library", LONG)
            assert warnings(mount) == 1
            high.plug()
            shows(lambda: read(view / "A/X/1") == b"high", "the file again")


@pytest.mark.parametrize(
    "below", [{b"README": b"not plugged in"}, {b"Other": {b"X": {b"1": b"o"}}}], ids=["file", "dir"]
)
def test_a_bare_mountpoint_with_only_unknown_names_is_a_lost_source(place: Path, below: Tree) -> None:
    low, view = grow(place / "low", LOW), place / "view"
    with disk(place / "high", HIGH) as high:
        high.unplug()
        grow(high.where, below)
        high.plug()
        with mounted(view, high.where, low, depth=2, options=[REFRESH]) as mount:
            mount.expect(LOST)
            mount.expect("is back")
            before = names(view)
            high.unplug()
            shows(lambda: warnings(mount) == 1, "the warning")
            stays(lambda: names(view) == before, "the library", LONG)
            assert warnings(mount) == 1
            high.plug()
            shows(lambda: read(view / "A/X/1") == b"high", "the file again")


def test_another_filesystem_with_a_known_name_is_taken_for_the_source(place: Path) -> None:
    low, view = grow(place / "low", LOW), place / "view"
    with disk(place / "high", HIGH) as high:
        high.unplug()
        grow(high.where, {b"A": {b"X": {b"1": b"copy"}}})
        high.plug()
        with mounted(view, high.where, low, depth=2, options=[REFRESH]):
            high.unplug()
            shows(lambda: read(view / "A/X/1") == b"copy", "the content of the other filesystem")
            shows(lambda: names(view) == ["A", "A/X", "A/X/1", "A/Z", "A/Z/1"], "and nothing else")


def test_a_root_left_with_only_excluded_names_is_an_emptied_source(place: Path) -> None:
    high, low, view = trees(place, {b"A": {b"X": {b"1": b"high"}}, b".DS_Store": b""}, LOW)
    with mounted(view, high, low, depth=2, options=[REFRESH, "--exclude=.DS_Store"]):
        (high / "A/X/1").unlink()
        (high / "A/X").rmdir()
        (high / "A").rmdir()
        shows(lambda: names(view) == ["A", "A/Z", "A/Z/1"], "the other source alone")
