"""Reading through a view changes no access times in the sources and leaks no descriptors in the daemon."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.hanging import freed, hanging
from tests.support.held import descriptors, status
from tests.support.mounts import View, mounted
from tests.support.polling import holds, poll
from tests.support.trees import Tree, grow
from tests.support.users import needs_root, output_of, run

pytestmark = needs_root

TREE: Tree = {b"A": {b"sub": {b"2": b"two"}, b"1": b"one"}, b"loose": b"loose"}
PATHS = ("", "A", "A/sub", "A/1", "A/sub/2", "loose")
LONG_AGO = 10**9


@contextmanager
def strict(where: Path) -> Iterator[Path]:
    """A filesystem mounted with strictatime."""
    where.mkdir()
    image = where.with_suffix(".img")
    with open(image, "wb") as file:
        file.truncate(16 << 20)
    output_of("mkfs.ext4", "-q", image)
    if run("mount", "-o", "loop,strictatime", image, where).returncode:
        pytest.skip("ext4 cannot be mounted here")
    try:
        (where / "lost+found").rmdir()
        yield grow(where, TREE)
    finally:
        output_of("umount", "-l", where)


def age(top: Path) -> None:
    """Set every access time far back."""
    for path in reversed(PATHS):
        os.utime(top / path, (LONG_AGO, LONG_AGO))


def accessed(top: Path) -> list[str]:
    """The paths accessed since ``age``."""
    return [path for path in PATHS if os.stat(top / path).st_atime != LONG_AGO]


@pytest.mark.parametrize("depth", [1, 2])
def test_reading_a_view_does_not_change_access_times_in_a_source(place: Path, depth: int) -> None:
    other = grow(place / "other", {b"Other": {b"track": b"o"}})
    with strict(place / "disk") as top:
        os.listdir(top / "A/sub")
        age(top)
        os.listdir(top / "A")
        assert accessed(top) == ["A"], "the filesystem records accesses"
        age(top)
        with mounted(place / "view", top, other, depth=depth, options=["--refresh=0"]) as view:
            for above, _, files in os.walk(view.mountpoint):
                for name in files:
                    assert Path(above, name).read_bytes()
            assert accessed(top) == []


def test_a_file_whose_fstat_fails_after_open_leaks_no_descriptor(place: Path) -> None:
    under = grow(place / "under", {b"A": {b"%02d" % number: b"t" for number in range(30)}})
    other = grow(place / "other", {b"Other": {b"track": b"o"}})
    with (
        hanging(under, place / "net", hang="attributes") as net,
        mounted(place / "view", place / "net", other, options=["--refresh=600", *ALONE]) as view,
        freed(net),
    ):
        tracks = sorted((view.mountpoint / "A").iterdir())
        assert [track.stat().st_size for track in tracks] == [1] * 30
        before = descriptors(view)
        net.fail()
        failed = [error_of(track) for track in tracks]
        assert errno.EIO in failed, f"none of the opens failed: {failed}"
        net.go_on()
        check_descriptors(view, before)


def test_a_folder_whose_fstat_fails_after_open_leaks_no_descriptor(place: Path) -> None:
    under = grow(place / "under", {b"%02d" % number: {b"track": b"t"} for number in range(30)})
    other = grow(place / "other", {b"Other": {b"track": b"o"}})
    with (
        hanging(under, place / "net", hang="attributes") as net,
        mounted(place / "view", place / "net", other, options=["--refresh=600", *ALONE]) as view,
        freed(net),
    ):
        assert len(os.listdir(view.mountpoint)) == 31
        before = descriptors(view)
        net.fail()
        failed = [error_of(view.mountpoint / f"{number:02}") for number in range(30)]
        assert errno.EIO in failed, f"none of the listings failed: {failed}"
        net.go_on()
        check_descriptors(view, before)


ALONE = ("--watch=off", "--crawl=off")
"""Only requests take descriptors."""


def check_descriptors(view: View, before: int) -> None:
    """Check that the source has recovered and that the failures leaked no descriptor."""
    poll(lambda: not status(view)["sources"][0]["lost"], "the source back", 20)
    if "is lost" in view.text():  # a scan meanwhile failed on its root
        view.expect("source net .* is lost: Input/output error")
        view.expect("source net .* is back")
    assert holds(lambda: descriptors(view) <= before + 2), f"{descriptors(view)} descriptors, {before} before"


def error_of(path: Path) -> int:
    """The errno of listing a directory or reading a file; 0 where it succeeds."""
    try:
        os.listdir(path) if path.is_dir() else path.read_bytes()
    except OSError as error:
        return error.errno or -1
    return 0
