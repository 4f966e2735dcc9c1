"""Programs that read, list and compare find in a folder of the view exactly the content of its winner."""

import hashlib
import mmap
import os
import random
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.mounts import mounted
from tests.support.trees import Link, Tree, grow
from tests.support.users import output_of, run

pytestmark = pytest.mark.mount

ALBUM: Tree = {
    b"01 track": b"one" * 40_000,
    b"02 empty": b"",
    b"-rf \xff": b"odd",
    b"scans": {b"front": b"x" * 4096, b"deep": {b"er": {b"est": b"bottom"}}},
    b"way": Link(b"01 track"),
    b"dangling": Link(b"/nowhere"),
    b"nothing in it": {},
}


MANY = 5_000
NUMBERED: Tree = {b"%05d" % number: b"" for number in range(MANY)}
SIZES = {"large": (48 << 20) + 4321, "partly cached": 16 << 20, "random": (3 << 20) + 17, "mapped": 3_000_001}
"""Files of noise and their sizes in bytes."""


@dataclass(frozen=True, slots=True)
class Library:
    """A view of depth 2 and its sources. Both have the artist's album; each of the other folders is for one test."""

    view: Path
    high: Path
    low: Path


@pytest.fixture(scope="module")
def library(shared_place: Path) -> Iterator[Library]:
    """One view for all tests: none changes anything."""
    artist: Tree = {b"album": ALBUM, b"many": NUMBERED}
    high = grow(shared_place / "high", {b"artist": artist, b"many": NUMBERED, b"files": {b"x": {}}})
    low = grow(
        shared_place / "low",
        {b"artist": {b"album": {b"hidden": b""}, b"other": ALBUM}, b"many": {b"other": {}}, b"zz": {b"album": ALBUM}},
    )
    os.chmod(high / "artist/album/scans", 0o750)
    os.utime(high / "artist/album/scans", ns=(1, 987_654_321_012_345_678))
    for name, size in SIZES.items():
        (high / "files/x" / name).write_bytes(_noise(size))
    with open(high / "files/x/sparse", "wb") as file:
        file.seek(5 << 30)
        file.write(b"island")
        file.truncate(6 << 30)
    with mounted(shared_place / "view", high, low, depth=2) as view:
        yield Library(view.mountpoint, high, low)


def _noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


COMPARE = [
    ("diff -r --no-dereference", ["diff", "-r", "--no-dereference", "TRUE/", "SHOWN/"]),
    ("rsync to the view", ["rsync", "-anc", "--delete", "--itemize-changes", "TRUE/", "SHOWN/"]),
    ("rsync from the view", ["rsync", "-anc", "--delete", "--itemize-changes", "SHOWN/", "TRUE/"]),
]


@pytest.mark.parametrize("command", [command for _, command in COMPARE], ids=[name for name, _ in COMPARE])
def test_comparing_programs_see_no_difference_between_a_folder_and_its_winner(
    place: Path, library: Library, command: list[str]
) -> None:
    for winner, folder in ((library.high, "artist/album"), (library.low, "artist/other"), (library.low, "zz/album")):
        paths = {"TRUE/": f"{winner / folder}/", "SHOWN/": f"{library.view / folder}/"}
        assert output_of(*[paths.get(word, word) for word in command]) == b""


def test_tar_finds_no_difference_to_an_archive_of_the_winner(place: Path, library: Library) -> None:
    output_of("tar", "-C", library.high, "-cf", place / "packed.tar", "artist/album")
    assert output_of("tar", "-C", library.view, "-df", place / "packed.tar") == b""


def test_cp_copies_a_whole_folder(place: Path, library: Library) -> None:
    output_of("cp", "-a", library.view / "artist/album", place / "copy")
    assert output_of("diff", "-r", "--no-dereference", library.high / "artist/album", place / "copy") == b""


def test_find_finds_the_same_with_and_without_its_link_count_optimization(place: Path, library: Library) -> None:
    but_many = ("-name", "many", "-prune", "-o")
    listed = sorted(output_of("find", library.view, *but_many, "-print0").split(b"\0"))
    assert listed == sorted(output_of("find", library.view, "-noleaf", *but_many, "-print0").split(b"\0"))
    assert os.fsencode(library.view / "zz/album/scans/deep/er/est") in listed
    assert output_of("find", library.view, *but_many, "-type", "d", "-name", "er", "-print").count(b"\n") == 3


def test_flac_verifies_what_it_encoded_and_ffprobe_identifies_it(place: Path) -> None:
    high, low = grow(place / "high", {b"artist": {b"album": {}}}), grow(place / "low", {b"zz": {b"album": ALBUM}})
    _flac(high / "artist/album/noise.flac")
    with mounted(place / "view", high, low, depth=2) as view:
        shown = view.mountpoint / "artist/album/noise.flac"
        assert run("flac", "-t", "-s", "-w", shown).returncode == 0
        command = ["ffprobe", "-v", "error", "-show_entries", "stream=codec_name,duration", "-of", "csv=p=0"]
        assert output_of(*command, shown) == b"flac,2.000000\n"


