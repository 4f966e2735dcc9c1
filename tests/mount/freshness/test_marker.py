"""How filesystems, subvolumes and removable disks are watched: by a mark, by inotify, or polled."""

import errno
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mmirrorfs.source import marker as module
from mmirrorfs.source.events import CREATE, ONDIR
from mmirrorfs.source.filesystems import Mount, mounts
from tests.support.changes import make_subvolume, opened, said, watch
from tests.support.marking import ENOUGH, watching
from tests.support.plugs import PASSING, plugged
from tests.support.trees import grow
from tests.support.users import needs_root, output_of, run


@needs_root
@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs"])
def test_root_watches_by_a_filesystem_mark(place: Path, kind: str) -> None:
    with plugged(place / "disk", kind, {b"d": {}}) as disk, watching() as all_:
        assert all_.hears(disk.where / "d")
        way = all_.way(disk.where)
        assert (way.how, way.why, all_.marker.budget) == ("fanotify", "", ENOUGH)


@needs_root
def test_without_file_handles_each_directory_is_watched_by_inotify(place: Path) -> None:
    with plugged(place / "disk", "overlay", {b"d": {}}) as disk, watching() as all_:
        assert all_.hears(disk.where / "Below")
        assert all_.hears(disk.where / "d")
        way = all_.way(disk.where / "d")
        assert (way.how, way.why) == ("inotify", "fanotify: not possible on overlay")
        assert all_.marker.budget == ENOUGH - 2


@needs_root
def test_an_overlay_with_nfs_export_is_marked(place: Path) -> None:
    grow(place, {b"lower": {b"d": {}}, b"disk": {}, b"over": {}})
    with plugged(place / "parts", "tmpfs", {b"upper": {}, b"work": {}}) as parts, watching() as all_:
        options = f"lowerdir={place}/lower,upperdir={parts.where}/upper,workdir={parts.where}/work"
        try:
            output_of("mount", "-t", "overlay", "none", "-o", f"{options},index=on,nfs_export=on", place / "over")
            assert all_.hears(place / "over/d"), "which is in the lower layer, and copied up then"
            assert all_.hears(place / "over/d")
            assert all_.way(place / "over").how == "fanotify"
        finally:
            run("umount", "-l", place / "over")


@needs_root
def test_non_local_filesystems_are_polled(place: Path) -> None:
    with plugged(place / "disk", PASSING, {b"d": {}}) as disk, watching() as all_:
        assert all_.mark(disk.where / "d") == b""
        way = all_.way(disk.where)
        assert (way.how, way.why) == ("polled", "fuse.hanging is not a local filesystem")
        assert all_.way(Path("/proc"))[:2] == ("polled", "proc is not a local filesystem")
        assert all_.marker.budget == ENOUGH


@needs_root
def test_all_subvolumes_are_marked_through_the_top_volume(place: Path) -> None:
    with plugged(place / "disk", "btrfs", {b"d": {}}) as disk, watching() as all_:
        make_subvolume(disk.where / "sub")
        make_subvolume(disk.where / "sub/sub")
        for name in ("d", "sub", "sub/sub"):
            assert all_.hears(disk.where / name), name
            assert all_.way(disk.where / name).how == "fanotify"
        output_of("umount", disk.where)
        image = disk.where.with_suffix(".img")
        output_of("mount", "-o", "loop,subvol=sub", image, disk.where)
        (disk.where / "in").mkdir()
        for name in ("", "in", "sub"):
            assert all_.hears(disk.where / name), f"{name}, though the top is not mounted"
        output_of("umount", disk.where)


@needs_root
def test_a_subvolume_without_access_to_its_top_is_watched_by_inotify(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int, device: bytes) -> None:
        raise FileNotFoundError(errno.ENOENT, "no such device here", device)

    monkeypatch.setattr(module, "top_of", fail)
    with plugged(place / "disk", "btrfs", {}) as disk, watching() as all_:
        make_subvolume(disk.where / "sub")
        assert all_.hears(disk.where / "sub")
        assert all_.way(disk.where / "sub")[:2] == ("inotify", "fanotify: not possible on this btrfs subvolume")


