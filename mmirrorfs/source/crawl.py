"""The crawl of one source: a process that lists every directory from the depth on, once, and sends each as it is.

Rule 1: it takes what nobody else wants: it has the idle scheduling class (sched(7)), and by that the idle I/O class
(ioprio_set(2): derived where none was set; seen on Linux 6.18). A hung disk hangs nothing but this process.
Rule 2: it never outlives the mount: it ends with its parent (PR_SET_PDEATHSIG), and when the socket is closed.
Rule 3: a failure proves nothing: of a directory that cannot be read nothing is sent, and nothing at all once the
root does not stand any more.
Rule 4: it ends, whatever happens in the source meanwhile: within a folder no directory is listed twice, by
(dev, ino), and the folders are counted before the first is crawled.

The order is that of inode numbers, folder by folder, each whole before the next. Symbolic links count as the reader
has them. Frames go over a stream socket: HEADER, a path relative to the root, and a packed ``Listing``; or CONTROL in
place of a path's length, and JSON (``Word``). ``python -m mmirrorfs.source.crawl DESCRIPTOR`` gets its ``Plan`` over
the same socket. Its start is part of the cost of each mount: no trio, click or pyfuse3 in here.
"""

import _thread
import contextlib
import ctypes
import gc
import json
import os
import signal
import struct
import sys
import time
from typing import NamedTuple, TypedDict

from mmirrorfs.listing import Listing
from mmirrorfs.source.exclude import excluded_by
from mmirrorfs.source.filesystems import LOCAL, VIEW_TYPE, mounts
from mmirrorfs.source.links import mount_id
from mmirrorfs.source.look import look
from mmirrorfs.source.marker import How, Marker
from mmirrorfs.source.reader import Reader

HEADER = struct.Struct("<dIII")
"""When the directory was listed, in seconds of CLOCK_MONOTONIC; bytes of its path, of its key, and of what follows."""
CONTROL = 0xFFFFFFFF
LENGTH = struct.Struct("<I")
BATCH = 1 << 16
"""Bytes that are sent at once: a system call for each directory would wake the other side as often."""
INTERVAL = 0.5
"""Seconds after which what was found is sent, with how far the crawl is."""

_PR_SET_PDEATHSIG = 1

Identity = tuple[int, int]


class Plan(NamedTuple):
    """What a crawl needs to know. ``root`` is absolute and free of links, ``excludes`` are shell patterns.

    ``everywhere`` takes directories on network and FUSE filesystems too. ``identity`` is the (dev, ino) of the root;
    where it is None, whatever is there when the crawl begins is the root. ``fanotify`` and ``inotify`` are descriptors
    that the child inherits, to mark what it lists with (``source.marker``), and ``budget`` is its part of the watches.
    """

    root: bytes
    depth: int
    excludes: tuple[str, ...] = ()
    follow: bool = False
    everywhere: bool = False
    identity: Identity | None = None
    fanotify: int | None = None
    inotify: int | None = None
    budget: int = 0

    @property
    def inherited(self) -> tuple[int, ...]:
        """The descriptors."""
        return tuple(fd for fd in (self.fanotify, self.inotify) if fd is not None)

    def encoded(self) -> bytes:
        """As it goes over the socket."""
        text = json.dumps([os.fsdecode(self.root), *self[1:]]).encode()
        return LENGTH.pack(len(text)) + text


class Word(TypedDict, total=False):
    """A control frame: how far it is (folders that are done, of how many); in the last one how it ``ended``, and why.

    ``ways`` are the filesystems that it met, as st_dev and what the parts of a ``Way`` are that can be shown, and
    ``made`` is how many inotify watches it made.

    Ends are "done", "lost" (the root does not stand any more), and "failed" (an error of ours).
    """

    folders: int
    of: int
    ways: list[tuple[int, How, str, bool, int]]
    made: int
    ended: str
    why: str


class Lost(Exception):
    """The root is gone, or another directory is in its place."""


class _Inner(NamedTuple):
    """A directory to be crawled, as the one that it lies in has it. Sorted as they lie on the disk."""

    dev: int
    ino: int
    path: bytes


