"""The watch of one source: a fanotify group and an inotify instance, and the events from both.

Inert until the serving process opens it, before it lists the source. No descriptor inside the source is kept, so it
can be unmounted.

``mark`` and ``hold`` in any thread; ``open`` blocks; all else on the event loop.
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
        """Start: directories passed to ``mark`` cause events from now on. Blocking.

        The budget is one of ``share`` parts of the inotify watches that the user has left. The root gets a watch in any
        case: inotify alone reports its unmounting.
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
        """Watch the open root for its unmounting. That ends with each mount, so call it whenever the root is valid."""
        watches = self._watches
        if watches is not None:
            with suppress(OSError):
                watches.add(root)

    def close(self) -> None:
        """Stop all events."""
        marker, marks, watches = self._marker, self._marks, self._watches
        self._marker = self._marks = self._watches = None
        for one in (marker, marks, watches):
            if one is not None:
                one.close()

    def mark(self, fd: int) -> bytes:
        """Watch an open directory; returns the key of its events, b"" if it is polled."""
        marker = self._marker
        return marker.mark(fd) if marker is not None else b""

    @property
    def fanotify(self) -> int | None:
        """The descriptor of the fanotify group, which another process may inherit."""
        return self._marks.descriptor if self._marks is not None else None

    @property
    def inotify(self) -> int | None:
        """The descriptor of the inotify instance."""
        return self._watches.descriptor if self._watches is not None else None

    @property
    def budget(self) -> int:
        """Inotify watches that may still be added."""
        return self._marker.budget if self._marker is not None else 0

    @property
    def part(self) -> int:
        """The part of it for a crawl: half, or one watch if there are too few.

        With none at all it could not tell watched directories from others.
        """
        is_short = any(way.short for way in self.ways)
        return min(1, self.budget) if is_short else self.budget // 2

    @property
    def descriptors(self) -> list[int]:
        """The descriptors that become readable with an event."""
        return [fd for fd in (self.fanotify, self.inotify) if fd is not None]

    def events(self, wanted: Container[bytes], keys: set[bytes]) -> tuple[list[Event], bool]:
        """The queued events of ``wanted`` directories, and whether there are more. Raises OSError.

        The keys of all events are added to ``keys``.
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
        """Adopt a report of a crawl: its filesystems, and the watches added since its last report."""
        if self._marker is not None:
            self._marker.learn(met)
            self._marker.allow(-made)

    @property
    def ways(self) -> list[Way]:
        """How the filesystems in the source are watched, as far as they were seen."""
        return list(self._marker.ways.values()) if self._marker is not None else []
