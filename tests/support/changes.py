"""The events that the kernel reports for each kind of change in a tree: one table for fanotify and inotify.

1. The masks of all events of a name are combined, because fanotify may merge events.
2. Events on a directory itself count as having ONDIR, which inotify sometimes omits.
"""

import contextlib
import fcntl
import mmap
import os
import struct
import sys
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import mmirrorfs
from mmirrorfs.source.events import (
    ATTRIB,
    CHANGES,
    CLOSE_WRITE,
    CREATE,
    DELETE,
    DELETE_SELF,
    MODIFY,
    MOVE_SELF,
    MOVED_FROM,
    MOVED_TO,
    ONDIR,
    Event,
)
from tests.support.namespace import namespace
from tests.support.polling import holds
from tests.support.reach import IMPORTS, opening
from tests.support.swapping import exchange
from tests.support.trees import Tree
from tests.support.users import output_of

TREE: Tree = {b"d": {b"f": b"one", b"h": b"other", b"e": {}}}
DIRECTORIES = ("", "d", "d/e")
WRITTEN = MODIFY | CLOSE_WRITE

Name = tuple[str, str]
"""(directory, name in it); the name is "" for the directory itself."""


class Change(NamedTuple):
    """``twice`` is what only inotify reports in addition: a directory's attributes, in its parent directory."""

    do: Callable[[Path], object]
    said: dict[Name, int]
    twice: dict[Name, int] | None = None

    @property
    def said_by_inotify(self) -> dict[Name, int]:
        """All that inotify reports."""
        return {**self.said, **(self.twice or {})}


class All:
    """A container that contains every key."""

    def __contains__(self, key: object) -> bool:
        return True


def write(path: Path, mode: str = "r+") -> None:
    """Open, write, close."""
    with open(path, mode) as file:
        file.write("changed")


def _make_and_remove(path: Path) -> None:
    write(path, "x")
    path.unlink()


def _rename_and_fill(old: Path, new: Path, inner: Path) -> None:
    old.rename(new)
    inner.mkdir()


def _map(top: Path) -> None:
    with open(top / "d/f", "r+b") as file, mmap.mmap(file.fileno(), 3) as pages:
        file.close()
        pages[0] = 0


def _touch(path: Path) -> None:
    os.utime(path, (1, 1))


CASES: dict[str, Change] = {
    "new file": Change(lambda top: write(top / "d/new", "x"), {("d", "new"): CREATE | WRITTEN}),
    "new directory": Change(lambda top: (top / "d/new").mkdir(), {("d", "new"): CREATE | ONDIR}),
    "new link": Change(lambda top: (top / "d/new").symlink_to("f"), {("d", "new"): CREATE}),
    "new pipe": Change(lambda top: os.mkfifo(top / "d/new"), {("d", "new"): CREATE}),
    "edited in place": Change(lambda top: write(top / "d/f"), {("d", "f"): WRITTEN}),
    "appended": Change(lambda top: write(top / "d/f", "a"), {("d", "f"): WRITTEN}),
    "cut off": Change(lambda top: os.truncate(top / "d/f", 1), {("d", "f"): MODIFY}),
    "only opened for writing": Change(lambda top: (top / "d/f").open("a").close(), {("d", "f"): CLOSE_WRITE}),
    "only read": Change(lambda top: (top / "d/f").read_bytes(), {}),
    "written through a mapping": Change(_map, {("d", "f"): CLOSE_WRITE}),
    "mode of a file": Change(lambda top: (top / "d/f").chmod(0o600), {("d", "f"): ATTRIB}),
    "time of a file": Change(lambda top: _touch(top / "d/f"), {("d", "f"): ATTRIB}),
    "mode of a directory": Change(
        lambda top: (top / "d").chmod(0o700), {("d", ""): ATTRIB | ONDIR}, {("", "d"): ATTRIB | ONDIR}
    ),
    "time of a directory": Change(
        lambda top: _touch(top / "d/e"), {("d/e", ""): ATTRIB | ONDIR}, {("d", "e"): ATTRIB | ONDIR}
    ),
    "mode of the root": Change(lambda top: top.chmod(0o700), {("", ""): ATTRIB | ONDIR}),
    "file removed": Change(lambda top: (top / "d/f").unlink(), {("d", "f"): DELETE}),
    "directory removed": Change(
        lambda top: (top / "d/e").rmdir(), {("d", "e"): DELETE | ONDIR, ("d/e", ""): DELETE_SELF | ONDIR}
    ),
    "file renamed": Change(
        lambda top: (top / "d/f").rename(top / "d/g"), {("d", "f"): MOVED_FROM, ("d", "g"): MOVED_TO}
    ),
    "file renamed over another": Change(
        lambda top: (top / "d/f").rename(top / "d/h"), {("d", "f"): MOVED_FROM, ("d", "h"): MOVED_TO}
    ),
    "file moved into another directory": Change(
        lambda top: (top / "d/f").rename(top / "f"), {("d", "f"): MOVED_FROM, ("", "f"): MOVED_TO}
    ),
    "file moved out": Change(lambda top: (top / "d/f").rename(top.with_name("outside")), {("d", "f"): MOVED_FROM}),
    "directory renamed, then filled": Change(
        lambda top: _rename_and_fill(top / "d/e", top / "d/g", top / "d/g/in"),
        {
            ("d", "e"): MOVED_FROM | ONDIR,
            ("d", "g"): MOVED_TO | ONDIR,
            ("d/e", ""): MOVE_SELF | ONDIR,
            ("d/e", "in"): CREATE | ONDIR,
        },
    ),
    "directory moved": Change(
        lambda top: (top / "d/e").rename(top / "e"),
        {("d", "e"): MOVED_FROM | ONDIR, ("", "e"): MOVED_TO | ONDIR, ("d/e", ""): MOVE_SELF | ONDIR},
    ),
    "a directory above renamed": Change(
        lambda top: _rename_and_fill(top / "d", top / "c", top / "c/e/in"),
        {
            ("", "d"): MOVED_FROM | ONDIR,
            ("", "c"): MOVED_TO | ONDIR,
            ("d", ""): MOVE_SELF | ONDIR,
            ("d/e", "in"): CREATE | ONDIR,
        },
    ),
    "root renamed": Change(lambda top: top.rename(top.with_name("renamed")), {("", ""): MOVE_SELF | ONDIR}),
    "files exchanged": Change(
        lambda top: exchange((str(top / "d/f"), str(top / "d/h"))),
        {("d", "f"): MOVED_FROM | MOVED_TO, ("d", "h"): MOVED_FROM | MOVED_TO},
    ),
    "made and removed": Change(lambda top: _make_and_remove(top / "d/new"), {("d", "new"): CREATE | WRITTEN | DELETE}),
}