class Sender:
    """The child's end of the socket. Blocks while the other side does not read; raises BrokenPipeError when it left."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._waiting: list[bytes] = []
        self._size = 0

    def directory(self, path: bytes, listing: Listing) -> None:
        """Send one directory, with others."""
        key = listing.key
        self._add(HEADER.pack(listing.taken, len(path), len(key), len(listing.blob)), path, key, listing.blob)

    def control(self, word: Word) -> None:
        """Send a word, and all that was to be sent before."""
        text = json.dumps(word).encode()
        self._add(HEADER.pack(0, CONTROL, 0, len(text)), text)
        self._flush()

    def _add(self, *parts: bytes) -> None:
        self._waiting += parts
        self._size += sum(map(len, parts))
        if self._size >= BATCH:
            self._flush()

    def _flush(self) -> None:
        left = memoryview(b"".join(self._waiting))
        self._waiting, self._size = [], 0
        while left:
            left = left[os.write(self._fd, left) :]


class Walk:
    """One pass through a source."""

    def __init__(self, plan: Plan, sender: Sender) -> None:
        self._plan = plan
        self._sender = sender
        self._marker = Marker(plan.fanotify, plan.inotify, plan.budget) if plan.inherited else None
        mark = self._marker.mark if self._marker is not None else _unmarked
        self._reader = Reader(plan.root, excluded_by(plan.excludes), plan.follow, mark=mark)
        self._identity = plan.identity
        self._folders = self._of = 0
        self._told = 0.0

    def run(self) -> None:
        """Crawl all of it. Raises Lost."""
        if self._identity is None:
            self._identity = self._root()
        folders = self._at_depth()
        self._of = len(folders)
        for folder in folders:
            self._crawl(folder)
            self._folders += 1
        self._check_root()

    def word(self) -> Word:
        """How far it is."""
        word = Word(folders=self._folders, of=self._of)
        if self._marker is not None:
            ways = self._marker.ways.items()
            word["ways"] = [(device, way.how, way.why, way.short, way.mount) for device, way in ways]
            word["made"] = self._marker.made
        return word

    def _at_depth(self) -> list[_Inner]:
        level = [_Inner(0, 0, b"")] if self._crosses(b"") else []
        for _ in range(self._plan.depth):
            level = sorted(inner for path in level for inner in self._inside(path, self._listed(path)))
        return level

    def _crawl(self, folder: _Inner) -> None:
        """A folder and all that lies in it."""
        seen: set[Identity] = set()
        stack = [folder]
        while stack:
            directory = stack.pop()
            if directory.dev and directory[:2] in seen:
                continue
            seen.add(directory[:2])
            listing = self._listed(directory)
            if listing is not None:
                self._sender.directory(directory.path, listing)
                stack += reversed(self._inside(directory, listing))

    def _listed(self, directory: _Inner) -> Listing | None:
        """What is in a directory now; None where that cannot be had. Raises Lost."""
        try:
            listing = look(self._reader, directory.path)
        except OSError:
            listing = None
        self._check_root()
        if time.monotonic() > self._told + INTERVAL:
            self._told = time.monotonic()
            self._sender.control(self.word())
        return listing

    def _inside(self, directory: _Inner, listing: Listing | None) -> list[_Inner]:
        """The directories in a directory that are to be crawled, as they lie on the disk."""
        found = listing.directories() if listing is not None else []
        if listing is None or not found:
            return []
        prefix, device = directory.path + b"/" if directory.path else b"", listing.stamp[0]
        inner = [_Inner(attr.dev, attr.ino, prefix + name) for name, attr in found]
        return sorted(one for one in inner if one.dev == device or self._crosses(one.path))

    def _crosses(self, path: bytes) -> bool:
        """Whether a directory on another filesystem than the one it lies in is crawled. A view never is."""
        try:
            fd = self._reader.open_directory(path)
        except OSError:
            return False
        try:
            number = mount_id(fd)
        finally:
            os.close(fd)
        kind = next((mount.type for mount in mounts() if mount.id == number), b"")
        return kind != VIEW_TYPE and (self._plan.everywhere or kind in LOCAL)

    def _check_root(self) -> None:
        if self._root() != self._identity:
            raise Lost

    def _root(self) -> Identity:
        try:
            st = os.stat(self._plan.root, follow_symlinks=False)
        except OSError:
            raise Lost from None
        return st.st_dev, st.st_ino


def received(fd: int) -> Plan:
    """The plan that the other side sends first."""
    with open(fd, "rb", closefd=False, buffering=0) as file:
        size = LENGTH.unpack(_exactly(file.fileno(), LENGTH.size))[0]
        root, depth, excludes, follow, everywhere, identity, *watch = json.loads(_exactly(file.fileno(), size))
    known = (identity[0], identity[1]) if identity else None
    return Plan(os.fsencode(root), depth, tuple(excludes), follow, everywhere, known, *watch)


def _unmarked(fd: int) -> bytes:
    """Of a directory whose changes are not reported."""
    return b""


def _exactly(fd: int, size: int) -> bytes:
    found = b""
    while len(found) < size:
        piece = os.read(fd, size - len(found))
        if not piece:
            raise EOFError
        found += piece
    return found


def step_aside() -> None:
    """Have the idle class, where that is allowed."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _end_with(fd: int) -> None:
    """In a thread: end the process when the other side closes the socket, whatever it is doing."""
    with contextlib.suppress(OSError):
        os.read(fd, 1)
    os._exit(0)


def main(fd: int) -> None:
    """Crawl, and say how it ended."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    step_aside()
    gc.disable()  # nothing here makes circles
    plan = received(fd)
    _thread.start_new_thread(_end_with, (fd,))
    sender = Sender(fd)
    walk = Walk(plan, sender)
    word = Word(ended="done")
    try:
        walk.run()
    except Lost:
        word = Word(ended="lost")
    except (BrokenPipeError, ConnectionResetError):
        return
    except Exception as error:
        word = Word(ended="failed", why=repr(error))
    with contextlib.suppress(OSError):
        sender.control({**walk.word(), **word})


if __name__ == "__main__":
    main(int(sys.argv[1]))
