"""How directories are watched: by fanotify, by inotify within a budget, or polled."""

import os
from pathlib import Path

import pytest

from mmirrorfs.source.inotify import limit
from tests.support.changes import opened, output_as_plain_user
from tests.support.marking import watching
from tests.support.trees import grow


def test_without_descriptors_everything_is_polled(tmp_path: Path) -> None:
    with watching(fanotify=False, inotify=False) as all_:
        assert all_.mark(tmp_path) == b""
        assert all_.way(tmp_path)[:2] == ("polled", "fanotify: not permitted; inotify: not to be had")


def test_a_plain_user_watches_each_directory(place: Path) -> None:
    script = (
        "import os; from mmirrorfs.source.marker import Marker\n"
        "from mmirrorfs.source.fanotify import FilesystemMarks; from mmirrorfs.source.inotify import Watches\n"
        "try: marks = FilesystemMarks().descriptor\n"
        "except PermissionError: marks = None\n"
        "watches = Watches(); marker = Marker(marks, watches.descriptor, 10)\n"
        "fd = os.open(sys.argv[1], os.O_RDONLY); key = marker.mark(fd); os.mkdir(sys.argv[1] + '/new')\n"
        "print(*[name.decode() for _, _, name in watches.events({key})], marker.budget)\n"
        "print(*marker.ways[os.fstat(fd).st_dev][:2])"
    )
    grow(place / "d", {})
    (place / "d").chmod(0o777)
    expected = ["new 9", "inotify fanotify: not permitted"]
    assert output_as_plain_user(place, script, place / "d").splitlines() == expected


def test_the_budget_of_watches_is_not_exceeded(tmp_path: Path) -> None:
    grow(tmp_path, {b"1": {}, b"2": {}, b"3": {}})
    with watching(fanotify=False, budget=2) as all_:
        keys = [all_.mark(tmp_path / name) for name in "123123"]
        assert [bool(key) for key in keys] == [True, True, False, False, False, False]
        way = all_.way(tmp_path)
        assert (way.how, way.short) == ("inotify", True)
        assert way.why.endswith(f"inotify: no more watches, fs.inotify.max_user_watches is {limit()}")
        all_.marker.allow(1)
        assert all_.hears(tmp_path / "3")
        assert [all_.marker.budget, all_.mark(tmp_path / "1")] == [0, b""]


def test_marking_a_watched_directory_again_costs_no_watch(tmp_path: Path) -> None:
    with watching(fanotify=False, budget=2) as all_:
        assert all_.mark(tmp_path) == all_.mark(tmp_path) == all_.mark(tmp_path)
        assert all_.marker.budget == 1


def test_a_file_is_polled_and_directories_are_watched_afterwards(tmp_path: Path) -> None:
    grow(tmp_path, {b"d": {}})
    with watching(fanotify=False) as all_, opened(tmp_path) as fd:
        assert all_.watches is not None
        (tmp_path / "file").touch()
        file = os.open(tmp_path / "file", os.O_RDONLY)
        try:
            assert all_.marker.mark(file) == b""
        finally:
            os.close(file)
        assert all_.marker.mark(fd)


def test_marking_a_closed_descriptor_raises(tmp_path: Path) -> None:
    with watching(fanotify=False) as all_:
        with opened(tmp_path) as fd:
            pass
        with pytest.raises(OSError, match="Bad file descriptor"):
            all_.marker.mark(fd)
