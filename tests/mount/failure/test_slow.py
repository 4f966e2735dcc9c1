"""A source on a slow link is read ahead of whoever reads in order, so that the link is kept busy; within bounds."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.hanging import Hanging, hanging
from tests.support.mounts import View, mounted
from tests.support.polling import poll
from tests.support.trees import grow
from tests.support.users import needs_root

pytestmark = needs_root

DELAY = 0.06
"""Seconds for each read of the source, as over a long line."""
AHEAD = 4 << 20
"""Bytes: how far ahead is read at the most."""
PIECE = 128 << 10
"""Bytes: the most that the source's own mount asks for in one read."""
SIZE = 20 << 20
STREAM = bytes(range(256)) * (SIZE // 256)


@contextmanager
def slow_view(place: Path) -> Iterator[tuple[Hanging, View]]:
    """A view of a slow source, with a large file, and another source."""
    under = grow(place / "under", {b"A": {b"large": STREAM}})
    fast = grow(place / "fast", {b"B": {b"track": b"f"}})
    with hanging(under, place / "slow", delay=DELAY) as source, mounted(place / "view", place / "slow", fast) as view:
        yield source, view


def resident(pid: int) -> int:
    """Bytes of memory that a process has for itself."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("RssAnon"))


def test_a_stream_from_a_slow_source_comes_four_times_as_fast_as_its_reads_one_by_one(place: Path) -> None:
    with slow_view(place) as (source, view):
        before = resident(view.pid)
        with open(view.mountpoint / "A/large", "rb", buffering=0) as file:
            got = b"".join(iter(lambda: file.read(PIECE), b""))
        assert got == STREAM
        assert source.figures.mean >= 4, "reads under way at a time, all the time: that much faster than one by one"
        assert source.figures.begun < 1.5 * SIZE / PIECE, "next to nothing is read twice, also when pages are short"
        assert resident(view.pid) - before < 32 << 20


def test_what_is_read_ahead_of_a_stream_is_bounded(place: Path) -> None:
    with slow_view(place) as (source, view), open(view.mountpoint / "A/large", "rb", buffering=0) as file:
        position = 12 << 20
        assert b"".join(file.read(PIECE) for _ in range(position // PIECE)) == STREAM[:position]

        def asked() -> int:
            return source.figures.begun * PIECE - position

        poll(lambda: asked() > 1 << 20 and source.figures.now == 0, "what is asked ahead, and nothing more asked for")
        assert asked() <= AHEAD + (4 << 20), "what was asked ahead, here and by the kernel for the view"


def test_who_reads_the_start_or_here_and_there_is_not_read_ahead_for(place: Path) -> None:
    with slow_view(place) as (source, view):
        fd = os.open(view.mountpoint / "A/large", os.O_RDONLY)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
            for offset in (0, 4096, 19 << 20, 9 << 20, 15 << 20):
                assert os.pread(fd, 4096, offset) == STREAM[offset : offset + 4096]
        finally:
            os.close(fd)
        assert source.figures.begun <= 8
