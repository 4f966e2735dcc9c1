"""Events of a fanotify filesystem mark, on every filesystem that can be marked here."""

import contextlib
import errno
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmirrorfs.source.events import CLOSE_WRITE, CREATE, MODIFY, MOST, ONDIR, OVERFLOW, Event
from mmirrorfs.source.fanotify import FilesystemMarks
from mmirrorfs.source.handles import handle_of
from tests.support.changes import (
    CASES,
    TREE,
    All,
    comes,
    opened,
    output_as_plain_user,
    said,
    setting,
    watch,
    write,
)
from tests.support.plugs import plugged
from tests.support.trees import Tree, grow
from tests.support.users import needs_root, output_of

pytestmark = needs_root

KINDS = ("ext4", "xfs", "btrfs", "tmpfs")


@contextlib.contextmanager
def group() -> Iterator[FilesystemMarks]:
    made = FilesystemMarks()
    try:
        yield made
    finally:
        made.close()


def mark(marks: FilesystemMarks, path: Path) -> None:
    with opened(path) as fd:
        marks.mark(fd)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_change_is_reported_with_its_directory(place: Path, kind: str) -> None:
    with plugged(place / "disk", kind, {}) as disk, group() as marks:
        mark(marks, disk.where)
        found, expected = {}, {}
        for case, change in CASES.items():
            top = grow(disk.where / case / "top", TREE)
            names = watch(top, handle_of)
            marks.events(())
            change.do(top)
            expected[case] = change.said
            found[case] = comes(marks.events, names, change.said)
        assert found == expected


def test_events_of_other_directories_are_left_out(place: Path) -> None:
    with plugged(place / "disk", "tmpfs", {b"mine": {}, b"theirs": {}}) as disk, group() as marks:
        mark(marks, disk.where)
        names = watch(disk.where, handle_of, ["mine"])
        for name in ("theirs/1", "mine/2", "theirs/3"):
            (disk.where / name).mkdir()
        assert said(marks.events(names), names) == {("mine", "2"): CREATE | ONDIR}


def test_a_change_through_any_mount_of_the_filesystem_is_reported(place: Path) -> None:
    script = (
        "mount --bind $1/disk $1/other; echo > $1/other/bound; mount -t tmpfs none $1/disk; mkdir $1/disk/hidden;"
        "echo > $1/other/covered"
    )
    (place / "other").mkdir()
    with plugged(place / "disk", "ext4", {}) as disk, group() as marks:
        mark(marks, disk.where)
        names = watch(disk.where, handle_of, [""])
        output_of("unshare", "--mount", "sh", "-ec", script, "sh", place)
        new = CREATE | MODIFY | CLOSE_WRITE
        assert said(marks.events(names), names) == {("", "bound"): new, ("", "covered"): new}


def test_a_change_through_an_overlay_on_top_is_reported(place: Path) -> None:
    script = (
        "mount -t overlay none -o lowerdir=$1/lower,upperdir=$1/disk/upper,workdir=$1/disk/work $1/overlay;"
        "echo > $1/overlay/new; echo more >> $1/overlay/there; rm $1/overlay/gone"
    )
    for name in ("lower", "overlay"):
        (place / name).mkdir()
    upper: Tree = {b"there": b"", b"gone": b""}
    with plugged(place / "disk", "ext4", {b"upper": upper, b"work": {}}) as disk, group() as marks:
        mark(marks, disk.where)
        names = watch(disk.where, handle_of, ["upper"])
        output_of("unshare", "--mount", "sh", "-ec", script, "sh", place)
        found = {name: mask for (_, name), mask in said(marks.events(names), names).items()}
        assert found["new"] & CREATE
        assert found["gone"]
        assert found["there"] == MODIFY | CLOSE_WRITE


def test_a_file_is_reported_under_the_link_that_was_used(place: Path) -> None:
    with plugged(place / "disk", "ext4", {b"one": {b"f": b"1"}, b"two": {}}) as disk, group() as marks:
        os.link(disk.where / "one/f", disk.where / "two/g")
        mark(marks, disk.where)
        names = watch(disk.where, handle_of, ["one", "two"])
        write(disk.where / "two/g")
        assert said(marks.events(names), names) == {("two", "g"): MODIFY | CLOSE_WRITE}