def _flac(where: Path) -> None:
    """Two seconds of noise."""
    with wave.open(str(where.with_suffix(".wav")), "wb") as out:
        out.setparams((2, 2, 44100, 0, "NONE", ""))
        out.writeframes(_noise(2 * 4 * 44100))
    output_of("flac", "-s", "--delete-input-file", "-o", where, where.with_suffix(".wav"))


def test_a_large_file_is_read_completely_by_several_readers_at_once(place: Path, library: Library) -> None:
    with ThreadPoolExecutor(4) as pool:
        paths = [library.view / "files/x/large"] * 4
        digests = list(pool.map(lambda path: output_of("sha256sum", path).split()[0], paths))
    assert digests == [hashlib.sha256(_noise(SIZES["large"])).hexdigest().encode()] * 4


def _cached_edges(path: Path) -> list[int]:
    """Have parts of a file in the page cache; returns the offsets at which the cached parts end."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        for start in range(0, os.fstat(fd).st_size, 3 << 20):
            os.pread(fd, 1, start + (1 << 20))
        inside = [_is_cached(fd, start) for start in range(0, os.fstat(fd).st_size, 4096)]
    finally:
        os.close(fd)
    return [page * 4096 for page in range(1, len(inside)) if inside[page - 1] and not inside[page]]


def _is_cached(fd: int, start: int) -> bool:
    try:
        return os.preadv(fd, [bytearray(1)], start, os.RWF_NOWAIT) == 1
    except BlockingIOError:
        return False


def test_reads_across_the_edge_of_a_cached_part_are_not_short(place: Path, library: Library) -> None:
    content = _noise(SIZES["partly cached"])
    edges = _cached_edges(library.high / "files/x/partly cached")
    if not edges:
        pytest.skip(f"the filesystem under {place.parent} keeps whole files in memory")
    fd = os.open(library.view / "files/x/partly cached", os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # or the kernel sends aligned reads, none across an edge
        for edge in edges:
            start = max(0, edge - 40_000)
            assert os.pread(fd, 200_000, start) == content[start : start + 200_000]
    finally:
        os.close(fd)
    assert (library.view / "files/x/partly cached").read_bytes() == content


def test_random_reads_and_reads_around_the_end_return_the_right_bytes(place: Path, library: Library) -> None:
    content, chance = _noise(SIZES["random"]), random.Random(2)
    fd = os.open(library.view / "files/x/random", os.O_RDONLY)
    try:
        starts = [chance.randrange(len(content)) for _ in range(300)] + [len(content) - 1, len(content), 1 << 40]
        for start in starts:
            size = chance.choice([1, 100, 4096, 70_000, 1 << 20])
            assert os.pread(fd, size, start) == content[start : start + size]
    finally:
        os.close(fd)


def test_a_file_can_be_mapped_into_memory(place: Path, library: Library) -> None:
    content = _noise(SIZES["mapped"])
    with open(library.view / "files/x/mapped", "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    with mapped:
        assert mapped[2_999_990:] == content[2_999_990:]
        assert mapped[:] == content


def test_a_sparse_file_keeps_its_size_and_reads_as_zeros(place: Path, library: Library) -> None:
    shown = library.view / "files/x/sparse"
    assert (shown.stat().st_size, shown.stat().st_blocks < 1000) == (6 << 30, True)
    with open(shown, "rb") as file:
        file.seek((5 << 30) - 10)
        assert file.read(26) == b"\0" * 10 + b"island" + b"\0" * 10
        file.seek(-5, os.SEEK_END)
        assert file.read() == b"\0" * 5


@pytest.mark.parametrize("where", ["many", "artist/many"], ids=["a merged directory", "a folder"])
def test_a_directory_of_five_thousand_files_lists_every_name_once(place: Path, library: Library, where: str) -> None:
    listed = os.listdir(library.view / where)
    assert [name for name in listed if name.isdigit()] == [f"{number:05}" for number in range(MANY)]
    assert len(listed) == len(os.listdir(library.high / where)) + (where == "many")  # low's "other"
    found = output_of("find", library.view / where, "-maxdepth", "1", "-name", "[0-9]" * 5)
    assert found.count(b"\n") == MANY


def test_a_directory_can_be_read_again_after_a_rewind(place: Path, library: Library) -> None:
    fd = os.open(library.view / "artist/album", os.O_RDONLY | os.O_DIRECTORY)
    try:
        expected = sorted(os.listdir(library.high / "artist/album"), key=os.fsencode)
        assert os.listdir(fd) == os.listdir(fd) == expected
    finally:
        os.close(fd)
