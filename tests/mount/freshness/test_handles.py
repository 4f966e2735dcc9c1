"""Keys of directories (file handles) on several kinds of filesystem."""

import os
from pathlib import Path

import pytest

from mmirrorfs.source.handles import fsid_of, handle_of
from tests.support.changes import make_subvolume, opened
from tests.support.marking import key_of
from tests.support.plugs import plugged
from tests.support.users import needs_root


@needs_root
@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay"])
def test_a_key_is_stable_after_drop_caches(place: Path, kind: str) -> None:
    with plugged(place / "disk", kind, {b"d": {b"e": {}}}) as disk:
        before = key_of(disk.where / "d/e")
        assert before
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("2")
        assert key_of(disk.where / "d/e") == before


@needs_root
def test_equal_inode_numbers_in_two_subvolumes_have_different_keys(place: Path) -> None:
    with plugged(place / "disk", "btrfs", {}) as disk:
        for name in ("one", "two"):
            make_subvolume(disk.where / name)
        with opened(disk.where / "one") as one, opened(disk.where / "two") as two:
            assert os.fstat(one).st_ino == os.fstat(two).st_ino
            assert fsid_of(one) != fsid_of(two)
            assert handle_of(one, fsid_of(one)) != handle_of(two, fsid_of(one))
