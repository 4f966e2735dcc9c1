"""The names that the kernel may cache as absent until it is told otherwise, so that it can be told.

Event loop's thread only. Pure.
"""

from collections.abc import Iterator

import trio

LIMIT = 200_000
"""Names, of all directories together: some 10 MB."""


class Absences:
    """The absent names of one view, with the inode numbers of their directories.

    They stay until they are taken, also if the kernel drops them or they appear: it does no harm to tell it again.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._directories: dict[bytes, set[int]] = {}  # the same few names are absent in many directories
        self._count = 0
        self.full = trio.Event()
        """Set when a name was refused. ``take`` makes a new one."""

    def add(self, ino: int, name: bytes) -> bool:
        """Add a name that is absent in the directory ``ino``; returns False if there are too many."""
        directories = self._directories.setdefault(name, set())
        if ino in directories:
            return True
        if self._count >= self._limit:
            self.full.set()
            return False
        directories.add(ino)
        self._count += 1
        return True

    def take(self) -> Iterator[tuple[int, bytes]]:
        """Remove all; returns them."""
        taken, self._directories, self._count, self.full = self._directories, {}, 0, trio.Event()
        return ((ino, name) for name, directories in taken.items() for ino in directories)
