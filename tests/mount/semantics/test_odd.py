"""Files that are odd, or become so while somebody reads them: each gives what the directory beside it gives."""

import errno
import mmap
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fresh import MARGIN, PROMISE, REFRESH, observer, shows
from tests.support.mounts import mounted
from tests.support.trees import Tree, folders, grow
from tests.support.users import need

LARGE = b"".join(b"%07d\n" % number for number in range(1 << 19))
"""4 MiB of which every 8 bytes say where they are."""
TREE: Tree = {b"loose": LARGE, b"A": {b"file": LARGE, b"sub": {b"file": LARGE}}}
PLACES = ("loose", "A/file")
"""In a merged directory, and in a folder."""
TEBI = 1 << 40


@pytest.mark.parametrize("name", PLACES)
def test_a_sparse_tebibyte_reads_as_it_does_in_the_source(place: Path, name: str) -> None:
    high, low = grow(place / "high", TREE), grow(place / "low", folders("l", "B"))
    with open(high / name, "r+b") as file:
        for start in (1 << 33, TEBI // 2 + 123, TEBI - 5):
            file.seek(start)
            file.write(b"land")
        file.truncate(TEBI)
    with mounted(place / "view", high, low) as view:
        here, there = os.open(view.mountpoint / name, os.O_RDONLY), os.open(high / name, os.O_RDONLY)
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
def test_what_is_appended_is_followed_without_a_byte_lost_or_twice(place: Path, name: str) -> None:
    high, low = grow(place / "high", TREE), grow(place / "low", folders("l", "B"))
    with mounted(place / "view", high, low, options=[REFRESH]) as view, open(place / "followed", "w+b") as followed:
        path = place / "followed"
        words = [need("tail"), "-c", "+1", "-f", "-s", "0.1", str(view.mountpoint / name)]
        tail = subprocess.Popen(words, stdout=followed, stderr=subprocess.STDOUT)
        try:
            shows(lambda: path.stat().st_size == len(LARGE), "what was there")
            for number in range(1, 4):
                with open(high / name, "ab") as file:
                    for piece in (b"x", b"y" * 5000, b"z\n"):
                        file.write(piece)
                        file.flush()
                shows(lambda number=number: path.stat().st_size == len(LARGE) + 5003 * number, "the end")  # type: ignore[misc]
        finally:
            tail.kill()
            tail.wait()
        assert path.read_bytes() == LARGE + (b"x" + b"y" * 5000 + b"z\n") * 3


# Cut off, taken away, replaced


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
"""Maps a file and looks at its last byte again and again; past the end of the file that is answered with SIGBUS."""


@pytest.mark.parametrize("name", PLACES)
def test_whoever_maps_a_file_that_is_cut_off_gets_a_bus_error_as_on_the_disk(place: Path, name: str) -> None:
    high, low = grow(place / "high", TREE), grow(place / "low", folders("l", "B"))
    with mounted(place / "view", high, low, options=[REFRESH]) as view:
        ended = []
        for top in (high, view.mountpoint):
            (high / name).write_bytes(LARGE)
            shows(lambda top=top: (top / name).read_bytes() == LARGE, "the file, whole")  # type: ignore[misc]
            words = [sys.executable, "-c", MAPPER, str(top / name), str(PROMISE + MARGIN)]
            mapper = subprocess.Popen(words, stdout=subprocess.PIPE)
            try:
                assert mapper.stdout is not None
                assert mapper.stdout.readline()
                os.truncate(high / name, 5000)
                ended.append(mapper.wait(PROMISE + MARGIN + 5))
            finally:
                mapper.kill()
                mapper.communicate()
        assert ended == [-signal.SIGBUS] * 2
        assert (view.mountpoint / name).read_bytes() == LARGE[:5000], "the view goes on"


@pytest.mark.parametrize("name", PLACES)
def test_whoever_reads_a_file_that_is_cut_off_gets_its_bytes_and_then_the_end(place: Path, name: str) -> None:
    high, low = grow(place / "high", TREE), grow(place / "low", folders("l", "B"))
    with mounted(place / "view", high, low, options=[REFRESH]) as view, observer() as eyes:
        with open(view.mountpoint / name, "rb", buffering=0) as file:
            got = file.read(64 << 10) or b""
            os.truncate(high / name, 100_000)
            while more := file.read(64 << 10):
                got += more
        assert LARGE.startswith(got.rstrip(b"\0")), "nothing that was never there"
        assert len(got) >= 100_000
        fd = eyes.open(view.mountpoint / name)
        shows(lambda: eyes.fstat(fd).st_size == 100_000, "the new size")
        assert eyes.pread(fd, offset=90_000) == LARGE[90_000:100_000]
        assert eyes.pread(fd, offset=100_000) == b""


@pytest.mark.parametrize("name", PLACES)
def test_a_file_replaced_while_it_is_read_is_read_to_its_own_end(place: Path, name: str) -> None:
    high, low, other = grow(place / "high", TREE), grow(place / "low", folders("l", "B")), LARGE[::-1] * 2
    with mounted(place / "view", high, low, options=[REFRESH]) as view, observer() as eyes:
        fd = eyes.open(view.mountpoint / name)
        assert eyes.pread(fd, 1000) == LARGE[:1000]
        (place / "high/new").write_bytes(other)
        (place / "high/new").rename(high / name)
        shows(lambda: eyes.read(view.mountpoint / name) == other, "the new file, for whoever opens now")
        assert b"".join(eyes.pread(fd, 1 << 20, start) for start in range(0, 2 * len(LARGE), 1 << 20)) == LARGE
        assert eyes.fstat(fd).st_size == len(LARGE)


@pytest.mark.parametrize("name", PLACES)
def test_a_file_without_a_name_is_there_for_whoever_has_it_open(place: Path, name: str) -> None:
    high, low = grow(place / "high", TREE), grow(place / "low", folders("l", "B"))
    with (
        mounted(place / "view", high, low, options=[REFRESH]) as view,
        open(view.mountpoint / name, "rb", buffering=0) as file,
    ):
        (high / name).unlink()
        shows(lambda: not (view.mountpoint / name).exists(), "the removal")
        shows(lambda: os.fstat(file.fileno()).st_nlink == 0, "no links")
        assert b"".join(iter(lambda: file.read(1 << 20), b"")) == LARGE
        with pytest.raises(OSError, match=r"\[Errno") as caught:
            os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDONLY)
        assert caught.value.errno in (errno.ENOENT, errno.ESTALE), "what has no name cannot be opened anew"
        assert os.pread(file.fileno(), 8, 8) == LARGE[8:16]
