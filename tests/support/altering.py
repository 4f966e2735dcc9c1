"""Two sources, and one change to them of each kind."""

import os
from collections.abc import Callable
from pathlib import Path

from tests.support.trees import Link, Tree

HIGH: Tree = {
    b"Ann": {
        b"Both": {b"1": b"high one", b"2": b"high two", b"sub": {b"deep": b"high deep"}, b"link": Link(b"1")},
        b"Mine": {b"1": b"only high"},
        b"notes": b"high notes",
    },
    b"Bob": {b"Solo": {b"1": b"high solo"}},
    b"cover": b"high cover",
}


LOW: Tree = {
    b"Ann": {
        b"Both": {b"1": b"low one", b"3": b"low three"},
        b"Theirs": {b"1": b"only low"},
        b"notes": b"low notes",
        b"more": b"low more",
    },
    b"Cid": {b"Solo": {b"1": b"low solo"}},
    b"text": b"low text",
}


TO_COME = ("New", "Ann/New", "Ann/Both/new", "Ann/Both/sub/new", "New/Album", "Ann/new", "new")
"""Names that some changes create; tests look them up before, so that they are cached as absent."""


def put(path: Path, data: bytes = b"new") -> None:
    """Write a file in place, or create it and its parent directories."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def swap(path: Path, data: bytes) -> None:
    """Replace a file by rename, as most programs save."""
    other = path.with_name("being written")
    other.write_bytes(data)
    other.rename(path)


def remove(path: Path) -> None:
    """Remove a file, or a tree."""
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    empty(path)
    path.rmdir()


def empty(*tops: Path) -> None:
    """Remove everything in some directories."""
    for top in tops:
        for inner in top.iterdir():
            remove(inner)


def edit(path: Path, data: bytes, times: bool = False) -> None:
    """Overwrite the first bytes of a file; with ``times`` its mtime is restored, so that only its ctime changes."""
    before = path.stat()
    with open(path, "r+b") as file:
        file.write(data)
    if times:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def turn_into_file(path: Path) -> None:
    """Replace a directory by a file."""
    remove(path)
    path.write_bytes(b"a file now")


def turn_into_folder(path: Path) -> None:
    """Replace a file by a directory."""
    remove(path)
    put(path / "inside")


def turn_into_link(path: Path, target: str) -> None:
    """Replace something by a symbolic link."""
    remove(path)
    path.symlink_to(target)


def turn_into_pipe(path: Path) -> None:
    """Replace a file by a FIFO."""
    remove(path)
    os.mkfifo(path)


Change = Callable[[Path, Path], object]


NAMES: dict[str, Change] = {
    "a folder is added": lambda high, low: put(high / "Ann/New/1"),
    "a folder is removed": lambda high, low: remove(high / "Ann/Mine"),
    "a folder is renamed": lambda high, low: (high / "Ann/Mine").rename(high / "Ann/New"),
    "a folder moves to another directory": lambda high, low: (high / "Ann/Mine").rename(high / "Bob/Mine"),
    "a better source takes a folder over": lambda high, low: put(high / "Ann/Theirs/1", b"now in high"),
    "a folder falls back to the next source": lambda high, low: remove(high / "Ann/Both"),
    "a merged directory is added": lambda high, low: put(low / "New/Album/1"),
    "a merged directory is removed": lambda high, low: remove(low / "Cid"),
    "a merged directory is renamed": lambda high, low: (low / "Cid").rename(low / "New"),
    "a merged directory gets a second source": lambda high, low: put(high / "Cid/Album/1"),
    "a merged directory loses a source": lambda high, low: remove(high / "Ann"),
    "a file takes the place of a merged directory": lambda high, low: turn_into_file(high / "Bob"),
    "a merged directory takes the place of a file": lambda high, low: turn_into_folder(low / "text"),
    "a file takes the place of a folder": lambda high, low: turn_into_file(high / "Ann/Mine"),
    "a file in the better source leaves the folder to the other": lambda high, low: turn_into_file(high / "Ann/Both"),
    "a folder takes the place of a file": lambda high, low: turn_into_folder(low / "Ann/more"),
    "a folder beats a file of a better source": lambda high, low: turn_into_folder(low / "Ann/notes"),
    "a folder becomes a link and is left out": lambda high, low: turn_into_link(high / "Ann/Mine", "Both"),
    "a loose file is added": lambda high, low: put(low / "new"),
    "a loose file is added to a merged directory": lambda high, low: put(low / "Ann/new"),
    "a loose file is removed": lambda high, low: remove(low / "text"),
    "a loose file falls back to the next source": lambda high, low: remove(high / "Ann/notes"),
    "everything is removed": lambda high, low: empty(high, low),
}


FILES: dict[str, Change] = {
    "a loose file is edited": lambda high, low: edit(high / "cover", b"HIGH"),
    "a loose file is replaced": lambda high, low: swap(high / "cover", b"another cover"),
    "a loose file in a merged directory is replaced": lambda high, low: swap(high / "Ann/notes", b"other notes"),
    "a file is added": lambda high, low: put(high / "Ann/Both/new"),
    "a file is added further down": lambda high, low: put(high / "Ann/Both/sub/new"),
    "a file is removed": lambda high, low: remove(high / "Ann/Both/1"),
    "a file is renamed": lambda high, low: (high / "Ann/Both/1").rename(high / "Ann/Both/new"),
    "a file is replaced": lambda high, low: swap(high / "Ann/Both/1", b"replaced"),
    "a file is edited in place": lambda high, low: edit(high / "Ann/Both/1", b"HIGH"),
    "a file is edited and its mtime put back": lambda high, low: edit(high / "Ann/Both/1", b"HIGH", times=True),
    "a file grows": lambda high, low: put(high / "Ann/Both/1", b"high one and more"),
    "a file is truncated": lambda high, low: os.truncate(high / "Ann/Both/1", 3),
    "a file is emptied": lambda high, low: os.truncate(high / "Ann/Both/1", 0),
    "two files change places": lambda high, low: [
        (high / "Ann/Both" / old).rename(high / "Ann/Both" / new) for old, new in (("1", "3"), ("2", "1"), ("3", "2"))
    ],
    "a file becomes a directory": lambda high, low: turn_into_folder(high / "Ann/Both/1"),
    "a directory becomes a file": lambda high, low: turn_into_file(high / "Ann/Both/sub"),
    "a file becomes a pipe": lambda high, low: turn_into_pipe(high / "Ann/Both/1"),
    "a file becomes a link": lambda high, low: turn_into_link(high / "Ann/Both/1", "2"),
    "a link points elsewhere": lambda high, low: turn_into_link(high / "Ann/Both/link", "2"),
    "a file is dated to 1970": lambda high, low: os.utime(high / "Ann/Both/1", ns=(1, 1)),
    "a file is dated to the far future": lambda high, low: os.utime(high / "Ann/Both/1", ns=(1 << 61, 1 << 61)),
}


MODES = {
    "high": 0o711,
    "high/Ann": 0o711,
    "high/Ann/Both": 0o750,
    "high/Ann/Both/1": 0o600,
    "high/Ann/Both/sub": 0o700,
    "high/Ann/notes": 0o400,
    "high/cover": 0o640,
    "low/Cid": 0o700,
    "low/Cid/Solo": 0o750,
    "low/Ann/more": 0o600,
}
"""Modes that differ from the present ones, for merged directories, folders, loose files and files in folders."""
