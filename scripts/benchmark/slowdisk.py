"""A slow disk: ext4 on a loop device, over a file that the floor filesystem serves with a delay.

Cached blocks are fast, as with any disk. Each mount starts with an empty cache.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

from benchmark.crew import BenchmarkError
from benchmark.kernel import device_at, take_down
from benchmark.library import Contents, Library
from benchmark.peers import mounted

DELAY = 0.02
"""Seconds per read, serialized: a disk that seeks."""
READ_AHEAD_KB = 128
"""Read-ahead of the disk in KiB, for sequential reads."""
MIB = 96
ARTISTS, ALBUMS, FILES = 4, 4, 16
FILE_BYTES = 256 << 10
NOTHING = Contents((), (), ())


def lacking(place: str) -> str | None:
    """Why such a disk is impossible here; None if it is possible."""
    if os.geteuid() != 0:
        return "only root can mount a loop device"
    if shutil.which("mkfs.ext4") is None:
        return "mkfs.ext4 is not installed"
    try:
        with _disk(place):
            return None
    except (BenchmarkError, OSError) as error:
        return str(error)


@contextlib.contextmanager
def beside(library: Library, place: str) -> Iterator[Library]:
    """A library of two sources: the slow disk, and the first source of ``library``, whose contents come first."""
    with _disk(place) as disk:
        yield replace(library, first=disk, second=library.first, both=library.alone, alone=_contents())


@contextlib.contextmanager
def _disk(place: str) -> Iterator[str]:
    image = _made(place)
    serve = [sys.executable, "-m", "benchmark.floor", "--delay", str(DELAY), os.path.dirname(image), "MOUNTPOINT"]
    with mounted(serve, place, NOTHING, {}) as blocks:
        with open(f"/sys/class/bdi/{device_at(blocks.top)}/read_ahead_kb", "w") as file:
            file.write(str(READ_AHEAD_KB))
        with _looped(f"{blocks.top}/{os.path.basename(image)}", place, "ro") as disk:
            yield disk


def _contents() -> Contents:
    artists = [f"Slow Artist {number}" for number in range(ARTISTS)]
    albums = [f"{artist}/Album {number}" for artist in artists for number in range(ALBUMS)]
    return Contents(
        tuple(artists), tuple(albums), tuple(f"{one}/{track:02}" for one in albums for track in range(FILES))
    )


def _made(place: str) -> str:
    """The disk image, created on first use."""
    directory = f"{place}/slow"
    image = f"{directory}/disk"
    if os.path.exists(image):
        return image
    os.mkdir(directory)
    with open(f"{directory}/new", "wb") as file:
        file.truncate(MIB << 20)
    _run("mkfs.ext4", "-q", "-O", "^has_journal", "-E", "lazy_itable_init=0,nodiscard", file.name)
    content = os.urandom(FILE_BYTES)
    with _looped(file.name, place, "rw") as disk:
        for track in _contents().tracks:
            os.makedirs(f"{disk}/{os.path.dirname(track)}", exist_ok=True)
            with open(f"{disk}/{track}", "wb") as track_file:
                track_file.write(content)
    os.rename(file.name, image)
    return image


@contextlib.contextmanager
def _looped(image: str, place: str, options: str) -> Iterator[str]:
    disk = f"{place}/slow-disk"
    os.mkdir(disk)
    try:
        _run("mount", "-t", "ext4", "-o", f"loop,{options}", image, disk)
        yield disk
    finally:
        take_down(disk)
        os.rmdir(disk)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise BenchmarkError(f"{command[0]}: {done.stderr.strip()}")
