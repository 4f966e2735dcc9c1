"""The sources that the tables of calls use, and the subjects in them: one of each file type."""

import contextlib
import os
import random
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.parity import Where
from tests.support.trees import Link, Tree, grow
from tests.support.users import NOBODY, need, output_of

CONTENT = random.Random(1).randbytes(300_001)
THIRTY: Tree = {name.encode(): b"" for name in map("{:02}".format, range(30))}

ALBUM: Tree = {
    b"track": CONTENT,
    b"empty": b"",
    b"secret": CONTENT[:100],
    b"linked": b"twice",
    b"program": b"#!/bin/sh\necho it runs\n",
    b"scans": THIRTY,
    b"nothing in it": {},
    b"link": Link(b"track"),
    b"dangling": Link(b"/nowhere/at/all"),
    b"to a directory": Link(b"scans"),
}
HIGH: Tree = {b"artist": {b"album": ALBUM, b"loose": CONTENT, **THIRTY}}
LOW: Tree = {b"artist": {b"album": {b"hidden": b""}, b"other": {}}, b"alone": {b"album": THIRTY, b"loose": b"of low"}}

SUBJECTS = {
    "file": "high/artist/album/track",
    "empty file": "high/artist/album/empty",
    "sparse file": "high/artist/album/sparse",
    "closed file": "high/artist/album/secret",
    "hard link": "high/artist/album/linked",
    "program": "high/artist/album/program",
    "folder": "high/artist/album",
    "directory": "high/artist/album/scans",
    "empty directory": "high/artist/album/nothing in it",
    "link": "high/artist/album/link",
    "dangling link": "high/artist/album/dangling",
    "link to a directory": "high/artist/album/to a directory",
    "FIFO": "high/artist/album/pipe",
    "socket": "high/artist/album/socket",
    "device": "high/artist/album/device",
    "loose file": "high/artist/loose",
    "loose FIFO": "high/artist/pipe",
    "loose file of low": "low/alone/loose",
    "folder of low": "low/alone/album",
    "merged directory": "high/artist",
    "merged directory of low alone": "low/alone",
    "root": "high",
    "nothing in a folder": "high/artist/album/missing",
    "nothing in a merged directory": "high/artist/missing",
    "nothing below a file": "high/artist/album/track/missing",
}
"""The winner of each subject, relative to the directory of the sources. In the view the first component is missing."""

SPECIAL = {"socket", "device", "FIFO", "loose FIFO"}
MERGED = {"merged directory", "merged directory of low alone", "root"}
DIRECTORIES = {"folder", "directory", "empty directory", "folder of low", *MERGED}
LINKS = {"link", "link to a directory", "dangling link"}
FILES = {"file", "empty file", "sparse file", "closed file", "hard link", "program", "loose file", "loose file of low"}
TO_FILES = FILES | {"link"}
TO_DIRECTORIES = DIRECTORIES | {"link to a directory"}


@contextlib.contextmanager
def sources(place: Path) -> Iterator[tuple[Path, Path]]:
    """Make the sources, and listen on the socket in them. Root only, because of a device node."""
    high, low = grow(place / "high", HIGH), grow(place / "low", LOW)
    (place / "scratch").mkdir()
    (place / "scratch").chmod(0o1777)
    album = high / "artist/album"
    with open(album / "sparse", "wb") as file:
        file.truncate(3 << 20)
        file.seek(1 << 20)
        file.write(b"island" * 1000)
        os.fsync(file.fileno())
    os.link(album / "linked", album / "linked again")
    (album / "program").chmod(stat.S_ISUID | 0o755)
    (album / "secret").chmod(0o600)
    for fifo in (album / "pipe", high / "artist/pipe"):
        os.mkfifo(fifo)
    os.mknod(album / "device", stat.S_IFCHR | 0o666, os.stat("/dev/null").st_rdev)
    for path in (album, album / "track", album / "scans", high / "artist", high / "artist/loose"):
        _describe(path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(album / "socket"))
        (album / "socket").chmod(0o777)
        listener.listen()
        _age(place)
        yield high, low


def _describe(path: Path) -> None:
    """Set extended attributes of all namespaces, and an ACL."""
    for name, value in (("user.mood", b"\0bright\xff"), ("user.empty", b""), ("user.long", b"x" * 2000)):
        os.setxattr(path, name, value)
    os.setxattr(path, "trusted.mood", b"sure")
    os.setxattr(path, "security.mood", b"safe")
    need("setfacl")
    output_of("setfacl", "-m", f"u:{NOBODY - 1}:r,m::rwx", path)


def _age(place: Path) -> None:
    """Set atimes in the future, so that reading does not change them, and distinct mtimes in the past."""
    now = time.time_ns()
    for number, (above, directories, files) in enumerate(os.walk(place)):
        for name in [*directories, *files, "."]:
            times = now + 3_600 * 10**9 + number, now - 3_600 * 10**9 + number
            os.utime(os.path.join(above, name), ns=times, follow_symlinks=False)


def plain(place: Path, root: Path) -> dict[str, Where]:
    """The subjects in the plain folder, with ``place`` mounted on ``root``."""
    return {name: _where(place, winner, root / winner) for name, winner in SUBJECTS.items()}


def shown(place: Path, mountpoint: Path) -> dict[str, Where]:
    """The subjects in a view."""
    return {name: _where(place, winner, mountpoint / winner.partition("/")[2]) for name, winner in SUBJECTS.items()}


def _where(place: Path, winner: str, path: Path) -> Where:
    return Where(str(path), str(place / winner), str(place / "scratch"))
