"""What the kernel says of a change in a directory, whether by fanotify(7) or inotify(7): the same words for both.

An event is a hint, never a fact: "look at this name again". It says what has happened at least once since it was last
read; CREATE and DELETE in one mask have no order. The values are those of both kernel interfaces, which number alike.
"""

import os
from typing import Final, NamedTuple

MODIFY: Final = 0x2
"""A file was written to or truncated. Not by a writer through mmap(2): that is told by CLOSE_WRITE alone."""
ATTRIB: Final = 0x4
"""Mode, owner, times, link count or extended attributes."""
CLOSE_WRITE: Final = 0x8
"""A file that was open for writing was closed, whether anything was written or not."""
MOVED_FROM: Final = 0x40
MOVED_TO: Final = 0x80
CREATE: Final = 0x100
DELETE: Final = 0x200
DELETE_SELF: Final = 0x400
"""The directory itself, which has no name in the event, was removed."""
MOVE_SELF: Final = 0x800
"""The directory itself, which has no name in the event, has got another name or parent. Its key stays."""
UNMOUNT: Final = 0x2000
"""The filesystem that the directory is on is gone. fanotify never says so."""
OVERFLOW: Final = 0x4000
"""Events were lost, of whatever directories. Without key and name, and returned whatever is wanted."""
IGNORED: Final = 0x8000
"""The key stands for nothing from now on: the directory was removed or unmounted. fanotify never says so."""
ONDIR: Final = 0x40000000
"""What the event is about is a directory."""

CHANGES: Final = MODIFY | ATTRIB | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE | DELETE_SELF | MOVE_SELF
"""All that is asked for, of files and directories alike."""


PIECE: Final = 1 << 16
MOST: Final = 1 << 17
"""Bytes that are read at once, and by one call of ``pending``."""


class Event(NamedTuple):
    """``name`` in the directory that ``key`` stands for; the directory itself where ``name`` is empty."""

    mask: int
    key: bytes
    name: bytes


def pending(descriptor: int) -> tuple[list[bytes], bool]:
    """What there is to be read now, up to MOST bytes, and whether there may be more than that. Never waits."""
    found: list[bytes] = []
    left = MOST
    while left > 0:
        try:
            found.append(os.read(descriptor, PIECE))
        except BlockingIOError:
            return found, False
        left -= len(found[-1])
    return found, True
