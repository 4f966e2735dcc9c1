"""Somebody who watches a tree with inotify(7), in a process of its own: ``python -m tests.support.watcher DIRECTORY``.

Every directory is watched; those that come are as soon as they are told of. Each event is a line: its names, joined by
commas, a tab, and the path that it is about as it is written in Python. ``ready`` says that everything is watched.
"""

import contextlib
import ctypes
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.polling import poll

EVENTS = {
    0x2: "MODIFY",
    0x4: "ATTRIB",
    0x8: "CLOSE_WRITE",
    0x40: "MOVED_FROM",
    0x80: "MOVED_TO",
    0x100: "CREATE",
    0x200: "DELETE",
    0x4000: "OVERFLOW",
    0x40000000: "ISDIR",
}
_MASK = 0x2 | 0x4 | 0x8 | 0x40 | 0x80 | 0x100 | 0x200
_ONLYDIR = 0x01000000
_HEAD = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)

Event = tuple[str, str]
"""(names of the event, path relative to the top)."""


class Watcher:
    """One that runs, seen from the test."""

    def __init__(self, log: Path, process: "subprocess.Popen[bytes]") -> None:
        self._log = log
        self._process = process
        self._seen = 0

    def events(self) -> list[Event]:
        """All that it was told of since ``forget``."""
        lines = self._log.read_text().split("\n")[:-1]
        found = [line.split("\t") for line in lines if "\t" in line]
        return [(names, path) for names, path in found][self._seen :]

    def forget(self) -> None:
        """Begin anew."""
        self._seen += len(self.events())

    def hears(self, *expected: Event, seconds: float = 10) -> None:
        """Wait for these, in whatever order."""
        poll(lambda: not set(expected) - set(self.events()), f"{expected}, and not {self.events()}", seconds)


@contextlib.contextmanager
def watcher(top: Path, prefix: tuple[str, ...] = ()) -> Iterator[Watcher]:
    """Watch a tree for as long as the block takes."""
    log = top.parent / f"{top.name}.events"
    with open(log, "wb") as file:
        process = subprocess.Popen([*prefix, sys.executable, "-m", "tests.support.watcher", top], stdout=file)
    try:
        poll(lambda: "ready\n" in log.read_text(), "everything watched")
        yield Watcher(log, process)
        assert process.poll() is None, "it watched until the end"
    finally:
        process.kill()
        process.wait()


def main(top: bytes) -> None:
    """Watch, and tell, until killed."""
    fd = _libc.inotify_init1(os.O_CLOEXEC)
    places: dict[int, bytes] = {}

    def watch(path: bytes) -> None:
        wd = _libc.inotify_add_watch(fd, os.path.join(top, path), _MASK | _ONLYDIR)
        if wd < 0:
            return
        places[wd] = path
        with contextlib.suppress(OSError):
            for entry in sorted(os.scandir(os.path.join(top, path)), key=lambda entry: entry.name):
                if entry.is_dir(follow_symlinks=False):
                    watch(os.path.join(path, os.fsencode(entry.name)))

    watch(b"")
    os.write(1, b"ready\n")
    while True:
        data = os.read(fd, 1 << 16)
        at = 0
        lines = []
        while at < len(data):
            wd, mask, _, size = _HEAD.unpack_from(data, at)
            name = data[at + _HEAD.size : at + _HEAD.size + size].rstrip(b"\0")
            at += _HEAD.size + size
            names = ",".join(word for bit, word in EVENTS.items() if mask & bit)
            path = os.path.join(places.get(wd, b"?"), name).rstrip(b"/")
            if names:
                lines.append(b"%s\t%s\n" % (names.encode(), path))
            if mask & 0x40000000 and mask & (0x80 | 0x100):
                watch(path)
        os.write(1, b"".join(lines))


if __name__ == "__main__":
    main(os.fsencode(sys.argv[1]))
