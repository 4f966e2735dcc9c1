"""Sources on every kind of filesystem available here, alone and mixed: the view is the same on all of them."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from tests.support.fresh import Observer, becomes, observer, shows
from tests.support.mounts import View, mounted
from tests.support.plugs import KINDS, PASSING, Plug, plugged
from tests.support.trees import Link, Tree, grow
from tests.support.users import needs_root

pytestmark = needs_root

REFRESH = "--refresh=0.4"
DEPTH = 2
HIGH: Tree = {
    b"Ann": {b"Both": {b"1": b"high" * 5000, b"empty": b"", b"sub": {b"2": b"two"}}, b"Mine": {b"1": b"mine"}},
    b"cover": b"high cover",
}
LINKED: Tree = {b"Ann": {b"Linked": {b"1": b"one", b"link": Link(b"1")}}}
LOW: Tree = {b"Ann": {b"Both": {b"1": b"low"}}, b"Bob": {b"Solo": {b"1": b"solo"}}, b"cover": b"low cover"}
PAIRS = (("ext4", PASSING), ("squashfs", "overlay"))


def change(top: Path) -> None:
    """Edit, add, remove and rename, at every level."""
    with open(top / "Ann/Both/1", "r+b") as file:
        file.write(b"edited")
    with open(top / "Ann/Both/sub/2", "ab") as file:
        file.write(b" more")
    (top / "Ann/Both/empty").unlink()
    (top / "Ann/Mine").rename(top / "Ann/Renamed")
    grow(top, {b"Cid": {b"New": {b"1": b"new"}}})
    os.utime(top / "cover", ns=(10**18, 10**18))
    shutil.rmtree(top / "Ann/Linked", ignore_errors=True)


def error_of(eyes: Observer, path: Path) -> int:
    """The errno of reading a file; 0 where it succeeds."""
    try:
        eyes.read(path)
    except OSError as error:
        return error.errno or -1
    return 0


def check_change(eyes: Observer, view: View, source: Plug, order: list[Path]) -> None:
    """A change in the source shows; a read-only filesystem is replaced by a changed one."""
    if source.is_packed:
        source.unplug()
        change(source.changed)
        source.plug()
    else:
        change(source.changed)
    becomes(eyes, view.mountpoint, order, DEPTH, "the change")


def check_loss(eyes: Observer, view: View, source: Plug, order: list[Path]) -> None:
    """An unplugged source is lost and not empty, and recovers by itself."""
    name = source.where.name
    names = [eyes.names(view.mountpoint / path) for path in ("", "Ann", "Ann/Both")]
    own = view.mountpoint / f"only {name}"
    assert eyes.read(own) == name.encode()
    view.expect(rf"source {name} \(.*\) is lost")
    view.expect(rf"source {name} \(.*\) is back")
    before = view.text().count("is lost"), view.text().count("is back")
    source.unplug()
    shows(lambda: view.text().count("is lost") > before[0], "the warning")
    shows(lambda: error_of(eyes, own) == errno.EIO, "an error for the bytes")
    assert [eyes.names(view.mountpoint / path) for path in ("", "Ann", "Ann/Both")] == names
    assert error_of(eyes, view.mountpoint / "Bob/Solo/1") == (errno.EIO if name == "low" else 0)
    assert error_of(eyes, view.mountpoint / "Ann/Both/1") == (errno.EIO if name == "high" else 0)
    source.plug()
    shows(lambda: view.text().count("is back") > before[1], "the recovery logged")
    becomes(eyes, view.mountpoint, order, DEPTH, "everything again")


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_on_any_filesystem_is_shown_kept_current_lost_and_recovers(place: Path, kind: str) -> None:
    low = grow(place / "low", LOW)
    with plugged(place / "high", kind, {**HIGH, b"only high": b"high"}) as source, observer() as eyes:
        order = [source.where, low]
        if kind not in ("vfat", PASSING) and not source.is_packed:  # those have no symlinks
            grow(source.changed, LINKED)
        with mounted(place / "view", *order, depth=DEPTH, options=[REFRESH]) as view:
            assert not eyes.differences(view.mountpoint, order, DEPTH)
            assert os.statvfs(view.mountpoint).f_namemax >= 255
            check_change(eyes, view, source, order)
            check_loss(eyes, view, source, order)


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=[" and ".join(pair) for pair in PAIRS])
def test_filesystems_of_two_kinds_make_one_view(place: Path, first: str, second: str) -> None:
    with (
        plugged(place / "high", first, {**HIGH, b"only high": b"high"}) as high,
        plugged(place / "low", second, {**LOW, b"only low": b"low"}) as low,
        observer() as eyes,
        mounted(place / "view", high.where, low.where, depth=DEPTH, options=[REFRESH]) as view,
    ):
        order = [high.where, low.where]
        assert not eyes.differences(view.mountpoint, order, DEPTH)
        check_change(eyes, view, high, order)
        check_loss(eyes, view, high, order)
        check_loss(eyes, view, low, order)
