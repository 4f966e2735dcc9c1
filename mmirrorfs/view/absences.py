"""The names that the kernel may cache as absent until it is told otherwise, so that it can be told.

Event loop's thread only. Pure.
"""

from collections.abc import Iterator

import trio

LIMIT = 16 << 20
"""Bytes: 100,000 different names, or 400,000 directories without the same few."""
NAME, DIRECTORY = 120, 40
"""Bytes of memory for a name beside the name itself, and for each directory without it but the first."""


class Absences:
    """The absent names of one view, with the inode numbers of their directories.

    They stay until they are taken, also if the kernel drops them or they appear: it does no harm to tell it again.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._directories: dict[bytes, int | set[int]] = {}
        self._size = 0
        self.full = trio.Event()
        """Set when a name was refused. ``take`` makes a new one."""

    def add(self, ino: int, name: bytes) -> bool:
        """Add a name that is absent in the directory ``ino``; returns False if there is no room for it."""
        found = self._directories.get(name)
        if found == ino or (isinstance(found, set) and ino in found):
            return True
        size = DIRECTORY if found is not None else NAME + len(name)
        if self._size + size > self._limit:
            self.full.set()
            return False
        self._size += size
        if isinstance(found, set):
            found.add(ino)
        else:
            self._directories[name] = ino if found is None else {found, ino}
        return True

    def take(self) -> Iterator[tuple[int, bytes]]:
        """Remove all; returns them."""
        taken, self._directories, self._size, self.full = self._directories, {}, 0, trio.Event()
        for name, found in taken.items():
            for ino in found if isinstance(found, set) else (found,):
                yield ino, name
