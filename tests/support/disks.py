"""Disks: one that can be unmounted and mounted again, and one whose blocks are slow or hang. Root only.

The latter is a read-only ext4 on a loop device over a file in a pass-through (``hanging``): what the kernel has cached
is available at once, and all other blocks are read from that file.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.fresh import MARGIN
from tests.support.hanging import Hanging, freed, hanging
from tests.support.polling import poll
from tests.support.trees import Tree, grow
from tests.support.users import need, output_of, run


@dataclass
class Disk:
    """A filesystem that can be unmounted, and mounted again with the same content."""

    where: Path
    kind: str

    def plug(self) -> None:
        """Mount it."""
        image = self.where.with_suffix(".img")
        if self.kind == "tmpfs":
            image.mkdir(exist_ok=True)
            if not os.path.ismount(image):
                output_of("mount", "-t", "tmpfs", "none", image)
            output_of("mount", "--bind", image, self.where)
            return
        if not image.exists():
            with open(image, "wb") as file:
                file.truncate(16 << 20)
            output_of(f"mkfs.{self.kind}", "-q", image)
        done = run("mount", "-t", self.kind, "-o", "loop", image, self.where)
        if done.returncode:
            pytest.skip(f"{self.kind} cannot be mounted here: {done.stderr.decode().strip()}")

    def unplug(self) -> None:
        """Unmount it, not lazily: nothing may use it."""
        poll(lambda: run("umount", self.where).returncode == 0, "the disk unmounted", MARGIN)


@contextlib.contextmanager
def disk(where: Path, tree: Tree, kind: str = "tmpfs") -> Iterator[Disk]:
    """A mounted disk with a tree. Its mountpoint is an empty directory."""
    where.mkdir()
    made = Disk(where, kind)
    try:
        made.plug()
        if kind != "tmpfs":
            (where / "lost+found").rmdir()
        grow(where, tree)
        yield made
    finally:
        for path in (where, where.with_suffix(".img")):
            while os.path.ismount(path):
                need("umount")
                run("umount", "-l", path)


def drop_caches() -> None:
    """Drop the kernel's caches of names, inodes and blocks."""
    os.sync()
    for _ in range(2):  # blocks are let go only when the inodes that hold them are
        Path("/proc/sys/vm/drop_caches").write_text("3")


@contextlib.contextmanager
def slow_disk(where: Path, tree: Tree, prepare: Callable[[Path], None] = lambda top: None) -> Iterator[Hanging]:
    """An ext4 disk at ``where`` and the pass-through under it; ``prepare`` is called while it is still writable."""
    images = where.with_suffix(".images")
    image = images / "disk"
    images.mkdir()
    where.mkdir()
    with open(image, "wb") as file:
        file.truncate(64 << 20)
    output_of("mkfs.ext4", "-q", "-O", "^has_journal", "-E", "lazy_itable_init=0,nodiscard", image)
    try:
        _mount_loop(image, where, "loop")
        (where / "lost+found").rmdir()
        prepare(grow(where, tree))
        output_of("umount", where)
        with hanging(images, where.with_suffix(".blocks"), hang="reads") as blocks:
            _mount_loop(blocks.mountpoint / "disk", where, "ro,loop,inode_readahead_blks=0")
            with freed(blocks):
                yield blocks
            blocks.go_on()
            output_of("umount", "-l", where)
    finally:
        while os.path.ismount(where):
            run("umount", "-l", where)


def _mount_loop(image: Path, where: Path, options: str) -> None:
    done = run("mount", "-t", "ext4", "-o", options, image, where)
    if done.returncode:
        pytest.skip(f"ext4 cannot be mounted here: {done.stderr.decode().strip()}")
