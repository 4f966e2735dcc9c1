"""Real programs that read, list and compare find in a folder of the view exactly what its winner holds."""

import hashlib
import mmap
import os
import random
import wave
from concurrent.futures import ThreadPoolExecutor
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


def _sources(place: Path) -> tuple[Path, Path]:
    """An artist that both have, with an album that both have, and what must not show through."""
    high = grow(place / "high", {b"artist": {b"album": ALBUM}})
    low = grow(place / "low", {b"artist": {b"album": {b"not this": b""}, b"other": ALBUM}, b"zz": {b"album": ALBUM}})
    os.chmod(high / "artist/album/scans", 0o750)
    os.utime(high / "artist/album/scans", ns=(1, 987_654_321_012_345_678))
    return high, low


COMPARE = [
    ("diff -r --no-dereference", ["diff", "-r", "--no-dereference", "TRUE/", "SHOWN/"]),
    ("rsync to the view", ["rsync", "-anc", "--delete", "--itemize-changes", "TRUE/", "SHOWN/"]),
    ("rsync from the view", ["rsync", "-anc", "--delete", "--itemize-changes", "SHOWN/", "TRUE/"]),
]


@pytest.mark.parametrize("command", [command for _, command in COMPARE], ids=[name for name, _ in COMPARE])
def test_comparing_programs_see_no_difference_between_a_folder_and_its_winner(place: Path, command: list[str]) -> None:
    high, low = _sources(place)
    with mounted(place / "view", high, low, depth=2) as view:
        for true, folder in ((high, "artist/album"), (low, "artist/other"), (low, "zz/album")):
            paths = {"TRUE/": f"{true / folder}/", "SHOWN/": f"{view.mountpoint / folder}/"}
            assert output_of(*[paths.get(word, word) for word in command]) == b""


def test_tar_finds_in_the_view_what_it_packed_from_the_winner(place: Path) -> None:
    high, low = _sources(place)
    output_of("tar", "-C", high, "-cf", place / "packed.tar", "artist/album")
    with mounted(place / "view", high, low, depth=2) as view:
        assert output_of("tar", "-C", view.mountpoint, "-df", place / "packed.tar") == b""


def test_cp_copies_a_folder_whole(place: Path) -> None:
    high, low = _sources(place)
    with mounted(place / "view", high, low, depth=2) as view:
        output_of("cp", "-a", view.mountpoint / "artist/album", place / "copy")
        assert output_of("diff", "-r", "--no-dereference", high / "artist/album", place / "copy") == b""


def test_find_finds_the_same_with_and_without_counting_links(place: Path) -> None:
    with mounted(place / "view", *_sources(place), depth=2) as view:
        listed = sorted(output_of("find", view.mountpoint, "-print0").split(b"\0"))
        assert listed == sorted(output_of("find", view.mountpoint, "-noleaf", "-print0").split(b"\0"))
        assert os.fsencode(view.mountpoint / "zz/album/scans/deep/er/est") in listed
        assert output_of("find", view.mountpoint, "-type", "d", "-name", "er").count(b"\n") == 3


def _flac(where: Path) -> None:
    """Two seconds of noise."""
    with wave.open(str(where.with_suffix(".wav")), "wb") as out:
        out.setparams((2, 2, 44100, 0, "NONE", ""))
        out.writeframes(random.Random(1).randbytes(2 * 4 * 44100))
    output_of("flac", "-s", "--delete-input-file", "-o", where, where.with_suffix(".wav"))


def test_flac_decodes_what_it_encoded_and_ffprobe_names_it(place: Path) -> None:
    high, low = _sources(place)
    _flac(high / "artist/album/noise.flac")
    with mounted(place / "view", high, low, depth=2) as view:
        shown = view.mountpoint / "artist/album/noise.flac"
        assert run("flac", "-t", "-s", "-w", shown).returncode == 0
        command = ["ffprobe", "-v", "error", "-show_entries", "stream=codec_name,duration", "-of", "csv=p=0"]
        assert output_of(*command, shown) == b"flac,2.000000\n"


def _noise(where: Path, size: int) -> bytes:
    content = random.Random(size).randbytes(size)
    where.write_bytes(content)
    return content


def test_a_large_file_is_read_whole_also_by_several_at_once(place: Path) -> None:
    high, low = _sources(place)
    content = _noise(high / "artist/album/large", (48 << 20) + 4321)
    with mounted(place / "view", high, low, depth=2) as view, ThreadPoolExecutor(4) as pool:
        paths = [view.mountpoint / "artist/album/large"] * 4
        digests = list(pool.map(lambda path: output_of("sha256sum", path).split()[0], paths))
        assert digests == [hashlib.sha256(content).hexdigest().encode()] * 4


