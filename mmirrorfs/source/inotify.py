"""One inotify(7) instance: events of single directories, as directory and name.

For use without fanotify: a plain user, a filesystem without file handles. A watch costs about 1 KiB of kernel memory,
does not prevent unmounting, and counts towards fs.inotify.max_user_watches of its user.
Rule 1: a key is the watch descriptor. Adding a directory again returns the same key. Removal of a directory causes
IGNORED, and its key is not reused.
Rule 2: ``events`` never blocks, and reads MOST bytes at most.
Rule 3: a process that inherited ``descriptor`` adds to the same instance and gets the same keys that the events have
(seen on Linux 6.18). One process reads: reading an event removes it for all.

Events (on ext4, xfs, btrfs, tmpfs and overlayfs alike; the tests have a table) are those of ``fanotify``, except: a
change of a directory's own attributes causes two, with its name under its parent, and without a name under itself; a
file deleted while open causes no more (IN_EXCL_UNLINK); UNMOUNT and IGNORED mark the end of a watch. The queue holds
fs.inotify.max_queued_events, then one OVERFLOW, and no more until it is read. An event is merged with the last one at
most, so a flood is hardly merged. ONDIR may be missing if there is no name.

Any thread may add and remove; one reads. All raise OSError.
"""

import contextlib
import ctypes
import os
import struct
import threading
from collections.abc import Container, Iterator
from typing import Final

from mmirrorfs.source.events import CHANGES, IGNORED, OVERFLOW, UNMOUNT, Event, pending

_IN_ONLYDIR: Final = 0x01000000
_IN_EXCL_UNLINK: Final = 0x04000000
_MASK: Final = CHANGES | _IN_ONLYDIR | _IN_EXCL_UNLINK
_ALWAYS: Final = OVERFLOW | UNMOUNT | IGNORED

_HEAD: Final = struct.Struct("=iIII")
"""wd, mask, cookie and len of inotify_event."""
_NAME: Final = _HEAD.size
_PREFIX: Final = b"i"
"""Of keys: no handle begins with it and is as short."""
_WD: Final = struct.Struct("=i")

_libc = ctypes.CDLL(None, use_errno=True)


class Watches:
    """A new instance, or that of ``descriptor``, which is non-blocking and close-on-exec.

    For a descriptor the existing watches are counted first: 0.2 s for 50,000. Raises OSError: EMFILE at
    fs.inotify.max_user_instances.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self.descriptor = _instance() if descriptor is None else descriptor
        self.made = 0
        """Watches added through this object; too many if others add to the same instance."""
        self._lock = threading.Lock()
        self._newest = 0 if descriptor is None else _newest(descriptor)
        self.more = False
        """Whether the last ``events`` stopped at MOST bytes; there may be more."""

    def close(self) -> None:
        """Close the descriptor; closing the last one of an instance removes its watches."""
        os.close(self.descriptor)

    def add(self, fd: int) -> bytes:
        """Watch an open directory, and return its key.

        Raises OSError: ENOSPC at the limit of watches, EACCES for a directory that may not be read, ENOTDIR.
        """
        path = b"/proc/self/fd/%d" % fd
        wd = _checked(_libc.inotify_add_watch(self.descriptor, path, _MASK), path)
        with self._lock:
            if wd > self._newest:  # numbers ascend, and are reused only after 2^31 of them
                self._newest = wd
                self.made += 1
        return _PREFIX + _WD.pack(wd)

    def remove(self, key: bytes) -> None:
        """Remove the watch of that key; IGNORED follows. Raises OSError: EINVAL if there is none any more."""
        _checked(_libc.inotify_rm_watch(self.descriptor, *_WD.unpack(key[len(_PREFIX) :])), key)

    def events(self, wanted: Container[bytes], keys: set[bytes] | None = None) -> list[Event]:
        """The queued events of ``wanted`` directories in the kernel's order. Never blocks.

        OVERFLOW, UNMOUNT and IGNORED are always returned. The keys of all events are added to ``keys``.
        """
        found: list[Event] = []
        pieces, self.more = pending(self.descriptor)
        for data in pieces:
            _take(data, wanted, found, keys if keys is not None else set())
        return found


def _take(data: bytes, wanted: Container[bytes], found: list[Event], keys: set[bytes]) -> None:
    at, end = 0, len(data)
    while at < end:
        wd, mask, _, size = _HEAD.unpack_from(data, at)
        start, at = at, at + _NAME + size
        key = _PREFIX + data[start : start + _WD.size] if wd >= 0 else b""
        keys.add(key)
        if key in wanted or mask & _ALWAYS:
            found.append(Event(mask, key, data[start + _NAME : at].rstrip(b"\0")))


def _instance() -> int:
    return _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), b"")


def _newest(descriptor: int) -> int:
    """The highest watch descriptor of an instance."""
    return max((int(line.split()[1][3:], 16) for line in _watches_in(f"/proc/self/fdinfo/{descriptor}")), default=0)


def _checked(found: int, about: bytes) -> int:
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), about)
    return found


def limit() -> int:
    """Watches that each user may have (fs.inotify.max_user_watches); 0 without inotify."""
    try:
        with open("/proc/sys/fs/inotify/max_user_watches") as file:
            return int(file.read())
    except FileNotFoundError:
        return 0


def free_watches() -> tuple[int, int]:
    """Watches that this user may still add, and the limit.

    Reads the watches of all processes of the user: 0.2 s for 50,000, so in a thread. An instance shared by several
    processes counts for each of them; those in other user namespaces are not seen.
    """
    own, most = os.geteuid(), limit()
    used = 0
    for process in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # it has ended, or may not be read
            if os.stat(f"/proc/{process}").st_uid == own:
                used += sum(1 for path in _instances_of(process) for _ in _watches_in(path))
    return max(0, most - used), most


def _instances_of(process: str) -> Iterator[str]:
    for number in os.listdir(f"/proc/{process}/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{process}/fd/{number}") == "anon_inode:inotify":
                yield f"/proc/{process}/fdinfo/{number}"


def _watches_in(path: str) -> Iterator[bytes]:
    """One line a watch (proc(5)): "inotify wd:1f ino:..."."""
    with open(path, "rb") as file:
        yield from (line for line in file if line.startswith(b"inotify wd:"))
