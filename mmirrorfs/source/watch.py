"""How the changes in one source come to be known, if they are reported at all.

Inert until it is opened, which is done by the process that serves, before it looks at the source. No descriptor of the
source itself is held, so it can be unmounted.

``mark`` and ``hold`` may be called in any thread; ``open`` blocks; the rest belongs to the event loop.
"""

import os
from collections.abc import Container, Iterable
from contextlib import suppress

from mmirrorfs.source.beneath import DIRECTORY, open_beneath
from mmirrorfs.source.events import IGNORED, Event
from mmirrorfs.source.fanotify import FilesystemMarks
from mmirrorfs.source.inotify import Watches, free_watches
from mmirrorfs.source.marker import Marker, Met, Way


class Watch:
    """The watch of one source."""

    def __init__(self) -> None:
        self._marks: FilesystemMarks | None = None
        self._watches: Watches | None = None
        self._marker: Marker | None = None

    def open(self, root: bytes, share: int = 2) -> None:
        """Have changes reported from now on of what ``mark`` is called with. Blocking.

        One of ``share`` parts of the inotify watches that the user has left may be taken.
        The root is watched besides: inotify alone tells of its unmounting.
        """
        self.close()
        try:
            self._marks = FilesystemMarks()
        except OSError:
            self._marks = None
        try:
            self._watches, budget = Watches(), free_watches()[0] // share
        except OSError:
            self._watches, budget = None, 0
        self._marker = Marker(self.fanotify, self.inotify, budget)
        with suppress(OSError):
            fd = open_beneath(root, b"", DIRECTORY)
            try:
                self.hold(fd)
            finally:
                os.close(fd)

    def hold(self, root: int) -> None:
        """Have the unmounting of the open root told of: a watch goes with its mount, so whoever finds it there asks."""
        watches = self._watches
        if watches is not None:
            with suppress(OSError):
                watches.add(root)

    def close(self) -> None:
        """Nothing is reported any more."""
        marker, marks, watches = self._marker, self._marks, self._watches
        self._marker = self._marks = self._watches = None
        for one in (marker, marks, watches):
            if one is not None:
                one.close()

    def mark(self, fd: int) -> bytes:
        """Have changes in an open directory reported; the key that they come under, empty where they do not."""
        marker = self._marker
        return marker.mark(fd) if marker is not None else b""

    @property
    def fanotify(self) -> int | None:
        """The descriptor of the group, which another process may add to."""
        return self._marks.descriptor if self._marks is not None else None

    @property
    def inotify(self) -> int | None:
        """That of the instance."""
        return self._watches.descriptor if self._watches is not None else None

    @property
    def budget(self) -> int:
        """How many inotify watches may yet be made."""
        return self._marker.budget if self._marker is not None else 0

    @property
    def part(self) -> int:
        """How many of them a crawl may make. Next to none where there are too few: then it finds those that there are.

        (With none at all a directory that is watched could not be told from one that is not.)
        """
        is_short = any(way.short for way in self.ways)
        return min(1, self.budget) if is_short else self.budget // 2

    @property
    def descriptors(self) -> list[int]:
        """What becomes readable when there is something to be said."""
        return [fd for fd in (self.fanotify, self.inotify) if fd is not None]

    def events(self, wanted: Container[bytes], keys: set[bytes]) -> tuple[list[Event], bool]:
        """What was reported of directories that are wanted, and whether there is more; ``keys`` gets those of all.

        Raises OSError.
        """
        found: list[Event] = []
        more = False
        for one in (self._marks, self._watches):
            if one is not None:
                found += one.events(wanted, keys)
                more = more or one.more
        if self._marker is not None:
            self._marker.allow(sum(1 for event in found if event.mask & IGNORED))
        return found, more

    def learn(self, met: Iterable[Met], made: int) -> None:
        """What a crawl has met, and how many watches it made since it last said so."""
        if self._marker is not None:
            self._marker.learn(met)
            self._marker.allow(-made)

    @property
    def ways(self) -> list[Way]:
        """How the filesystems in the source are watched, those that were met so far."""
        return list(self._marker.ways.values()) if self._marker is not None else []
