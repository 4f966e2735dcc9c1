"""One inotify(7) instance: what happens in each of the directories that are added to it, as directory and name.

For whom fanotify is not to be had: a plain user, a filesystem without file handles. A watch costs about 1 KiB of the
kernel's memory, holds no unmounting up, and counts towards fs.inotify.max_user_watches of its user.
Rule 1: a key is what the kernel calls the watch. A directory that is added again has the key that it had; one that
was removed gives IGNORED, and its key never comes again.
Rule 2: nothing waits: ``events`` takes what is there, and no more than MOST bytes of it.
Rule 3: a process that inherited ``descriptor`` adds to the same instance, and the key that it gets is the one that
the events have, whoever reads them (seen on Linux 6.18). One process reads: who reads an event takes it away.

What is reported (on ext4, xfs, btrfs, tmpfs and overlayfs alike; the tests have a table) is what ``fanotify`` reports,
but for this: a change of a directory's own attributes comes twice, under its name in the directory that it lies in
and without a name as its own; a file that is deleted while it is open gives nothing more (IN_EXCL_UNLINK); UNMOUNT
and IGNORED tell of the end of a watch. The queue holds fs.inotify.max_queued_events; then it gives OVERFLOW, once,
and takes no more until it is read. Only the last event is compared before one is queued: a flood is hardly merged.

Any thread may add and remove; one reads. All raise OSError. ONDIR may be missing where there is no name.
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
"""Of a key: no handle begins so, nor is so short."""
_WD: Final = struct.Struct("=i")

_libc = ctypes.CDLL(None, use_errno=True)


class Watches:
    """An instance of one's own, or that of ``descriptor``, which is non-blocking and close-on-exec.

    With a descriptor the watches that are there already are read through first: 0.2 s for 50,000. Raises OSError:
    EMFILE at fs.inotify.max_user_instances.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self.descriptor = _instance() if descriptor is None else descriptor
        self.made = 0
        """Watches that were made through this object. Where others add to the same instance, rather too many."""
        self._lock = threading.Lock()
        self._newest = 0 if descriptor is None else _newest(descriptor)
        self.more = False
        """Whether the last ``events`` stopped at MOST bytes, before it had all that was there."""

    def close(self) -> None:
        """Give it back; with the last descriptor of it all watches go."""
        os.close(self.descriptor)

    def add(self, fd: int) -> bytes:
        """Watch an open directory, and return its key.

        Raises OSError: ENOSPC at the limit of watches, EACCES for a directory that may not be read, ENOTDIR.
        """
        path = b"/proc/self/fd/%d" % fd
        wd = _checked(_libc.inotify_add_watch(self.descriptor, path, _MASK), path)
        with self._lock:
            if wd > self._newest:  # numbers are given out in order, and again only after 2^31 of them
                self._newest = wd
                self.made += 1
        return _PREFIX + _WD.pack(wd)

    def remove(self, key: bytes) -> None:
        """End the watch of that key; IGNORED follows. Raises OSError: EINVAL where there is none any more."""
        _checked(_libc.inotify_rm_watch(self.descriptor, *_WD.unpack(key[len(_PREFIX) :])), key)

    def events(self, wanted: Container[bytes], keys: set[bytes] | None = None) -> list[Event]:
        """What is there now of the directories ``wanted``, in the kernel's order; never waits.

        OVERFLOW, UNMOUNT and IGNORED come whether they are wanted or not. ``keys`` gets those of all.
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
    """The highest number of a watch that an instance has."""
    return max((int(line.split()[1][3:], 16) for line in _watches_in(f"/proc/self/fdinfo/{descriptor}")), default=0)


def _checked(found: int, about: bytes) -> int:
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), about)
    return found


def limit() -> int:
    """How many watches each user may have (fs.inotify.max_user_watches); 0 where there is no inotify."""
    try:
        with open("/proc/sys/fs/inotify/max_user_watches") as file:
            return int(file.read())
    except FileNotFoundError:
        return 0


def free_watches() -> tuple[int, int]:
    """How many watches this user may have yet, and has in all.

    Reads of every process of the user what it watches: 0.2 s for 50,000 watches, so in a thread. An instance that
    several processes share counts for each of them; one of another user namespace is not seen.
    """
    own, most = os.geteuid(), limit()
    used = 0
    for process in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # it has ended, or may not be looked into
            if os.stat(f"/proc/{process}").st_uid == own:
                used += sum(1 for path in _instances_of(process) for _ in _watches_in(path))
    return max(0, most - used), most


def _instances_of(process: str) -> Iterator[str]:
    for number in os.listdir(f"/proc/{process}/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{process}/fd/{number}") == "anon_inode:inotify":
                yield f"/proc/{process}/fdinfo/{number}"


def _watches_in(path: str) -> Iterator[bytes]:
    """A line of each watch (proc(5)): "inotify wd:1f ino:..."."""
    with open(path, "rb") as file:
        yield from (line for line in file if line.startswith(b"inotify wd:"))
