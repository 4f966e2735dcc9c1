"""The child process that crawls one source: lists each directory from the depth on, once, and sends the listings.

Rule 1: it uses idle resources only: the idle scheduling class (sched(7)), from which the kernel derives the idle I/O
class (ioprio_set(2); seen on Linux 6.18). A hung disk hangs this process and nothing else.
Rule 2: it never outlives the mount: it ends with its parent (PR_SET_PDEATHSIG), and when the socket is closed.
Rule 3: a failed call proves nothing: an unreadable directory is not sent, and nothing is once the root is not valid.
Rule 4: access lists (acl(5)), which take time and are nearly always "none", are sent in a second pass, after all
listings.
Rule 5: it terminates even if the source changes meanwhile: within a folder no (dev, ino) is listed twice, and the list
of folders is made before the first is crawled.

Folders are crawled in the order of inode numbers, each whole before the next. Symbolic links are treated as by
``Reader``. A stream socket carries frames: HEADER, a path relative to the root, and a packed ``Listing``; or with LISTS
added to the path length an encoded ``Read``; or with CONTROL as the path length JSON (``Word``).
``python -m mmirrorfs.source.crawl DESCRIPTOR`` receives its ``Plan`` over that socket. Each mount waits for it to
start, so it imports no trio, click or pyfuse3.
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
from mmirrorfs.source.acl import NONE, OWN, AccessListReader, Read
from mmirrorfs.source.capabilities import Capability, confine
from mmirrorfs.source.exclude import excluded_by
from mmirrorfs.source.filesystems import LOCAL, VIEW_TYPE, mount_id, mounts
from mmirrorfs.source.list_directory import list_directory
from mmirrorfs.source.marker import Marker, Report, Unmarked
from mmirrorfs.source.process import become_helper
from mmirrorfs.source.reader import Reader

HEADER = struct.Struct("<dIII")
"""Time of the listing in seconds of CLOCK_MONOTONIC; then the lengths of path, event key and payload, in bytes."""
CONTROL = 0xFFFFFFFF
LISTS = 0x80000000
"""Added to the length of a path: the payload has access lists."""
LENGTH = struct.Struct("<I")
BATCH = 1 << 16
"""Bytes that are sent at once: one write a directory would wake the parent as often."""
INTERVAL = 0.5
"""Seconds after which all is sent that is buffered, with the progress."""


Identity = tuple[int, int]


class Plan(NamedTuple):
    """The parameters of a crawl. ``root`` is absolute and free of links, ``excludes`` are shell patterns.

    ``everywhere`` includes directories on network and FUSE filesystems. ``identity`` is the (dev, ino) of the root;
    None: of whatever is there at the start. ``fanotify`` and ``inotify`` are inherited descriptors to mark directories
    with (``source.marker``), ``budget`` is the number of inotify watches that may be added. The child keeps these
    ``capabilities`` and no others.
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
        """The descriptors that the child inherits."""
        return tuple(fd for fd in (self.fanotify, self.inotify) if fd is not None)

    def encoded(self) -> bytes:
        """As a frame of the socket."""
        text = json.dumps([os.fsdecode(self.root), *self[1:]]).encode()
        return LENGTH.pack(len(text)) + text


class Word(TypedDict, total=False):
    """A control frame: ``folders`` done ``of`` how many, the ``watch`` report of the marker; finally how it ``ended``.

    Ends are "done" (sent again after all access lists), "lost" (the root is not valid any more), and "failed" (an
    internal error, which ``why`` has).
    """

    folders: int
    of: int
    watch: Report
    ended: str
    why: str


class Lost(Exception):
    """The root is gone, or was replaced by another directory."""


class _Inner(NamedTuple):
    """A directory to be crawled, with the inode from the listing of its parent. Sorts in the order of the disk."""

    dev: int
    ino: int
    path: bytes


