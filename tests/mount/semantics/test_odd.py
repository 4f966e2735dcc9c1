"""Sparse files, and files that are extended, truncated, replaced or removed while read, behave as in the source."""

import errno
import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.fresh import MARGIN, MAX_STALENESS, REFRESH, Observer, observer, shows
from tests.support.mounts import mounted
from tests.support.trees import Tree, folders, grow
from tests.support.users import need

LARGE = b"".join(b"%07d\n" % number for number in range(1 << 19))
"""4 MiB of which each 8 bytes hold their position."""
CASES = ("sparse", "appended", "mapped", "truncated", "replaced", "removed")
"""The tests: each has files of its own."""
TREE: Tree = {
    **{f"loose {case}".encode(): LARGE for case in CASES},
    b"A": {case.encode(): LARGE for case in CASES},
}
PLACES = ("loose {}", "A/{}")
"""In a merged directory, and in a folder."""
TEBI = 1 << 40


@dataclass(frozen=True, slots=True)
class Shared:
    """A view, its preferred source, and another process that reads."""

    view: Path
    high: Path
    eyes: Observer


@pytest.fixture(scope="module")
def shared(shared_place: Path) -> Iterator[Shared]:
    """One for all tests."""
    high, low = grow(shared_place / "high", TREE), grow(shared_place / "low", folders("l", "B"))
    for name in PLACES:
        with open(high / name.format("sparse"), "r+b") as file:
            for start in (1 << 33, TEBI // 2 + 123, TEBI - 5):
                file.seek(start)
                file.write(b"land")
            file.truncate(TEBI)
    with mounted(shared_place / "view", high, low, options=[REFRESH]) as view, observer() as eyes:
        yield Shared(view.mountpoint, high, eyes)


@pytest.mark.parametrize("name", PLACES)
def test_a_sparse_tebibyte_reads_as_in_the_source(place: Path, shared: Shared, name: str) -> None:
    name = name.format("sparse")
    here, there = os.open(shared.view / name, os.O_RDONLY), os.open(shared.high / name, os.O_RDONLY)
    try:
        shown, true = os.fstat(here), os.fstat(there)
        assert (shown.st_size, shown.st_blocks) == (TEBI, true.st_blocks)
        for start in (0, len(LARGE) - 9, 1 << 32, (1 << 33) - 50, TEBI // 2, TEBI - 100, TEBI - 1, TEBI, TEBI + 9):
            assert os.pread(here, 200_000, start) == os.pread(there, 200_000, start), start
        assert os.lseek(here, 0, os.SEEK_END) == TEBI
        with mmap.mmap(here, 8192, mmap.MAP_SHARED, mmap.PROT_READ, offset=TEBI - 8192) as mapped:
            assert mapped[:] == b"\0" * 8187 + b"land\0"
    finally:
        os.close(here)
        os.close(there)


@pytest.mark.parametrize("name", PLACES)
def test_tail_follows_appended_bytes_without_loss_or_repetition(place: Path, shared: Shared, name: str) -> None:
    name, path = name.format("appended"), place / "followed"
    words = [need("tail"), "-c", "+1", "-f", "-s", "0.1", str(shared.view / name)]
    with open(path, "w+b") as followed:
        tail = subprocess.Popen(words, stdout=followed, stderr=subprocess.STDOUT)
        try:
            shows(lambda: path.stat().st_size == len(LARGE), "the initial content")
            for number in range(1, 4):
                with open(shared.high / name, "ab") as file:
                    for piece in (b"x", b"y" * 5000, b"z\n"):
                        file.write(piece)
                        file.flush()
                shows(lambda number=number: path.stat().st_size == len(LARGE) + 5003 * number, "the end")  # type: ignore[misc]
        finally:
            tail.kill()
            tail.wait()
        assert path.read_bytes() == LARGE + (b"x" + b"y" * 5000 + b"z\n") * 3


# Truncated, replaced, removed


MAPPER = """
import mmap, os, sys, time
with open(sys.argv[1], "rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ)
assert mapped[-8:] == b"0524287\\n"
print(mapped[:8], flush=True)
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    mapped[-1]
    time.sleep(0.02)
"""
"""Maps a file and reads its last byte again and again; past the end of the file that raises SIGBUS."""


@pytest.mark.parametrize("name", PLACES)
def test_reading_a_mapping_of_a_truncated_file_raises_sigbus_as_on_the_disk(
    place: Path, shared: Shared, name: str
) -> None:
    name, ended = name.format("mapped"), []
    for top in (shared.high, shared.view):
        (shared.high / name).write_bytes(LARGE)
        shows(lambda top=top: (top / name).read_bytes() == LARGE, "the whole file")  # type: ignore[misc]
        words = [sys.executable, "-c", MAPPER, str(top / name), str(MAX_STALENESS + MARGIN)]
        mapper = subprocess.Popen(words, stdout=subprocess.PIPE)
        try:
            assert mapper.stdout is not None
            assert mapper.stdout.readline()
            os.truncate(shared.high / name, 5000)
            ended.append(mapper.wait(MAX_STALENESS + MARGIN + 5))
        finally:
            mapper.kill()
            mapper.communicate()
    assert ended == [-signal.SIGBUS] * 2
    assert (shared.view / name).read_bytes() == LARGE[:5000], "the view goes on"


@pytest.mark.parametrize("name", PLACES)
def test_a_reader_of_a_truncated_file_gets_its_bytes_and_then_the_end(place: Path, shared: Shared, name: str) -> None:
    name, eyes = name.format("truncated"), shared.eyes
    with open(shared.view / name, "rb", buffering=0) as file:
        got = file.read(64 << 10) or b""
        os.truncate(shared.high / name, 100_000)
        while more := file.read(64 << 10):
            got += more
    assert LARGE.startswith(got.rstrip(b"\0")), "no bytes that the file never had"
    assert len(got) >= 100_000
    fd = eyes.open(shared.view / name)
    shows(lambda: eyes.fstat(fd).st_size == 100_000, "the new size")
    assert eyes.pread(fd, offset=90_000) == LARGE[90_000:100_000]
    assert eyes.pread(fd, offset=100_000) == b""


@pytest.mark.parametrize("name", PLACES)
def test_a_file_replaced_while_open_is_read_to_its_own_end(place: Path, shared: Shared, name: str) -> None:
    name, eyes, other = name.format("replaced"), shared.eyes, LARGE[::-1] * 2
    fd = eyes.open(shared.view / name)
    assert eyes.pread(fd, 1000) == LARGE[:1000]
    (shared.high / "new").write_bytes(other)
    (shared.high / "new").rename(shared.high / name)
    shows(lambda: eyes.read(shared.view / name) == other, "the new file for a new open")
    assert b"".join(eyes.pread(fd, 1 << 20, start) for start in range(0, 2 * len(LARGE), 1 << 20)) == LARGE
    assert eyes.fstat(fd).st_size == len(LARGE)


@pytest.mark.parametrize("name", PLACES)
def test_a_removed_file_can_be_read_by_processes_that_have_it_open(place: Path, shared: Shared, name: str) -> None:
    name = name.format("removed")
    with open(shared.view / name, "rb", buffering=0) as file:
        (shared.high / name).unlink()
        shows(lambda: not (shared.view / name).exists(), "the removal")
        shows(lambda: os.fstat(file.fileno()).st_nlink == 0, "no links")
        assert b"".join(iter(lambda: file.read(1 << 20), b"")) == LARGE
        with pytest.raises(OSError, match=r"\[Errno") as caught:
            os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDONLY)
        assert caught.value.errno in (errno.ENOENT, errno.ESTALE), "a file without a name cannot be opened again"
        assert os.pread(file.fileno(), 8, 8) == LARGE[8:16]
