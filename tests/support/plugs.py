"""Sources on filesystems of many types, which tests unmount and mount again. Root only.

1. The content is kept outside of the mountpoint, so that it is the same after the next mount.
2. The test is skipped, naming the reason, where the program or the kernel's support is missing.
3. Everything is unmounted when the block ends.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.hanging import hanging
from tests.support.kernel import processes_of
from tests.support.polling import poll
from tests.support.trees import Tree, grow
from tests.support.users import Word, need, output_of, run

DISKS = {"ext4": 16, "vfat": 16, "xfs": 320, "btrfs": 128}
"""Types that are made on an image, and its size in MiB."""
FORMAT = {"ext4": ("-q",), "xfs": ("-q",), "btrfs": ("-q",)}
PACKED: dict[str, tuple[str, ...]] = {
    "squashfs": ("mksquashfs", "FROM", "TO", "-quiet", "-no-progress", "-no-xattrs"),
    "erofs": ("mkfs.erofs", "--quiet", "TO", "FROM"),
    "iso9660": ("xorriso", "-as", "genisoimage", "-quiet", "-R", "-o", "TO", "FROM"),
}
"""Read-only types that are packed from a directory, and the command."""
MEMORY = ("tmpfs",)
LAYERED = ("bindfs", "mergerfs")
PASSING = "pass-through"
"""The pass-through of the tests."""
KINDS = (*DISKS, *PACKED, *MEMORY, *LAYERED, PASSING, "overlay")


@dataclass
class Plug:
    """A filesystem at ``where``. Change its content at ``changed``, that of a packed one only after ``unplug``."""

    kind: str
    where: Path
    aside: Path

    @property
    def changed(self) -> Path:
        """The path at which its content can be changed."""
        return self.where if self.kind in DISKS or self.kind == "overlay" else self.aside

    @property
    def is_packed(self) -> bool:
        """Whether changes show only after the next mount."""
        return self.kind in PACKED

    def plug(self) -> None:
        """Mount it."""
        if self.kind in DISKS:
            self._mount("-t", self.kind, "-o", "loop", self._image(), self.where)
        elif self.kind in PACKED:
            self._pack()
            self._mount("-t", self.kind, "-o", "loop,ro", self._image(), self.where)
        elif self.kind in MEMORY:
            if not os.path.ismount(self.aside):
                self._mount("-t", self.kind, "none", self.aside)
            self._mount("--bind", self.aside, self.where)
        elif self.kind == "overlay":
            parts = ",".join(f"{part}dir={self.aside}/{part}" for part in ("lower", "upper", "work"))
            if not (self.aside / "lower").exists():
                grow(self.aside, {b"lower": {b"Below": {b"track": b"below"}}, b"upper": {}, b"work": {}})
            self._mount("-t", "overlay", "none", "-o", parts, self.where)
        else:
            output_of(self.kind, self.aside, self.where)

    def unplug(self) -> None:
        """Unmount it lazily."""
        output_of("umount", "-l", self.where)

    def _image(self) -> Path:
        image = self.where.with_suffix(".img")
        if not image.exists():
            with open(image, "wb") as file:
                file.truncate(DISKS.get(self.kind, 0) << 20)
            if self.kind in DISKS:
                output_of(f"mkfs.{self.kind}", *FORMAT.get(self.kind, ()), image)
        return image

    def _pack(self) -> None:
        self._image().unlink()
        words = {"FROM": str(self.aside), "TO": str(self.where.with_suffix(".img"))}
        output_of(*[words.get(word, word) for word in PACKED[self.kind]])

    def _mount(self, *words: Word) -> None:
        done = run("mount", *words)
        if done.returncode:
            known = Path("/proc/filesystems").read_text().split()
            assert self.kind not in known, done.stderr
            pytest.skip(f"{self.kind} is not known to this kernel: {done.stderr.decode().strip()}")


@dataclass
class _Passed(Plug):
    """The pass-through, with a new process for each mount."""

    stack: contextlib.ExitStack

    def plug(self) -> None:
        self.stack.enter_context(hanging(self.aside, self.where))

    def unplug(self) -> None:
        self.stack.close()
        poll(lambda: not os.path.ismount(self.where), "the end of the pass-through")


@contextlib.contextmanager
def plugged(where: Path, kind: str, tree: Tree) -> Iterator[Plug]:
    """A mounted filesystem of that type with a tree. Its mountpoint is an empty directory."""
    need("umount")
    aside = where.with_suffix(".aside")
    where.mkdir()
    aside.mkdir()
    with contextlib.ExitStack() as stack:
        made = _Passed(kind, where, aside, stack) if kind == PASSING else Plug(kind, where, aside)
        try:
            if made.is_packed:
                grow(aside, tree)
            made.plug()
            if not made.is_packed:
                grow(made.changed, tree)
            yield made
        finally:
            for path in (where, aside):
                while os.path.ismount(path):
                    run("umount", "-l", path)
            poll(lambda: not processes_of(os.fsencode(where)), "the exit of its processes")
