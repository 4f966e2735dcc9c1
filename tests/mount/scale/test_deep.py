"""Trees far deeper than PATH_MAX: in folders, and with the largest number of merged levels."""

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.build import deep
from tests.support.fresh import REFRESH, shows
from tests.support.mounts import mounted
from tests.support.polling import poll
from tests.support.trees import folders, grow
from tests.support.users import output_of, run

LEVELS = 1500
MERGED = 200
"""The largest depth allowed."""
NAME = "level"
LONG = "n" * 60
"""A path of MERGED such names is longer than PATH_MAX."""
REST = 3
"""Seconds after which a directory's times are trusted, so that a scan checks only those."""
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


@contextlib.contextmanager
def opened(top: Path, *names: str) -> Iterator[int]:
    """Open a directory name by name."""
    fd = os.open(top, DIRECTORY)
    try:
        for name in names:
            inner = os.open(name, DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


def content(directory: int, name: str) -> bytes:
    """The content of a file in an open directory."""
    with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory), "rb") as file:
        return file.read()


def put(directory: int, name: str, data: bytes) -> None:
    """Write a file into an open directory."""
    with open(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, dir_fd=directory), "wb") as file:
        file.write(data)


def attributes(directory: int, name: str) -> tuple[int, ...]:
    """The attributes of a name in an open directory."""
    st = os.stat(name, dir_fd=directory, follow_symlinks=False)
    return st.st_mode, st.st_nlink, st.st_uid, st.st_gid, st.st_size, st.st_mtime_ns, st.st_ctime_ns


def way_up(directory: int, levels: int) -> list[int]:
    """The inode numbers from an open directory up to the one ``levels`` above."""
    fd, found = os.dup(directory), []
    try:
        for _ in range(levels + 1):
            found.append(os.fstat(fd).st_ino)
            above = os.open("..", DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = above
    finally:
        os.close(fd)
    return found


def error_of(directory: Path, path: str) -> int:
    """The errno of lstat on a path, which must fail."""
    with pytest.raises(OSError, match=r"\[Errno") as caught:
        os.lstat(directory / path)
    return caught.value.errno or 0


def test_fifteen_hundred_levels_can_be_walked_down_and_up(place: Path) -> None:
    high, low = grow(place / "high", folders("h", "other")), grow(place / "low", folders("l", "other"))
    names = [NAME] * LEVELS
    with deep(high, LEVELS, NAME) as path, mounted(place / "view", high, low, options=[REFRESH]) as view:
        with opened(high, *names) as there, opened(view.mountpoint, *names) as here:
            assert os.listdir(here) == ["file", "link"]
            assert (content(here, "file"), os.readlink("link", dir_fd=here)) == (b"deep", "file")
            assert [attributes(here, name) for name in ("file", "link")] == [
                attributes(there, name) for name in ("file", "link")
            ]
            numbers = way_up(here, LEVELS)
            assert numbers[-1] == os.stat(view.mountpoint).st_ino
            assert len(set(numbers)) == LEVELS + 1
            put(there, "new", b"new")
            shows(lambda: os.listdir(here) == ["file", "link", "new"], "the new name")
            assert content(here, "new") == b"new"
        assert error_of(view.mountpoint, path) == error_of(high, path) == errno.ENAMETOOLONG


def test_recursive_programs_reach_the_bottom_and_remove_nothing(place: Path) -> None:
    high, low = grow(place / "high", folders("h", "other")), grow(place / "low", folders("l", "other"))
    listing = ("-printf", "%d %y %f %s %T@\\n")
    with deep(high, LEVELS, NAME) as path, mounted(place / "view", high, low) as view:
        removed = run("rm", "-rf", view.mountpoint / NAME)
        assert removed.returncode == 1
        assert removed.stderr.count(b"\n") == removed.stderr.count(b": Read-only file system\n") == 2, "file and link"
        shown, there = (sorted(output_of("find", top / NAME, *listing).splitlines()) for top in (view.mountpoint, high))
        assert shown == there
        assert output_of("find", view.mountpoint, "-name", "file") == os.fsencode(f"{view.mountpoint}/{path}/file\n")
        packed, true = (output_of("tar", "-C", tree, "-cf", "-", NAME) for tree in (view.mountpoint, high))
        assert packed == true


def test_two_hundred_levels_are_merged_and_kept_current(place: Path) -> None:
    high, low, names = grow(place / "high", {}), grow(place / "low", {}), [LONG] * MERGED
    with deep(high, MERGED + 50, LONG), deep(low, MERGED + 50, LONG):
        for source, mark in ((high, b"h"), (low, b"l")):
            for level in (1, MERGED - 1, MERGED, MERGED + 1):
                with opened(source, *[LONG] * level) as fd:
                    put(fd, "whose", mark)
                    put(fd, f"only {mark.decode()}", mark)
                    changed = os.fstat(fd).st_ctime
        poll(lambda: time.time() - changed > REST, "directories with trusted times")
        options = [REFRESH]
        with mounted(place / "view", high, low, depth=MERGED, prefer="low", options=options) as view:
            for level in (1, MERGED - 1):
                with opened(view.mountpoint, *names[:level]) as fd:
                    assert os.listdir(fd) == [LONG, "only h", "only l", "whose"]
                    assert (content(fd, "whose"), content(fd, "only h")) == (b"l", b"h")
            for level in (MERGED, MERGED + 1):
                with opened(view.mountpoint, *[LONG] * level) as fd:
                    assert os.listdir(fd) == [LONG, "only l", "whose"], "taken whole from the winner"
            with opened(view.mountpoint, *names[:-1]) as here, opened(high, *names[:-1]) as there:
                os.mkdir("new", dir_fd=there)
                os.unlink("only h", dir_fd=there)
                shows(lambda: os.listdir(here) == ["new", LONG, "only l", "whose"], "the change at the last level")
            assert error_of(view.mountpoint, "/".join(names)) == errno.ENAMETOOLONG
            with opened(view.mountpoint, *names, *[LONG] * 50) as fd:
                assert content(fd, "file") == b"deep"
