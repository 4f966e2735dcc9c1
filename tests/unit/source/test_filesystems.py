"""The mount table, and which paths are local by it."""

from pathlib import Path

import pytest

from mmirrorfs.source import filesystems
from mmirrorfs.source.filesystems import Locality, Mount, mount_at, mount_under, mounts, parents

TABLE = rb"""21 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw
30 21 0:26 / /tmp rw,nosuid shared:5 master:2 - tmpfs tmpfs rw
42 21 0:45 / /mnt/nas rw,relatime - nfs4 server:/export/my\040music rw,vers=4.2
43 21 0:46 / /mnt/with\040space\011tab\134slash rw - fuse.sshfs me@there:/ rw
44 21 8:1 /sub /mnt/usb rw - vfat /dev/sda1 rw
45 44 8:2 / /mnt/usb rw - exfat /dev/sdb1 rw
46 21 0:50 / /mnt/view ro,nosuid,nodev - fuse.mmirrorfs high:low ro
47 21 0:51 / /mnt/nas2 rw - cifs  rw
48 21 0:52 / /mnt/volume rw - fuse.glusterfs there:/volume rw
"""


@pytest.fixture
def _table(monkeypatch: pytest.MonkeyPatch) -> None:
    table = [filesystems._parsed(line) for line in TABLE.splitlines(keepends=True)]
    monkeypatch.setattr(filesystems, "mounts", lambda: table)


@pytest.mark.usefixtures("_table")
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/mnt/nas", Mount(42, "0:45", b"/mnt/nas", b"nfs4", b"server:/export/my music")),
        (
            b"/mnt/with space\ttab\\slash",
            Mount(43, "0:46", b"/mnt/with space\ttab\\slash", b"fuse.sshfs", b"me@there:/"),
        ),
        (b"/mnt/usb", Mount(45, "8:2", b"/mnt/usb", b"exfat", b"/dev/sdb1")),
        (b"/mnt/nas2", Mount(47, "0:51", b"/mnt/nas2", b"cifs", b"")),
        (b"/mnt", None),
        (b"/mnt/nas/below", None),
    ],
)
def test_mount_at_returns_the_topmost_mount_on_a_path(path: bytes, expected: Mount | None) -> None:
    assert mount_at(path) == expected


@pytest.mark.usefixtures("_table")
@pytest.mark.parametrize(
    ("path", "where"),
    [
        (b"/", b"/"),
        (b"/home/me", b"/"),
        (b"/tmp", b"/tmp"),
        (b"/tmp/x/y", b"/tmp"),
        (b"/tmpfile", b"/"),
        (b"/mnt/nas/flac", b"/mnt/nas"),
        (b"/mnt/nas3", b"/"),
        (b"/mnt/usb/x", b"/mnt/usb"),
    ],
)
def test_mount_under_returns_the_mount_of_a_path(path: bytes, where: bytes) -> None:
    mount = mount_under(path)
    assert mount is not None
    assert mount.where == where


@pytest.mark.usefixtures("_table")
@pytest.mark.parametrize(
    ("path", "local"),
    [
        (b"/music", True),
        (b"/tmp/x", True),
        (b"/mnt/usb/flac", True),
        (b"/mnt/nas/flac", False),
        (b"/mnt/nas2", False),
        (b"/mnt/view", False),
        (b"/mnt/volume/flac", False),
        (b"/mnt/with space\ttab\\slash/x", False),
    ],
)
def test_network_and_fuse_filesystems_are_not_local(path: bytes, local: bool) -> None:
    assert Locality(path).whole is local


@pytest.mark.usefixtures("_table")
@pytest.mark.parametrize(
    ("root", "stable"),
    [
        (b"/music", True),
        (b"/mnt/volume/flac", True),
        (b"/mnt/nas/flac", False),
        (b"/mnt/with space\ttab\\slash", False),
    ],
)
def test_inode_numbers_are_stable_on_local_filesystems_and_listed_others(root: bytes, stable: bool) -> None:
    assert Locality(root).stable is stable


@pytest.mark.usefixtures("_table")
def test_the_later_of_two_mounts_on_one_mountpoint_counts() -> None:
    mount = mount_under(b"/mnt/usb/x")
    assert mount is not None
    assert mount.type == b"exfat"


def test_without_a_mount_nothing_is_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystems, "mounts", list)
    assert mount_under(b"/x") is None
    assert not Locality(b"/x").whole


def test_the_mount_table_of_this_machine_can_be_read(tmp_path: Path) -> None:
    assert any(mount.where == b"/" for mount in mounts())
    assert mount_at(b"/proc") is not None
    assert not Locality(b"/proc/self").whole


def test_parents_are_returned_from_the_nearest_up() -> None:
    assert parents(b"/a/b/c") == [b"/a/b", b"/a", b"/"]
    assert parents(b"/") == []
