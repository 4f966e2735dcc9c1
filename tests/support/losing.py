"""Sources that are lost and come back while other processes change their contents.

These use another path than the view: of an unmounted disk a second mount, of a renamed directory a descriptor's path
in /proc.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.support.disks import Disk, disk
from tests.support.polling import holds
from tests.support.users import output_of, run


class Losable(Protocol):
    """A source. ``where`` is the path that a view gets, ``changed`` the path for changes."""

    changed: bytes
    how: str

    @property
    def where(self) -> Path: ...
    def lose(self) -> None: ...
    def bring_back(self) -> None: ...


@dataclass
class Unmounted:
    """A disk that is unmounted, lazily where files of it are open."""

    disk: Disk
    changed: bytes
    how: str = "unmounted"

    @property
    def where(self) -> Path:
        """Where it is mounted."""
        return self.disk.where

    def lose(self) -> None:
        """Unmount it."""
        if not holds(lambda: run("umount", self.where).returncode == 0, 1):
            output_of("umount", "-l", self.where)

    def bring_back(self) -> None:
        """Mount it again."""
        self.disk.plug()


@dataclass
class Renamed:
    """A directory that is renamed, with an empty one in its place."""

    where: Path
    changed: bytes
    how: str = "renamed away"

    def lose(self) -> None:
        """Move it away."""
        self.where.rename(self._away)
        self.where.mkdir()

    def bring_back(self) -> None:
        """Move it back over the empty one, atomically."""
        self._away.rename(self.where)

    @property
    def _away(self) -> Path:
        return self.where.with_suffix(".away")


@contextmanager
def unmounted(where: Path) -> Iterator[Losable]:
    """An empty source on a disk of its own. Root only."""
    with disk(where, {}) as made:
        yield Unmounted(made, os.fsencode(where.with_suffix(".img")))


@contextmanager
def renamed(where: Path) -> Iterator[Losable]:
    """An empty source that is a directory."""
    where.mkdir()
    fd = os.open(where, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield Renamed(where, b"/proc/%d/fd/%d" % (os.getpid(), fd))
    finally:
        os.close(fd)


LOST, BACK = r"source high \(.*\) is lost", r"source high \(.*\) is back"
