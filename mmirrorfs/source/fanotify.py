"""One fanotify(7) group: events of whole filesystems, as directory and name (Linux 5.9, CAP_SYS_ADMIN).

Rule 1: no file is opened for an event, and no handle is resolved: keys are compared with those of ``handles``.
Rule 2: ``events`` never blocks, and reads MOST bytes at most (some 1,300 events, 3 ms).
Rule 3: the queue is bounded (fs.fanotify.max_queued_events, 16384): a stopped reader costs a few MB, and then gets one
OVERFLOW in place of all lost events.
Rule 4: a process that inherited ``descriptor`` marks for the same group; reading an event removes it for all.

A mark is on the superblock. It reports changes through all its mounts, including bind mounts, other mount namespaces
and lazily unmounted ones, and through an overlayfs with that upper layer (plus names internal to overlayfs, "#1f"). It
does not prevent unmounting. It vanishes with the superblock, without an event; the same disk mounted again has the same
keys and no mark. Marking is idempotent.

Events (Linux 6.18; on ext4, xfs, btrfs and its subvolumes, tmpfs; the tests have a table):
- A change in a directory has the key of the directory and the name, with ONDIR for directories.
- ATTRIB, MOVE_SELF and DELETE_SELF of a directory, the root too, have its own key and no name (the kernel's "."); there
  is none with its name in its parent. DELETE_SELF comes when its last descriptor is closed, before or after DELETE.
- A renamed directory keeps its key; there are no events for what is below it.
- A file with hard links: only for the name that was used.
- Writing through mmap(2): CLOSE_WRITE when descriptor and mapping are both closed, nothing before. Opening for writing
  and closing: CLOSE_WRITE alone.
- None for a file opened by handle while the kernel has no dentry of it: knfsd writes that way to files that nobody
  looked up lately. (FAN_REPORT_FID would report those, with the handle of the file alone.)
- Everything that one process did to one name since the last read, in any order, may be one event.

Reading 50 ms after the first event lets the kernel merge. With 50,000 writes a second elsewhere on the filesystem the
reader then uses 0.2 % of a core if they go to one file, 5.5 % if they go to 10,000, and 13 % if it reads at once; each
write takes 1.5 us longer, which is due to MODIFY.

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
"""After the last event: an overflow has no info record, and is shorter than what is unpacked."""

_libc = ctypes.CDLL(None, use_errno=True)
_fanotify_mark = _libc.fanotify_mark
_fanotify_mark.argtypes = (ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p)


class FilesystemMarks:
    """A new group, or that of ``descriptor``, which is non-blocking and close-on-exec.

    Raises OSError: EPERM for a plain user before Linux 5.13 (later, marking does), ENOSYS, EINVAL before 5.9, EMFILE.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self.descriptor = _group() if descriptor is None else descriptor
        self.more = False
        """Whether the last ``events`` stopped at MOST bytes; there may be more."""

    def close(self) -> None:
        """Close the descriptor; closing the last one of a group removes its marks."""
        os.close(self.descriptor)

    def mark(self, fd: int) -> None:
        """Mark the filesystem of an open directory.

        Raises OSError: EPERM for a plain user, EXDEV on a btrfs subvolume (a mark of its top volume covers them),
        EOPNOTSUPP and ENODEV without file handles (overlayfs without nfs_export=on), ENOSPC.
        """
        self._change(_FAN_MARK_ADD, fd)

    def unmark(self, fd: int) -> None:
        """Remove the mark. Raises OSError: ENOENT if there is none."""
        self._change(_FAN_MARK_REMOVE, fd)

    def events(self, wanted: Container[bytes], keys: set[bytes] | None = None) -> list[Event]:
        """The queued events of ``wanted`` directories in the kernel's order, and OVERFLOW. Never blocks.

        The keys of all events are added to ``keys``.
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
    """The loop over all events of the filesystem, wanted or not."""
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