def _edges_of_memory(path: Path) -> list[int]:
    """Let a file be in memory in part only; returns the offsets at which what is in memory ends."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        for start in range(0, os.fstat(fd).st_size, 3 << 20):
            os.pread(fd, 1, start + (1 << 20))
        inside = [_is_in_memory(fd, start) for start in range(0, os.fstat(fd).st_size, 4096)]
    finally:
        os.close(fd)
    return [page * 4096 for page in range(1, len(inside)) if inside[page - 1] and not inside[page]]


def _is_in_memory(fd: int, start: int) -> bool:
    try:
        return os.preadv(fd, [bytearray(1)], start, os.RWF_NOWAIT) == 1
    except BlockingIOError:
        return False


def test_a_file_that_is_in_memory_only_in_part_is_not_cut_there(place: Path) -> None:
    high, low = _sources(place)
    content = _noise(high / "artist/album/large", 16 << 20)
    with mounted(place / "view", high, low, depth=2) as view:
        edges = _edges_of_memory(high / "artist/album/large")
        if not edges:
            pytest.skip(f"the filesystem under {place.parent} keeps whole files in memory")
        fd = os.open(view.mountpoint / "artist/album/large", os.O_RDONLY)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # or the kernel asks for aligned pieces, none over an edge
            for edge in edges:
                start = max(0, edge - 40_000)
                assert os.pread(fd, 200_000, start) == content[start : start + 200_000]
        finally:
            os.close(fd)
        assert (view.mountpoint / "artist/album/large").read_bytes() == content


def test_random_reads_and_reads_around_the_end_give_the_right_bytes(place: Path) -> None:
    high, low = _sources(place)
    content = _noise(high / "artist/album/large", (3 << 20) + 17)
    chance = random.Random(2)
    with mounted(place / "view", high, low, depth=2) as view:
        fd = os.open(view.mountpoint / "artist/album/large", os.O_RDONLY)
        try:
            starts = [chance.randrange(len(content)) for _ in range(300)] + [len(content) - 1, len(content), 1 << 40]
            for start in starts:
                size = chance.choice([1, 100, 4096, 70_000, 1 << 20])
                assert os.pread(fd, size, start) == content[start : start + size]
        finally:
            os.close(fd)


def test_a_file_can_be_mapped_into_memory(place: Path) -> None:
    high, low = _sources(place)
    content = _noise(high / "artist/album/large", 3_000_001)
    with mounted(place / "view", high, low, depth=2) as view:
        with open(view.mountpoint / "artist/album/large", "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        with mapped:
            assert mapped[2_999_990:] == content[2_999_990:]
            assert mapped[:] == content


def test_a_sparse_file_keeps_its_size_and_reads_as_zeros(place: Path) -> None:
    high, low = _sources(place)
    with open(high / "artist/album/sparse", "wb") as file:
        file.seek(5 << 30)
        file.write(b"island")
        file.truncate(6 << 30)
    with mounted(place / "view", high, low, depth=2) as view:
        shown = view.mountpoint / "artist/album/sparse"
        assert (shown.stat().st_size, shown.stat().st_blocks < 1000) == (6 << 30, True)
        with open(shown, "rb") as file:
            file.seek((5 << 30) - 10)
            assert file.read(26) == b"\0" * 10 + b"island" + b"\0" * 10
            file.seek(-5, os.SEEK_END)
            assert file.read() == b"\0" * 5


@pytest.mark.parametrize("where", ["artist", "artist/album"], ids=["a merged directory", "a folder"])
def test_a_directory_of_twenty_thousand_lists_every_name_once(place: Path, where: str) -> None:
    high, low = _sources(place)
    grow(high / where, {b"%05d" % number: b"" for number in range(20_000)})
    with mounted(place / "view", high, low, depth=2) as view:
        listed = os.listdir(view.mountpoint / where)
        assert [name for name in listed if name.isdigit()] == [f"{number:05}" for number in range(20_000)]
        assert len(listed) == len(os.listdir(high / where)) + (where == "artist")  # low's "other"
        found = output_of("find", view.mountpoint / where, "-maxdepth", "1", "-name", "[0-9]" * 5)
        assert found.count(b"\n") == 20_000


def test_a_directory_can_be_read_again_from_its_beginning(place: Path) -> None:
    high, low = _sources(place)
    with mounted(place / "view", high, low, depth=2) as view:
        fd = os.open(view.mountpoint / "artist/album", os.O_RDONLY | os.O_DIRECTORY)
        try:
            assert os.listdir(fd) == os.listdir(fd) == sorted(os.listdir(high / "artist/album"), key=os.fsencode)
        finally:
            os.close(fd)
