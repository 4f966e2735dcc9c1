"""The library of the benchmark: two sources that overlap by half, and one large file."""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

LARGE = "Long Player/One Side/large.flac"
STAMP = "stamp"
"""A file next to the sources, newer than everything in them."""
TAGS = (("TITLE", "Title"), ("ARTIST", "Artist"), ("ALBUM", "Album"), ("GENRE", "Genre"))
"""Tags of every file. Not the real ones: all files of one size have the same content."""
SECONDS = 180
"""Duration in each file's header; the files contain no audio."""


@dataclass(frozen=True, slots=True)
class Size:
    """The size of each source: artists, albums per artist, files per album; file sizes in bytes."""

    artists: int
    albums: int
    files: int
    file_bytes: int
    large_bytes: int


@dataclass(frozen=True, slots=True)
class Contents:
    """The contents of a tree as sorted relative paths. The large file is counted in the entries only."""

    artists: tuple[str, ...]
    albums: tuple[str, ...]
    tracks: tuple[str, ...]

    @property
    def entries(self) -> int:
        """The number of entries that a walk finds."""
        return len(self.artists) + len(self.albums) + len(self.tracks) + 1


@dataclass(frozen=True, slots=True)
class Library:
    """``both`` is the union of the sources, ``alone`` the first one."""

    first: str
    second: str
    size: Size
    both: Contents
    alone: Contents


def make(where: str, size: Size) -> Library:
    """Create the library in the directory ``where``.

    Both sources have all artists. The second one's albums start half-way through the first one's: of three albums one
    is in the first source, one in the second, and one in both, with the same file names.
    """
    shift = (size.albums + 1) // 2
    shown = {"first": range(size.albums), "second": range(shift, shift + size.albums)}
    content = _flac(size.file_bytes)
    for source, numbers in shown.items():
        for path in _albums(size, numbers):
            os.makedirs(f"{where}/{source}/{path}")
        for path in _tracks(size, numbers):
            _write(f"{where}/{source}/{path}", content)
    os.makedirs(os.path.dirname(f"{where}/first/{LARGE}"))
    _fill(f"{where}/first/{LARGE}", size.large_bytes)
    _write(f"{where}/{STAMP}", b"")
    os.sync()
    both = _contents(size, range(shift + size.albums))
    return Library(f"{where}/first", f"{where}/second", size, both, _contents(size, shown["first"]))


def _contents(size: Size, numbers: range) -> Contents:
    albums = [*_albums(size, numbers), os.path.dirname(LARGE)]
    artists = dict.fromkeys(os.path.dirname(album) for album in albums)
    return Contents(tuple(artists), tuple(albums), tuple(_tracks(size, numbers)))


def _albums(size: Size, numbers: range) -> Iterator[str]:
    for artist in range(size.artists):
        for number in numbers:
            yield f"Artist {artist:05}/Album {number:03}"


def _tracks(size: Size, numbers: range) -> Iterator[str]:
    for album in _albums(size, numbers):
        for track in range(1, size.files + 1):
            yield f"{album}/{track:02} Title.flac"


def _flac(size: int) -> bytes:
    """A file that players and taggers accept as FLAC: marker, two metadata blocks, and noise as audio."""
    comments = [f"{name}={value}".encode() for name, value in TAGS]
    listed = b"".join(struct.pack("<I", len(comment)) + comment for comment in comments)
    tags = struct.pack("<II", 0, len(comments)) + listed
    rate, channels, bits = 44_100, 2, 16
    sound = rate << 44 | (channels - 1) << 41 | (bits - 1) << 36 | SECONDS * rate
    info = struct.pack(">HH6xQ16x", 4096, 4096, sound)
    head = b"fLaC" + struct.pack(">I", len(info)) + info + struct.pack(">I", 0x84 << 24 | len(tags)) + tags
    return head + os.urandom(size - len(head))


def _write(path: str, content: bytes) -> None:
    with open(path, "xb", buffering=0) as file:
        file.write(content)


def _fill(path: str, size: int) -> None:
    block = _flac(1 << 20)
    with open(path, "wb") as file:
        for start in range(0, size, len(block)):
            file.write(block[: size - start])


def read_through(path: str) -> None:
    """Read a file into the page cache."""
    buffer = bytearray(1 << 20)
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
