"""inotify events of every kind of change, on each local filesystem available, for root and a plain user."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmirrorfs.source.events import CREATE, IGNORED, MOST, ONDIR, Event
from mmirrorfs.source.inotify import free_watches, limit
from tests.support.changes import (
    TREE,
    All,
    output_as_plain_user,
    said,
    watch,
)
from tests.support.marking import check, instance
from tests.support.trees import grow


def test_every_kind_of_change_causes_the_expected_events(tmp_path: Path) -> None:
    check(tmp_path)


def test_a_plain_user_can_watch_readable_directories(place: Path) -> None:
    script = (
        "import os; from mmirrorfs.source.inotify import Watches\n"
        "watches = Watches()\n"
        "key = watches.add(os.open(sys.argv[1], os.O_RDONLY)); os.mkdir(sys.argv[1] + '/new')\n"
        "print(*[name.decode() for _, _, name in watches.events({key})])"
    )
    grow(place / "d", {})
    (place / "d").chmod(0o777)
    assert output_as_plain_user(place, script, place / "d") == "new\n"


def test_a_directory_added_again_has_the_same_key(tmp_path: Path) -> None:
    with instance() as watches:
        first = watch(tmp_path, watches.add, [""])
        grow(tmp_path, TREE)
        assert watch(tmp_path, watches.add).items() >= first.items()
        assert watches.made == 3


def test_events_of_unwanted_directories_are_left_out(tmp_path: Path) -> None:
    grow(tmp_path, {b"mine": {}, b"theirs": {}})
    with instance() as watches:
        names = watch(tmp_path, watches.add, ["mine"])
        watch(tmp_path, watches.add, ["theirs"])
        for name in ("theirs/1", "mine/2", "theirs/3"):
            (tmp_path / name).mkdir()
        assert said(watches.events(names), names) == {("mine", "2"): CREATE | ONDIR}


def test_ignored_is_returned_for_unwanted_directories_too(tmp_path: Path) -> None:
    grow(tmp_path, TREE)
    with instance() as watches:
        keys = {name: key for key, name in watch(tmp_path, watches.add).items()}
        (tmp_path / "d/e").rmdir()
        assert watches.events(()) == [Event(IGNORED, keys["d/e"], b"")]
        watches.remove(keys["d"])
        (tmp_path / "d/new").mkdir()
        assert watches.events(All()) == [Event(IGNORED, keys["d"], b"")]
        with pytest.raises(OSError, match="Invalid argument"):
            watches.remove(keys["d"])


def test_one_call_reads_a_bounded_number_of_bytes(tmp_path: Path) -> None:
    with instance() as watches:
        names = watch(tmp_path, watches.add, [""])
        made = 2 * MOST // 100
        for number in range(made):
            (tmp_path / f"{number:0100}").mkdir()
        first = watches.events(names)
        assert 0 < len(first) <= MOST // 100 + 1
        assert watches.more
        rest = first
        while watches.more:
            rest = rest + watches.events(names)
        assert len(said(rest, names)) == made


def test_a_child_that_inherits_the_instance_gets_the_keys_of_its_parent(tmp_path: Path) -> None:
    script = (
        "import os, sys; from mmirrorfs.source.inotify import Watches\n"
        "watches = Watches(int(sys.argv[1]))\n"
        "keys = [watches.add(os.open(path, os.O_RDONLY)) for path in sys.argv[2:]]\n"
        "print(*[key.hex() for key in keys], watches.made)"
    )
    grow(tmp_path, {b"old": {}, b"new": {}})
    with instance() as watches:
        (old,) = watch(tmp_path, watches.add, ["old"])
        number = watches.descriptor
        command = [sys.executable, "-c", script, str(number), str(tmp_path / "old"), str(tmp_path / "new")]
        done = subprocess.run(command, pass_fds=[number], check=True, stdout=subprocess.PIPE, text=True)
        first, second, made = done.stdout.split()
        assert (bytes.fromhex(first), made) == (old, "1")
        (tmp_path / "new/in").mkdir()
        names = {bytes.fromhex(second): "new"}
        assert said(watches.events(names), names) == {("new", "in"): CREATE | ONDIR}
        assert watch(tmp_path, watches.add, ["new"]) == names


def test_a_file_cannot_be_watched(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        with instance() as watches, pytest.raises(NotADirectoryError):
            watches.add(fd)
    finally:
        os.close(fd)


@pytest.mark.alone
def test_watches_in_use_are_counted(tmp_path: Path) -> None:
    grow(tmp_path, TREE)
    most = int(Path("/proc/sys/fs/inotify/max_user_watches").read_text())
    with instance() as watches:
        before = free_watches()
        watch(tmp_path, watches.add)
        after = free_watches()
    assert before[1] == after[1] == limit() == most
    assert before[0] - after[0] >= 3 or after[0] == 0, (before, after)