@needs_root
def test_a_disk_that_was_unmounted_and_mounted_is_marked_again(place: Path) -> None:
    (place / "disk").mkdir()
    with open(place / "image", "wb") as image:
        image.truncate(16 << 20)
    output_of("mkfs.ext4", "-q", place / "image")
    device = output_of("losetup", "--find", "--show", place / "image").decode().strip()
    try:
        with watching() as all_:
            seen = set()
            for _ in range(2):
                output_of("mount", device, place / "disk")
                seen.add(place.joinpath("disk").stat().st_dev)
                assert all_.hears(place / "disk")
                assert all_.hears(place / "disk")
                output_of("umount", place / "disk")
            assert len(seen) == 1, "only the mount table shows that it was away"
    finally:
        run("umount", place / "disk")
        output_of("losetup", "--detach", device)


@needs_root
def test_an_unmounted_filesystem_is_polled_and_forgotten(place: Path) -> None:
    with plugged(place / "disk", "tmpfs", {}) as disk, watching() as all_:
        device = disk.where.stat().st_dev
        with opened(disk.where) as fd:
            assert all_.marker.mark(fd)
            output_of("umount", "-l", disk.where)
            assert all_.marker.mark(fd) == b""
            assert all_.marker.ways[device][:2] == ("polled", "not in the mount table")
        all_.mark(place)
        assert device not in all_.marker.ways


@needs_root
def test_a_decision_made_before_a_mount_is_not_cached(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grow(place, {b"mnt": {}})
    asked = 0

    def overtaken() -> list[Mount]:
        nonlocal asked
        asked += 1
        table = mounts()
        if asked == 1:
            output_of("mount", "-t", "tmpfs", "none", place / "mnt")
            assert all_.mark(Path("/proc")) == b""
        return table

    monkeypatch.setattr(module, "mounts", overtaken)
    try:
        with watching() as all_:
            for decisions in (2, 3, 3):
                assert all_.mark(place)
                assert asked == decisions
    finally:
        output_of("umount", place / "mnt")


@needs_root
def test_threads_mark_while_others_mount(place: Path) -> None:
    grow(place, {b"1": {}, b"2": {}, b"3": {}, b"mnt": {}})
    with watching() as all_:
        expected = {name: all_.mark(place / name) for name in "123"}
        assert all(expected.values())
        wrong: list[bytes] = []
        done = threading.Event()

        def mark(name: str) -> None:
            while not done.is_set():
                key = all_.mark(place / name)
                if key != expected[name]:
                    wrong.append(key)

        threads = [threading.Thread(target=mark, args=(name,)) for name in expected]
        for thread in threads:
            thread.start()
        try:
            for _ in range(20):
                output_of("mount", "-t", "tmpfs", "none", place / "mnt")
                output_of("umount", place / "mnt")
        finally:
            done.set()
            for thread in threads:
                thread.join()
        assert not wrong


@needs_root
@pytest.mark.parametrize(("kind", "how"), [("ext4", "fanotify"), ("overlay", "inotify")])
def test_a_child_marks_for_its_parent(place: Path, kind: str, how: str) -> None:
    script = (
        "import os, sys; from mmirrorfs.source.marker import Marker\n"
        "marker = Marker(int(sys.argv[1]), int(sys.argv[2]), 10); fd = os.open(sys.argv[3], os.O_RDONLY)\n"
        "print(marker.mark(fd).hex(), marker.ways[os.fstat(fd).st_dev].how)"
    )
    with plugged(place / "disk", kind, {b"d": {}}) as disk, watching() as all_:
        assert all_.marks is not None
        assert all_.watches is not None
        numbers = all_.marks.descriptor, all_.watches.descriptor
        command = [sys.executable, "-c", script, *map(str, numbers), str(disk.where / "d")]
        done = subprocess.run(command, pass_fds=numbers, check=True, stdout=subprocess.PIPE, text=True)
        key, found = done.stdout.split()
        assert found == how
        (disk.where / "d/new").mkdir()
        assert said(all_.events(), {bytes.fromhex(key): "d"}) == {("d", "new"): CREATE | ONDIR}
        assert watch(disk.where, all_.marker.mark, ["d"]) == {bytes.fromhex(key): "d"}
