"""File handles as an NFS server keeps them: valid after the kernel forgot all inodes, and after a remount."""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.handles import FORGET, Handle, forget, handle_of, opened
from tests.support.hanging import hanging
from tests.support.mounts import View, mounted
from tests.support.polling import poll
from tests.support.trees import Tree, grow
from tests.support.users import needs_root

pytestmark = needs_root

HIGH: Tree = {b"Artist": {b"Album": {b"track": b"high", b"sub": {b"deep": b"deep"}}, b"loose": b"loose"}}
LOW: Tree = {b"Artist": {b"Album": {b"track": b"low"}, b"Other": {b"track": b"low other"}}, b"Solo": {b"One": {}}}
FILES = {
    "Artist/Album/track": b"high",
    "Artist/Album/sub/deep": b"deep",
    "Artist/loose": b"loose",
    "Artist/Other/track": b"low other",
}
DIRECTORIES = {
    "": ["Artist", "Solo"],
    "Artist": ["Album", "Other", "loose"],
    "Artist/Album": ["sub", "track"],
    "Artist/Album/sub": ["deep"],
    "Solo": ["One"],
    "Solo/One": [],
}


@contextmanager
def exported(place: Path) -> Iterator[View]:
    """A view of depth 2, with merged directories, folders with files, and loose files."""
    with mounted(place / "view", place / "high", place / "low", depth=2, options=("--refresh=1",)) as view:
        yield view


def prepare(place: Path) -> None:
    """Make the sources; the test is skipped where the kernel cannot be asked to forget."""
    if not os.access(FORGET, os.W_OK):
        pytest.skip(f"{FORGET} cannot be written here")
    grow(place / "high", HIGH)
    grow(place / "low", LOW)


@pytest.fixture(scope="module")
def view(shared_place: Path) -> Iterator[View]:
    """One view for all tests that do not change its sources."""
    prepare(shared_place)
    with exported(shared_place) as view:
        yield view


def handles(view: View) -> dict[str, Handle]:
    """The handles of all paths."""
    return {path: handle_of(view.mountpoint / path) for path in [*FILES, *DIRECTORIES]}


def forget_all(view: View) -> None:
    """Have the kernel drop its dentries and inodes."""

    def forgotten() -> bool:
        forget()
        return b'"inodes": 1,' in os.getxattr(view.mountpoint, "user.mmirrorfs.status")

    poll(forgotten, "everything forgotten but the root", 20)


def check(view: View, kept: dict[str, Handle]) -> None:
    """Check that each handle opens the same file or directory as before."""
    for path, content in FILES.items():
        with opened(view.mountpoint, kept[path]) as fd:
            assert (path, os.pread(fd, 100, 0)) == (path, content)
            assert os.fstat(fd).st_ino == (view.mountpoint / path).stat().st_ino
    for path, names in DIRECTORIES.items():
        with opened(view.mountpoint, kept[path]) as fd:
            assert (path, os.listdir(fd)) == (path, names)
            assert os.readlink(f"/proc/self/fd/{fd}") == str(view.mountpoint / path).rstrip("/")


def test_handles_are_valid_after_the_kernel_forgot_all_inodes(place: Path, view: View) -> None:
    kept = handles(view)
    check(view, kept)
    for _ in range(2):
        forget_all(view)
        check(view, kept)


def test_handles_are_valid_after_a_remount(place: Path) -> None:
    prepare(place)
    with exported(place) as view:
        kept = handles(view)
    with exported(place) as view:
        check(view, kept)


def test_an_invalid_handle_is_stale_at_once_and_harmless(place: Path, view: View) -> None:
    kept = handles(view)
    for path in ("Artist/Album/track", "Artist", "Artist/Album"):
        wrong = handle_of(view.mountpoint / path)
        wrong.data[0] ^= 1
        for _ in range(20):
            start = time.monotonic()
            with pytest.raises(OSError, match="Stale file handle") as raised, opened(view.mountpoint, wrong):
                pass
            assert raised.value.errno == errno.ESTALE
            assert time.monotonic() - start < 2
    check(view, kept)


def test_invalid_handles_cause_no_requests_to_the_sources(place: Path) -> None:
    under = grow(place / "under", {b"Artist": {b"Album": {b"track": b"t", b"sub": {b"deep": b"d"}}}})
    other = grow(place / "other", {b"Artist": {b"Other": {b"track": b"o"}}})
    options = ["--watch=off", "--crawl=off"]  # no other requests
    with (
        hanging(under, place / "slow") as source,
        mounted(place / "view", place / "slow", other, depth=2, options=options) as view,
    ):
        wrong = handle_of(view.mountpoint / "Artist/Album/track")
        before = source.figures.listed
        wrong.data[1] ^= 1
        for number in range(50):
            wrong.data[0] = number
            with pytest.raises(OSError, match="Stale file handle"), opened(view.mountpoint, wrong):
                pass
        assert source.figures.listed == before


def test_the_handle_of_a_removed_file_is_stale(place: Path) -> None:
    prepare(place)
    with exported(place) as view:
        kept = handles(view)
        (place / "high/Artist/Album/track").unlink()
        forget_all(view)
        with pytest.raises(OSError, match="Stale file handle"), opened(view.mountpoint, kept["Artist/Album/track"]):
            pass
        with opened(view.mountpoint, kept["Artist/Album/sub/deep"]) as fd:
            assert os.pread(fd, 100, 0) == b"deep"


def test_parents_are_found_from_a_handle_alone(place: Path, view: View) -> None:
    kept = handles(view)
    forget_all(view)
    for path in ("Artist/Album/sub", "Artist/Album", "Artist"):
        with opened(view.mountpoint, kept[path]) as fd:
            above = os.open("..", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
            try:
                assert os.listdir(above) == DIRECTORIES[str(Path(path).parent).replace(".", "")]
            finally:
                os.close(above)
