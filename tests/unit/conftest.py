"""Tests without a mount: pure code, and files in a temporary directory."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmirrorfs.source.filesystems import mount_under

MEMORY = "/dev/shm"


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark every test of this folder."""
    item.add_marker(pytest.mark.unit)


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest) -> Iterator[Path]:
    """An empty directory, in memory: other tests have the kernel drop what it has cached of a disk. Or ``on_disk``."""
    above = _in_memory() if request.node.get_closest_marker("on_disk") is None else _on_disk()
    path = Path(os.path.realpath(tempfile.mkdtemp(prefix="mmirrorfs-test-", dir=above)))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def _in_memory() -> str | None:
    return MEMORY if os.access(MEMORY, os.W_OK) else None


def _on_disk() -> str:
    for path in map(os.path.realpath, (tempfile.gettempdir(), "/var/tmp")):
        mount = mount_under(os.fsencode(path))
        if mount is not None and mount.type not in (b"tmpfs", b"overlay") and os.access(path, os.W_OK):
            return path
    pytest.skip("temporary files are in memory or on an overlay here")
