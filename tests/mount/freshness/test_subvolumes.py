"""Access to the top volume of a btrfs of which only a subvolume is mounted, without side effects."""

import contextlib
import errno
import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmirrorfs.source.filesystems import TableChanges, mount_under
from mmirrorfs.source.handles import fsid_of
from mmirrorfs.source.subvolumes import top_of
from tests.support.changes import make_subvolume, opened
from tests.support.plugs import plugged
from tests.support.users import needs_root, output_of, run

pytestmark = needs_root


def device_of(path: Path) -> bytes:
    mount = mount_under(os.fsencode(path))
    assert mount is not None
    return mount.what


@contextlib.contextmanager
def subvolume(place: Path, options: str = "rw") -> Iterator[Path]:
    """A mounted subvolume; the top volume, which is not mounted, also has a directory ``beside``."""
    with plugged(place / "disk", "btrfs", {b"beside": {}}) as disk:
        make_subvolume(disk.where / "sub")
        output_of("umount", disk.where)
        output_of("mount", "-o", f"loop,subvol=sub,{options}", disk.where.with_suffix(".img"), disk.where)
        yield disk.where


def flags_of(path: Path) -> list[str]:
    """ "rw" or "ro" of the mount, and of its superblock."""
    line = next(line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {path} " in line)
    before, _, after = line.partition(" - ")
    return [before.split()[5].split(",")[0], after.split()[2].split(",")[0]]


@pytest.mark.parametrize("options", ["rw", "ro"])
def test_the_top_volume_is_opened_read_only_without_a_visible_mount(place: Path, options: str) -> None:
    with subvolume(place, options) as where:
        before = Path("/proc/self/mountinfo").read_text()
        with opened(where) as fd, top_of(fd, device_of(where)) as top:
            assert sorted(os.listdir(top)) == ["beside", "sub"]
            assert fsid_of(top) != fsid_of(fd)
            with pytest.raises(OSError, match="Read-only"):
                os.mkdir("new", dir_fd=top)
        assert Path("/proc/self/mountinfo").read_text() == before
        assert flags_of(where) == [options, options]
        output_of("umount", where)


def test_opening_the_top_volume_does_not_change_the_mount_table(place: Path) -> None:
    with subvolume(place) as where, opened(where) as fd:
        changes = TableChanges()
        try:
            with top_of(fd, device_of(where)):
                pass
            assert select.select([changes.descriptor], [], [], 0)[0] == []
        finally:
            changes.close()


def test_a_device_of_another_filesystem_is_refused(place: Path) -> None:
    with subvolume(place) as where, plugged(place / "other", "btrfs", {}) as other, opened(where) as fd:
        with pytest.raises(OSError, match="No such device or address") as caught, top_of(fd, device_of(other.where)):
            pass
        assert caught.value.errno == errno.ENXIO
        with pytest.raises(OSError, match="No such file"), top_of(fd, b"/dev/nothing"):
            pass
    assert run("findmnt", place / "other").returncode != 0