class Sender:
    """The child's end of the socket. Blocks while the parent does not read; raises BrokenPipeError if it closed it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._buffered: list[bytes] = []
        self._size = 0

    def directory(self, path: bytes, listing: Listing) -> None:
        """Buffer the listing of one directory."""
        key = listing.key
        self._add(HEADER.pack(listing.fetched_at, len(path), len(key), len(listing.blob)), path, key, listing.blob)

    def lists(self, read: Read) -> None:
        """Buffer the access lists of one directory."""
        text = read.encoded()
        self._add(HEADER.pack(read.when, len(read.path) + LISTS, 0, len(text)), read.path, text)

    def control(self, word: Word) -> None:
        """Send all that is buffered, and a control frame."""
        text = json.dumps(word).encode()
        self._add(HEADER.pack(0, CONTROL, 0, len(text)), text)
        self._flush()

    def _add(self, *parts: bytes) -> None:
        self._buffered += parts
        self._size += sum(map(len, parts))
        if self._size >= BATCH:
            self._flush()

    def _flush(self) -> None:
        left = memoryview(b"".join(self._buffered))
        self._buffered, self._size = [], 0
        while left:
            left = left[os.write(self._fd, left) :]


class Walk:
    """One crawl of a source."""

    def __init__(self, plan: Plan, sender: Sender) -> None:
        self._plan = plan
        self._sender = sender
        self._reader = Reader(plan.root, excluded_by(plan.excludes), plan.follow)
        self._marker = Marker(plan.fanotify, plan.inotify, plan.budget) if plan.inherited else Unmarked()
        self._reader.mark = self._marker.mark
        self._identity = plan.identity
        self._folders = self._of = self._above = 0
        self._last_word = 0.0
        self._paths: list[bytes] = []

    def run(self) -> None:
        """The first pass: all listings. Raises Lost."""
        if self._identity is None:
            self._identity = self._root()
        folders = self._at_depth()
        self._of = len(folders)
        for folder in folders:
            self._crawl(folder)
            self._folders += 1
        self._check_root()

    def word(self) -> Word:
        """The progress."""
        return Word(folders=self._folders, of=self._of, watch=self._marker.report)

    def _at_depth(self) -> list[_Inner]:
        level = [_Inner(0, 0, b"")] if self._crosses(b"") else []
        for _ in range(self._plan.depth):
            self._paths += [inner.path for inner in level]
            level = sorted(inner for path in level for inner in self._inside(path, self._listed(path)))
        self._above = len(self._paths)
        return level

    def run_again(self) -> None:
        """The second pass: the access lists in all directories of the first one. Raises Lost."""
        for number, path in enumerate(self._paths):
            read = None
            with contextlib.suppress(OSError):
                read = self._lists(path, number < self._above)
            self._check_root()
            if read is not None:
                with contextlib.suppress(struct.error):  # times out of range: a fetch will read them
                    self._sender.lists(read)

    def _lists(self, path: bytes, above: bool) -> Read:
        """The access lists of the entries of a directory, and its own if it is ``above`` the depth."""
        now = time.monotonic()
        fd = self._reader.open_directory(path)
        try:
            st, lists = os.fstat(fd), dict[bytes, AccessLists | None]()
            read_lists = AccessListReader(
                self._reader, path, fd, None if self._plan.everywhere else st.st_dev, where=""
            )
            os.fchdir(fd)  # the shortest path to each entry
            with os.scandir(fd) as entries:
                for entry in entries:
                    found = self._list(read_lists, entry, st.st_dev)
                    if found is None or found:
                        lists[os.fsencode(entry.name)] = found
            if above:
                lists[OWN] = read_lists(OWN, DIR, st.st_dev)
            return Read(path, now, (st.st_dev, st.st_ino, st.st_mtime_ns, st.st_ctime_ns), lists)
        finally:
            os.chdir("/")  # so that the source can be unmounted
            os.close(fd)

    def _list(self, read_lists: AccessListReader, entry: "os.DirEntry[str]", device: int) -> AccessLists | None:
        kind = FILE
        if not entry.is_file(follow_symlinks=False):
            if entry.is_symlink() and not self._plan.follow:
                return NONE
            kind = DIR  # or another type with the same attributes
            try:
                device = entry.stat(follow_symlinks=False).st_dev  # it may be a mountpoint
            except OSError:
                return None
        return read_lists(os.fsencode(entry.name), kind, device)

    def _crawl(self, folder: _Inner) -> None:
        """A folder and everything below it."""
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
        """The listing of a directory; None if it cannot be read. Raises Lost."""
        try:
            listing = list_directory(self._reader, directory.path)
        except OSError:
            listing = None
        self._check_root()
        if time.monotonic() > self._last_word + INTERVAL:
            self._last_word = time.monotonic()
            self._sender.control(self.word())
        return listing

    def _inside(self, directory: _Inner, listing: Listing | None) -> list[_Inner]:
        """The subdirectories to be crawled, in the order of the disk."""
        if listing is None or not (found := listing.directories()):
            return []
        prefix, device = directory.path + b"/" if directory.path else b"", listing.stamp[0]
        inner = [_Inner(attr.dev, attr.ino, prefix + name) for name, attr in found]
        return sorted(one for one in inner if one.dev == device or self._crosses(one.path))

    def _crosses(self, path: bytes) -> bool:
        """Whether to crawl a directory on another filesystem than its parent. Never a view of ours."""
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
    """The plan, which the parent sends first."""
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
    """In a thread: exit when the parent closes the socket, even if the main thread is blocked."""
    with contextlib.suppress(OSError):
        os.read(fd, 1)
    os._exit(0)


def main(fd: int, *inherited: int) -> None:
    """Receive the plan, crawl, and send how that ended."""
    become_helper([2, fd, *inherited])
    gc.disable()  # there are no reference cycles here
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