def test_writing_through_a_mapping_is_reported_at_munmap(place: Path) -> None:
    with plugged(place / "disk", "ext4", {b"f": b"one"}) as disk, group() as marks:
        mark(marks, disk.where)
        names = watch(disk.where, handle_of, [""])
        with open(disk.where / "f", "r+b") as file:
            pages = mmap.mmap(file.fileno(), 3)
        pages[0] = 0
        pages.flush()
        assert marks.events(names) == []
        pages.close()
        assert said(marks.events(names), names) == {("", "f"): CLOSE_WRITE}


def test_a_mark_neither_blocks_unmounting_nor_outlives_it(place: Path) -> None:
    with plugged(place / "disk", "ext4", {}) as disk, group() as marks:
        mark(marks, disk.where)
        keys = watch(disk.where, handle_of, [""])
        output_of("umount", disk.where)
        assert marks.events(All()) == [], "nothing is said of it"
        disk.plug()
        (disk.where / "new").mkdir()
        assert watch(disk.where, handle_of, [""]) == keys, "the disk comes back under the keys that it had"
        assert marks.events(All()) == [], "without a mark"
        mark(marks, disk.where)
        (disk.where / "newer").mkdir()
        assert said(marks.events(keys), keys) == {("", "newer"): CREATE | ONDIR}


def test_marking_twice_is_marking_once(place: Path) -> None:
    with plugged(place / "disk", "tmpfs", {b"d": {}}) as disk, group() as marks:
        mark(marks, disk.where)
        mark(marks, disk.where / "d")
        with opened(disk.where) as fd:
            marks.unmark(fd)
            (disk.where / "new").mkdir()
            assert marks.events(All()) == []
            with pytest.raises(FileNotFoundError):
                marks.unmark(fd)


@pytest.mark.alone
def test_a_full_queue_reports_one_overflow_and_goes_on(place: Path) -> None:
    with setting("fs/fanotify/max_queued_events", 10):
        marks = FilesystemMarks()
    try:
        with plugged(place / "disk", "tmpfs", {}) as disk:
            mark(marks, disk.where)
            for number in range(50):
                (disk.where / str(number)).mkdir()
            assert marks.events(()) == [Event(OVERFLOW, b"", b"")]
            (disk.where / "later").mkdir()
            names = watch(disk.where, handle_of, [""])
            assert said(marks.events(names), names) == {("", "later"): CREATE | ONDIR}
    finally:
        marks.close()


def test_one_call_returns_a_bounded_number_of_events(place: Path) -> None:
    with plugged(place / "disk", "tmpfs", {}) as disk, group() as marks:
        mark(marks, disk.where)
        names = watch(disk.where, handle_of, [""])
        made = 2 * MOST // 100
        for number in range(made):
            (disk.where / f"{number:0100}").mkdir()
        first = marks.events(names)
        assert 0 < len(first) <= MOST // 100 + 1
        assert marks.more
        rest = first
        while marks.more:
            rest = rest + marks.events(names)
        assert len(said(rest, names)) == made


def test_a_child_that_inherits_the_group_marks_for_its_parent(place: Path) -> None:
    script = (
        "import os, sys; from mmirrorfs.source.fanotify import FilesystemMarks\n"
        "FilesystemMarks(int(sys.argv[1])).mark(os.open(sys.argv[2], os.O_RDONLY))"
    )
    with plugged(place / "disk", "tmpfs", {}) as disk, group() as marks:
        number = marks.descriptor
        done = subprocess.run([sys.executable, "-c", script, str(number), disk.where], pass_fds=[number], check=False)
        assert done.returncode == 0
        names = watch(disk.where, handle_of, [""])
        (disk.where / "new").mkdir()
        assert said(marks.events(names), names) == {("", "new"): CREATE | ONDIR}


def error_of(marks: FilesystemMarks, path: Path) -> int | None:
    try:
        mark(marks, path)
    except OSError as error:
        return error.errno
    return None


def test_marking_an_unsupported_filesystem_raises_eopnotsupp(place: Path) -> None:
    with group() as marks:
        assert error_of(marks, Path("/proc")) == errno.EOPNOTSUPP
        with plugged(place / "disk", "overlay", {}) as disk:
            assert error_of(marks, disk.where) == errno.EOPNOTSUPP


def test_marking_as_a_plain_user_raises_eperm(place: Path) -> None:
    script = (
        "import errno, os; from mmirrorfs.source.fanotify import FilesystemMarks\n"
        "try: FilesystemMarks().mark(os.open('/', os.O_RDONLY))\n"
        "except OSError as error: print(errno.errorcode[error.errno])"
    )
    assert output_as_plain_user(place, script) == "EPERM\n"
