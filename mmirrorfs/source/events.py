"""Events of the kernel about changes in directories, in one form for fanotify(7) and inotify(7).

An event is a hint that a name has to be fetched again, never a fact. Its mask has everything that happened to the name
since the last read; CREATE and DELETE in one mask have no order. Both interfaces use these values.

Any thread may call it. Raises OSError.
"""

import os
from typing import Final, NamedTuple

MODIFY: Final = 0x2
"""A file was written to or truncated. Writes through mmap(2) cause CLOSE_WRITE alone."""
ATTRIB: Final = 0x4
"""Mode, owner, times, link count or extended attributes."""
CLOSE_WRITE: Final = 0x8
"""A file that was open for writing was closed, whether anything was written or not."""
MOVED_FROM: Final = 0x40
MOVED_TO: Final = 0x80
CREATE: Final = 0x100
DELETE: Final = 0x200
DELETE_SELF: Final = 0x400
"""The directory itself was removed; the event has no name."""
MOVE_SELF: Final = 0x800
"""The directory itself was renamed; the event has no name. Its key stays."""
UNMOUNT: Final = 0x2000
"""The filesystem of the directory was unmounted. Never from fanotify."""
OVERFLOW: Final = 0x4000
"""Events were lost, of any directories. Without key and name; returned whether or not wanted."""
IGNORED: Final = 0x8000
"""The key is invalid from now on: the directory was removed or unmounted. Never from fanotify."""
ONDIR: Final = 0x40000000
"""The event is about a directory."""

CHANGES: Final = MODIFY | ATTRIB | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE | DELETE_SELF | MOVE_SELF
"""The events that are requested."""


PIECE: Final = 1 << 16
MOST: Final = 1 << 17
"""Bytes read by one system call, and by one call of ``pending``."""


class Event(NamedTuple):
    """About ``name`` in the directory with that ``key``; about the directory itself if ``name`` is empty."""

    mask: int
    key: bytes
    name: bytes


def pending(descriptor: int) -> tuple[list[bytes], bool]:
    """Read up to MOST bytes without blocking; returns them, and whether there may be more."""
    found: list[bytes] = []
    left = MOST
    while left > 0:
        try:
            found.append(os.read(descriptor, PIECE))
        except BlockingIOError:
            return found, False
        left -= len(found[-1])
    return found, True
