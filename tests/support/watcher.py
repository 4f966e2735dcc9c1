"""An inotify(7) watcher of a tree, in a process of its own: ``python -m tests.support.watcher DIRECTORY``.

It watches every directory, new ones as soon as they are reported. It prints ``ready`` when all are watched, then a line
for each event: its names, joined by commas, a tab, and the path.

From the events alone it maintains a picture of the tree: the paths found at first and in new directories, updated by
each creation and removal. On SIGUSR1 it writes the picture to ``DIRECTORY.picture``.
"""

import contextlib
import ctypes
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.polling import holds, poll

MODIFY, ATTRIB, CLOSE_WRITE, MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x2, 0x4, 0x8, 0x40, 0x80, 0x100, 0x200
OVERFLOW, IGNORED, ONLYDIR, ISDIR = 0x4000, 0x8000, 0x01000000, 0x40000000
EVENTS = {
    MODIFY: "MODIFY",
    ATTRIB: "ATTRIB",
    CLOSE_WRITE: "CLOSE_WRITE",
    MOVED_FROM: "MOVED_FROM",
    MOVED_TO: "MOVED_TO",
    CREATE: "CREATE",
    DELETE: "DELETE",
    OVERFLOW: "OVERFLOW",
    ISDIR: "ISDIR",
}
_MASK = MODIFY | ATTRIB | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE | ONLYDIR
_HEAD = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)

Event = tuple[str, str]
"""(names of the event, path relative to the top)."""


class Watcher:
    """A watcher process, as the test controls it."""

    def __init__(self, log: Path, process: "subprocess.Popen[bytes]") -> None:
        self._log = log
        self._process = process

    def events(self) -> list[Event]:
        """All events so far."""
        lines = self._log.read_text(errors="backslashreplace").split("\n")[:-1]
        found = [line.partition("\t") for line in lines if "\t" in line]
        return [(names, path) for names, _, path in found]

    def hears(self, *expected: Event, seconds: float = 10) -> None:
        """Wait for these events, in any order."""
        heard = holds(lambda: not set(expected) - set(self.events()), seconds)
        assert heard, (
            f"{set(expected) - set(self.events())} not heard of within {seconds} s; the last: {self.events()[-9:]}"
        )

    def picture(self) -> set[bytes]:
        """The paths that exist according to the events."""
        path = self._log.with_suffix(".picture")
        path.unlink(missing_ok=True)
        self._process.send_signal(signal.SIGUSR1)
        poll(path.exists, "the picture")
        return set(path.read_bytes().split(b"\0")) - {b""}


@contextlib.contextmanager
def watcher(top: Path) -> Iterator[Watcher]:
    """Watch a tree while the block runs."""
    log = top.parent / f"{top.name}.events"
    with open(log, "wb") as file:
        process = subprocess.Popen([sys.executable, "-m", "tests.support.watcher", top], stdout=file)
    try:
        poll(lambda: "ready\n" in log.read_text(errors="backslashreplace"), "everything watched", 30)
        yield Watcher(log, process)
        assert process.poll() is None, "it watched until the end"
    finally:
        process.kill()
        process.wait()


def below(top: bytes) -> set[bytes]:
    """All paths in a tree."""
    walked = ((os.path.relpath(above, top), [*below, *files]) for above, below, files in os.walk(top))
    return {os.path.normpath(os.path.join(above, name)) for above, names in walked for name in names}


class _Tree:
    """The watches, and the picture of the tree."""

    def __init__(self, top: bytes) -> None:
        self._top = top
        self._fd = _libc.inotify_init1(os.O_CLOEXEC)
        self._places: dict[int, bytes] = {}
        self.paths: set[bytes] = set()
        self.come(b"", True)

    def come(self, path: bytes, is_directory: bool) -> None:
        """Add a path to the picture; watch a directory, and add its entries."""
        if path:
            self.paths.add(path)
        if not is_directory:
            return
        whole = os.path.join(self._top, path)
        wd = _libc.inotify_add_watch(self._fd, whole, _MASK)
        if wd < 0:
            return
        self._places[wd] = path
        with contextlib.suppress(OSError), os.scandir(whole) as entries:
            for entry in entries:
                self.come(os.path.join(path, entry.name), entry.is_dir(follow_symlinks=False))

    def go(self, path: bytes) -> None:
        """Remove a path from the picture, with everything below it."""
        inside = path + b"/"
        self.paths = {one for one in self.paths if one != path and not one.startswith(inside)}
        self._places = {wd: at for wd, at in self._places.items() if at != path and not at.startswith(inside)}

    def events(self) -> Iterator[tuple[int, bytes]]:
        """Read events, as (mask, path)."""
        data, at = os.read(self._fd, 1 << 16), 0
        while at < len(data):
            wd, mask, _, size = _HEAD.unpack_from(data, at)
            name = data[at + _HEAD.size : at + _HEAD.size + size].rstrip(b"\0")
            at += _HEAD.size + size
            if mask & OVERFLOW:
                yield mask, b""
            elif wd in self._places and not mask & IGNORED:
                yield mask, os.path.join(self._places[wd], name).rstrip(b"/")


def main(top: bytes) -> None:
    """Watch and print events until killed."""
    tree = _Tree(top)

    def write(number: int, frame: object) -> None:
        path = top + b".picture"
        with open(path + b".new", "wb") as file:
            file.write(b"\0".join(sorted(tree.paths)))
        os.rename(path + b".new", path)

    signal.signal(signal.SIGUSR1, write)
    os.write(1, b"ready\n")
    while True:
        lines = []
        for mask, path in tree.events():
            lines.append(",".join(word for bit, word in EVENTS.items() if mask & bit).encode() + b"\t" + path + b"\n")
            if mask & (MOVED_FROM | DELETE):
                tree.go(path)
            if mask & (MOVED_TO | CREATE):
                tree.go(path)  # what had the name before
                tree.come(path, bool(mask & ISDIR))
        os.write(1, b"".join(lines))


if __name__ == "__main__":
    main(os.fsencode(sys.argv[1]))
