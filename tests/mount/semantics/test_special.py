"""FIFOs, sockets, devices and all mode bits are shown as in the source, and special files are never opened there."""

import errno
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.fresh import REFRESH, becomes, observer
from tests.support.mounts import mounted
from tests.support.syscalls import libc
from tests.support.trees import Tree, grow
from tests.support.users import needs_root, run

pytestmark = needs_root

IN_OPEN = 0x20
EVENT = struct.Struct("=iIII")
LEVELS = ("", "Ann", "Ann/Album", "Ann/Album/sub")
HIGH: Tree = {b"Ann": {b"Album": {b"sub": {b"track": b"t"}}}}
LOW: Tree = {b"Ann": {b"Other": {b"track": b"o"}}}
DEPTH = 2
ALONE = {"fifo": stat.S_IFIFO, "chars": stat.S_IFCHR, "blocks": stat.S_IFBLK}
MODES = (0o4755, 0o2755, 0o1777, 0o6711, 0o7777, 0o000, 0o4000)


def special(directory: Path) -> list[Path]:
    """Make one special file of each kind, each with another mode."""
    for number, (name, kind) in enumerate(ALONE.items()):
        os.mknod(directory / name, kind | 0o666, os.makedev(1, 5) if kind == stat.S_IFCHR else os.makedev(250, 99999))
        (directory / name).chmod(0o640 + number)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "socket"))
    return [directory / name for name in (*ALONE, "socket")]


@contextmanager
def opens(paths: list[Path]) -> Iterator[list[Path]]:
    """Collect in the list, by the end of the block, which of these paths any process opened."""
    fd, noted = libc("inotify_init1", os.O_NONBLOCK), list[Path]()
    try:
        watched = {libc("inotify_add_watch", fd, os.fsencode(path), IN_OPEN): path for path in paths}
        yield noted
        try:
            while events := os.read(fd, 1 << 16):
                noted += [watched[number] for number, _, _, _ in EVENT.iter_unpack(events)]
        except BlockingIOError:
            pass
    finally:
        os.close(fd)


def test_special_files_are_shown_with_all_their_attributes_and_never_opened(place: Path) -> None:
    high, low = grow(place / "high", HIGH), grow(place / "low", LOW)
    paths = [path for level in LEVELS for path in special(high / level)]
    track = high / "Ann/Album/sub/track"
    with opens([*paths, track]) as opened, mounted(place / "view", high, low, depth=DEPTH, options=[REFRESH]) as view:
        for path in paths:
            here = view.mountpoint / path.relative_to(high)
            shown, true = os.lstat(here), os.lstat(path)
            assert (shown.st_mode, shown.st_rdev, shown.st_nlink) == (true.st_mode, true.st_rdev, true.st_nlink)
            assert (shown.st_size, shown.st_blocks, shown.st_mtime_ns) == (
                true.st_size,
                true.st_blocks,
                true.st_mtime_ns,
            )
            if not stat.S_ISFIFO(shown.st_mode):
                with pytest.raises(OSError, match=r"\[Errno") as caught:
                    os.open(here, os.O_RDONLY | os.O_NONBLOCK)
                assert caught.value.errno == (errno.ENXIO if path.name == "socket" else errno.EACCES)
        assert run("ls", "-lRa", view.mountpoint).returncode == 0
        assert run("find", view.mountpoint, "-type", "f", "-exec", "cat", "{}", "+").stdout == b"to"
    assert set(opened) == {track}, "opens of regular files are detected"


def test_both_ends_of_a_fifo_meet_in_the_view_and_not_in_the_source(place: Path) -> None:
    high, low = grow(place / "high", HIGH), grow(place / "low", LOW)
    paths = [path for level in LEVELS for path in special(high / level) if path.name == "fifo"]
    with opens(paths) as opened, mounted(place / "view", high, low, depth=DEPTH) as view:
        for path in paths:
            here = view.mountpoint / path.relative_to(high)
            reader = os.open(here, os.O_RDONLY | os.O_NONBLOCK)
            writer = os.open(here, os.O_WRONLY | os.O_NONBLOCK)
            os.write(writer, b"through")
            assert os.read(reader, 100) == b"through"
            os.close(reader)
            os.close(writer)
    assert not opened


def test_a_path_that_changes_its_type_repeatedly_is_shown_with_its_type(place: Path) -> None:
    high, low = grow(place / "high", HIGH), grow(place / "low", LOW)
    with mounted(place / "view", high, low, depth=DEPTH, options=["--refresh=0.4"]) as view, observer() as eyes:
        for kind in (stat.S_IFIFO, stat.S_IFREG, stat.S_IFCHR, stat.S_IFSOCK, stat.S_IFDIR, stat.S_IFBLK):
            for level in LEVELS:
                path = high / level / "odd"
                if path.is_dir():
                    path.rmdir()
                path.unlink(missing_ok=True)
                if kind == stat.S_IFDIR:
                    path.mkdir()
                else:
                    os.mknod(path, kind | 0o644, os.makedev(1, 5))
            becomes(eyes, view.mountpoint, [high, low], DEPTH, f"type {kind:o}")


def test_every_mode_bit_is_shown_and_kept_current(place: Path) -> None:
    high, low = grow(place / "high", HIGH), grow(place / "low", LOW)
    for level in LEVELS:
        grow(high / level, {**{b"file %o" % mode: b"f" for mode in MODES}, **{b"dir %o" % mode: {} for mode in MODES}})
    with mounted(place / "view", high, low, depth=DEPTH, options=["--refresh=0.4"]) as view, observer() as eyes:
        for turn in range(3):
            for level in LEVELS:
                for number, mode in enumerate(MODES):
                    for kind in ("file", "dir"):
                        (high / level / f"{kind} {mode:o}").chmod(MODES[(number + turn) % len(MODES)])
            becomes(eyes, view.mountpoint, [high, low], DEPTH, f"turn {turn}")
