"""One fanotify(7) group: what happens in whole filesystems, as directory and name (Linux 5.9, CAP_SYS_ADMIN).

Rule 1: nothing is ever opened for an event, nor is a handle resolved: keys are compared with those of ``handles``.
Rule 2: nothing waits: ``events`` takes what is there, and no more than MOST bytes of it (some 1,300 events, 3 ms).
Rule 3: the queue is bounded (fs.fanotify.max_queued_events, 16384): a reader that is stopped costs a few MB, and then
gets one OVERFLOW in the place of all that was lost.
Rule 4: a process that inherited ``descriptor`` marks for the same group; who reads an event takes it away.

A mark is one of the superblock. So it reports what is done through every mount of it, bind mounts, other mount
namespaces and lazily unmounted ones included, and through an overlayfs whose upper layer it is (with names of
overlayfs's own, "#1f", beside). It holds no unmounting up. With the superblock it goes without a word: there is no
event, and the same disk mounted again has no mark, under the same keys. Marking twice is marking once.

What is reported (Linux 6.18; on ext4, xfs, btrfs and its subvolumes, tmpfs; the tests have a table):
- Everything in a directory under the directory's key with its name, ONDIR for directories.
- ATTRIB, MOVE_SELF and DELETE_SELF of a directory under its own key without a name (the kernel's "."), and nothing
  under its name in the directory that it lies in. The root's own are no exception. DELETE_SELF comes when its last
  descriptor is closed, and may come before the DELETE or after it.
- A renamed directory keeps its key; nothing is said of what lies below it.
- A file with hard links under the one name that was used; nothing under the others.
- Writing through mmap(2): CLOSE_WRITE when descriptor and mapping are both gone, nothing before. Opening for writing
  and closing: CLOSE_WRITE alone.
- Nothing of a file that was opened by its handle while the kernel knew no name of it: that is how knfsd writes to
  what nobody here has looked up lately. (It would be with FAN_REPORT_FID, under the file's own handle alone.)
- Everything that was done under one name by one process since the last read, in any order, may be one event.

Reading 50 ms after the first event lets the kernel merge: of 50,000 writes a second elsewhere on the filesystem the
reader then uses 0.2 % of a core where they go to one file, 5.5 % where they go round 10,000, and 13 % when it reads
at once; each write takes 1.5 us longer, which is MODIFY alone.

Any thread may mark; one reads. All raise OSError.
"""

import ctypes
import os
import struct
from collections.abc import Container
from typing import Final

from mmirrorfs.source.events import CHANGES, ONDIR, OVERFLOW, Event, pending

_FAN_CLASS_NOTIF: Final = 0x0
_FAN_CLOEXEC: Final = 0x1
_FAN_NONBLOCK: Final = 0x2
_FAN_REPORT_DIR_FID: Final = 0x400
_FAN_REPORT_NAME: Final = 0x800
_FAN_MARK_ADD: Final = 0x1
_FAN_MARK_REMOVE: Final = 0x2
_FAN_MARK_FILESYSTEM: Final = 0x100
_INIT: Final = _FAN_CLASS_NOTIF | _FAN_CLOEXEC | _FAN_NONBLOCK | _FAN_REPORT_DIR_FID | _FAN_REPORT_NAME

_HEAD: Final = struct.Struct("=I4xQ20xI")
"""event_len and mask of fanotify_event_metadata, and handle_bytes of the fanotify_event_info_fid behind it."""
_KEY: Final = 28
"""Where the fsid begins in an event."""
_HANDLE: Final = 44
"""Where the handle begins in an event."""
_PADDING: Final = bytes(_HEAD.size)
"""Behind the last event: an overflow has no info record, and is shorter than what is unpacked."""

_libc = ctypes.CDLL(None, use_errno=True)
_fanotify_mark = _libc.fanotify_mark
_fanotify_mark.argtypes = (ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p)


class FilesystemMarks:
    """A group of one's own, or that of ``descriptor``, which is non-blocking and close-on-exec.

    Raises OSError: EPERM for a plain user before Linux 5.13 (later, marking does), ENOSYS, EINVAL before 5.9, EMFILE.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self.descriptor = _group() if descriptor is None else descriptor
        self.more = False
        """Whether the last ``events`` stopped at MOST bytes, before it had all that was there."""

    def close(self) -> None:
        """Give it back; with the last descriptor of it all marks go."""
        os.close(self.descriptor)

    def mark(self, fd: int) -> None:
        """Mark the filesystem of an open directory.

        Raises OSError: EPERM for a plain user, EXDEV on a btrfs subvolume (its top volume marks all of them),
        EOPNOTSUPP and ENODEV where there are no file handles (overlayfs without nfs_export=on), ENOSPC.
        """
        self._change(_FAN_MARK_ADD, fd)

    def unmark(self, fd: int) -> None:
        """Take the mark away. Raises OSError: ENOENT where there is none."""
        self._change(_FAN_MARK_REMOVE, fd)

    def events(self, wanted: Container[bytes], keys: set[bytes] | None = None) -> list[Event]:
        """What is there now of the directories ``wanted``, in the kernel's order, and OVERFLOW; never waits.

        ``keys`` gets those of all that something was reported of.
        """
        found: list[Event] = []
        pieces, self.more = pending(self.descriptor)
        for data in pieces:
            _take(data, wanted, found, keys if keys is not None else set())
        return found

    def _change(self, how: int, fd: int) -> None:
        if _fanotify_mark(self.descriptor, how | _FAN_MARK_FILESYSTEM, CHANGES | ONDIR, fd, None) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _group() -> int:
    fd: int = _libc.fanotify_init(_INIT, os.O_RDONLY)
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return fd


def _take(data: bytes, wanted: Container[bytes], found: list[Event], keys: set[bytes]) -> None:
    """The loop that everything on the filesystem goes through, wanted or not."""
    at, end = 0, len(data)
    data += _PADDING
    head, note = _HEAD.unpack_from, keys.add
    while at < end:
        size, mask, handle = head(data, at)
        key = data[at + _KEY : at + _HANDLE + handle]
        note(key)
        if key in wanted:
            found.append(Event(mask, key, _name(data[at + _HANDLE + handle : at + size])))
        elif mask & OVERFLOW:
            found.append(Event(OVERFLOW, b"", b""))
        at += size


def _name(field: bytes) -> bytes:
    name = field.partition(b"\0")[0]
    return b"" if name == b"." else name
