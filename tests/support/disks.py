"""A disk that can be unplugged: a source that is a filesystem of its own, for root."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.fresh import MARGIN
from tests.support.polling import poll
from tests.support.trees import Tree, grow
from tests.support.users import need, output_of, run


@dataclass
class Disk:
    """A filesystem that can be unplugged, and plugged in again with what it held."""

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
        """Unmount it, as anybody would: nothing may be in its way."""
        poll(lambda: run("umount", self.where).returncode == 0, "the disk unmounted", MARGIN)


@contextlib.contextmanager
def disk(where: Path, tree: Tree, kind: str = "tmpfs") -> Iterator[Disk]:
    """A disk that holds a tree, plugged in. Its mountpoint is an empty directory."""
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