def watch(top: Path, add: Callable[[int], bytes], directories: Iterable[str] = DIRECTORIES) -> dict[bytes, str]:
    """Call ``add`` with a descriptor of each directory in a tree; returns the directories by what it returned."""
    found = {}
    for name in directories:
        with opened(top / name) as fd:
            found[add(fd)] = name
    return found


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    """A descriptor of a directory while the block runs."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def said(events: Iterable[Event], names: dict[bytes, str]) -> dict[Name, int]:
    """The combined masks by directory and name."""
    found: dict[Name, int] = {}
    for mask, key, name in events:
        place = names[key], os.fsdecode(name)
        if mask & CHANGES:
            found[place] = found.get(place, 0) | mask | (0 if name else ONDIR)
    return found


Reading = Callable[[Container[bytes]], list[Event]]


def comes(read: Reading, names: dict[bytes, str], expected: dict[Name, int]) -> dict[Name, int]:
    """The events, once they are as ``expected`` or after a second: a directory's removal may be reported late."""
    events: list[Event] = []

    def whole() -> bool:
        events.extend(read(names))
        return said(events, names) == expected

    holds(whole, 1)
    return said(events, names)


@contextlib.contextmanager
def setting(name: str, value: int) -> Iterator[None]:
    """Set a file under /proc/sys while the block runs. Root only."""
    path = Path("/proc/sys", name)
    before = path.read_text()
    path.write_text(str(value))
    try:
        yield
    finally:
        path.write_text(before)


def make_subvolume(path: Path) -> None:
    """Make a subvolume of a btrfs filesystem (BTRFS_IOC_SUBVOL_CREATE)."""
    with opened(path.parent) as fd:
        fcntl.ioctl(fd, 0x5000940E, bytearray(struct.pack("=q4088s", 0, os.fsencode(path.name))))


def output_as_plain_user(place: Path, script: str, *words: str | Path) -> str:
    """The output of a script that a plain user runs with the interpreter and the import path of the tests."""
    command = (sys.executable, "-c", f"import sys; sys.path.insert(0, {str(_CHECKOUT)!r})\n{script}", *words)
    if os.geteuid() != 0:
        return output_of(*command).decode()
    with namespace(place) as inside:
        inside.output_of("sh", "-ec", opening())
        if inside.run_as_nobody(*IMPORTS).returncode != 0:
            pytest.skip(f"a plain user cannot run {sys.executable}")
        done = inside.run_as_nobody(*command)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


_CHECKOUT = Path(mmirrorfs.__file__).parents[1]
