"""The crawl of one source: a process that lists every directory from the depth on, once, and sends each as it is.

Rule 1: it takes what nobody else wants: it has the idle scheduling class (sched(7)), and by that the idle I/O class
(ioprio_set(2): derived where none was set; seen on Linux 6.18). A hung disk hangs nothing but this process.
Rule 2: it never outlives the mount: it ends with its parent (PR_SET_PDEATHSIG), and when the socket is closed.
Rule 3: a failure proves nothing: of a directory that cannot be read nothing is sent, and nothing at all once the
root does not stand any more.
Rule 4: what takes time and is nearly always "none", the access lists (acl(5)), comes after all listings, in a second
pass that nobody waits for.
Rule 5: it ends, whatever happens in the source meanwhile: within a folder no directory is listed twice, by
(dev, ino), and the folders are counted before the first is crawled.

The order is that of inode numbers, folder by folder, each whole before the next. Symbolic links count as the reader
has them. Frames go over a stream socket: HEADER, a path relative to the root, and a packed ``Listing``; or LISTS added
to a path's length, and a ``Read`` as it is encoded; or CONTROL in place of a path's length, and JSON (``Word``).
``python -m mmirrorfs.source.crawl DESCRIPTOR`` gets its ``Plan`` over the same socket. Its start is part of the cost of
each mount: no trio, click or pyfuse3 in here.
"""

import _thread
import contextlib
import gc
import json
import os
import struct
import sys
import time
from typing import NamedTuple, TypedDict

from mmirrorfs.attributes import DIR, FILE
from mmirrorfs.listing import AccessLists, Listing
from mmirrorfs.source.capabilities import Capability, confine
from mmirrorfs.source.exclude import excluded_by
from mmirrorfs.source.filesystems import LOCAL, VIEW_TYPE, mounts
from mmirrorfs.source.links import mount_id
from mmirrorfs.source.lists import NONE, OWN, Asker, Read
from mmirrorfs.source.look import look
from mmirrorfs.source.marker import Marker, Report, Unmarked
from mmirrorfs.source.reader import Reader
from mmirrorfs.source.settle import settle

HEADER = struct.Struct("<dIII")
"""When the directory was listed, in seconds of CLOCK_MONOTONIC; bytes of its path, of its key, and of what follows."""
CONTROL = 0xFFFFFFFF
LISTS = 0x80000000
"""Added to the bytes of a path: access lists follow."""
LENGTH = struct.Struct("<I")
BATCH = 1 << 16
"""Bytes that are sent at once: a system call for each directory would wake the other side as often."""
INTERVAL = 0.5
"""Seconds after which what was found is sent, with how far the crawl is."""


Identity = tuple[int, int]


class Plan(NamedTuple):
    """What a crawl needs to know. ``root`` is absolute and free of links, ``excludes`` are shell patterns.

    ``everywhere`` takes directories on network and FUSE filesystems too. ``identity`` is the (dev, ino) of the root;
    where it is None, whatever is there when the crawl begins is the root. ``fanotify`` and ``inotify`` are descriptors
    that the child inherits, to mark what it lists with (``source.marker``), and ``budget`` is its part of the watches.
    It keeps the ``capabilities``, and no other.
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
    capabilities: tuple[Capability, ...] = ()

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

    ``watch`` is what its marker reports. Ends are "done" (and once more, when all access lists were sent), "lost" (the
    root does not stand any more), and "failed" (an error of ours).
    """

    folders: int
    of: int
    watch: Report
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
        self._add(HEADER.pack(listing.fetched_at, len(path), len(key), len(listing.blob)), path, key, listing.blob)

    def lists(self, read: Read) -> None:
        """Send the access lists in a directory, with others."""
        text = read.encoded()
        self._add(HEADER.pack(read.when, len(read.path) + LISTS, 0, len(text)), read.path, text)

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
        self._reader = Reader(plan.root, excluded_by(plan.excludes), plan.follow)
        self._marker = Marker(plan.fanotify, plan.inotify, plan.budget) if plan.inherited else Unmarked()
        self._reader.mark = self._marker.mark
        self._identity = plan.identity
        self._folders = self._of = self._above = 0
        self._told = 0.0
        self._paths: list[bytes] = []

    def run(self) -> None:
        """Crawl all of it, but for access lists. Raises Lost."""
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
        return Word(folders=self._folders, of=self._of, watch=self._marker.report)

    def _at_depth(self) -> list[_Inner]:
        level = [_Inner(0, 0, b"")] if self._crosses(b"") else []
        for _ in range(self._plan.depth):
            self._paths += [inner.path for inner in level]
            level = sorted(inner for path in level for inner in self._inside(path, self._listed(path)))
        self._above = len(self._paths)
        return level

    def run_again(self) -> None:
        """Send the access lists in all directories that the first pass found. Raises Lost."""
        for number, path in enumerate(self._paths):
            read = None
            with contextlib.suppress(OSError):
                read = self._lists(path, number < self._above)
            self._check_root()
            if read is not None:
                with contextlib.suppress(struct.error):  # times that do not fit: they are asked for, then
                    self._sender.lists(read)

    def _lists(self, path: bytes, above: bool) -> Read:
        """The access lists in one directory, with its own if it is one ``above`` the depth."""
        now = time.monotonic()
        fd = self._reader.open_directory(path)
        try:
            st, lists = os.fstat(fd), dict[bytes, AccessLists | None]()
            ask = Asker(self._reader, path, fd, None if self._plan.everywhere else st.st_dev, where="")
            os.fchdir(fd)  # the shortest way to each
            with os.scandir(fd) as entries:
                for entry in entries:
                    found = self._list(ask, entry, st.st_dev)
                    if found is None or found:
                        lists[os.fsencode(entry.name)] = found
            if above:
                lists[OWN] = ask(OWN, DIR, st.st_dev)
            return Read(path, now, (st.st_dev, st.st_ino, st.st_mtime_ns, st.st_ctime_ns), lists)
        finally:
            os.chdir("/")  # it may be unmounted
            os.close(fd)

    def _list(self, ask: Asker, entry: "os.DirEntry[str]", device: int) -> AccessLists | None:
        kind = FILE
        if not entry.is_file(follow_symlinks=False):
            if entry.is_symlink() and not self._plan.follow:
                return NONE
            kind = DIR  # or what is asked the same
            try:
                device = entry.stat(follow_symlinks=False).st_dev  # another one may be mounted there
            except OSError:
                return None
        return ask(os.fsencode(entry.name), kind, device)

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
                self._paths.append(directory.path)
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
        if listing is None or not (found := listing.directories()):
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


def _exactly(fd: int, size: int) -> bytes:
    found = b""
    while len(found) < size:
        piece = os.read(fd, size - len(found))
        if not piece:
            raise EOFError
        found += piece
    return found


def _end_with(fd: int) -> None:
    """In a thread: end the process when the other side closes the socket, whatever it is doing."""
    with contextlib.suppress(OSError):
        os.read(fd, 1)
    os._exit(0)


def main(fd: int, *inherited: int) -> None:
    """Crawl, and say how it ended. What else is open is somebody's who started the daemon."""
    settle([2, fd, *inherited])
    gc.disable()  # nothing here makes circles
    plan = received(fd)
    with contextlib.suppress(OSError):
        confine(plan.capabilities)
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
    with contextlib.suppress(OSError, Lost):
        sender.control({**walk.word(), **word})
        if word["ended"] == "done":
            walk.run_again()
            sender.control(Word(ended="done"))


if __name__ == "__main__":
    main(int(sys.argv[1]))
