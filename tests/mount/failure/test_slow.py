"""Sequential reads from a slow source are read ahead, within bounds, so that the link stays busy."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.hanging import Hanging, hanging
from tests.support.mounts import View, mounted
from tests.support.polling import holds, poll
from tests.support.trees import grow
from tests.support.users import needs_root

pytestmark = [pytest.mark.waits, needs_root]

DELAY = 0.06
"""Seconds of each read of the source, as on a link with high latency."""
AHEAD = 4 << 20
"""Longest readahead in bytes."""
PIECE = 128 << 10
"""Longest read in bytes that the source's own mount is asked for."""
SIZE = 20 << 20
STREAM = bytes(range(256)) * (SIZE // 256)


@contextmanager
def slow_view(place: Path) -> Iterator[tuple[Hanging, View]]:
    """A view of a slow source, which has a large file, and of another source."""
    under = grow(place / "under", {b"A": {b"large": STREAM}})
    fast = grow(place / "fast", {b"B": {b"track": b"f"}})
    with hanging(under, place / "slow", delay=DELAY) as source, mounted(place / "view", place / "slow", fast) as view:
        yield source, view


def resident(pid: int) -> int:
    """Anonymous memory of a process in bytes."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("RssAnon"))


def test_a_sequential_read_of_a_slow_source_keeps_four_reads_in_flight(place: Path) -> None:
    with slow_view(place) as (source, view):
        before = resident(view.pid)
        with open(view.mountpoint / "A/large", "rb", buffering=0) as file:
            got = b"".join(iter(lambda: file.read(PIECE), b""))
        assert got == STREAM
        assert source.figures.mean >= 4, "mean number of reads in flight: that much faster than one by one"
        assert source.figures.begun < 1.5 * SIZE / PIECE, "hardly anything is read twice"
        assert resident(view.pid) - before < 32 << 20


def test_the_readahead_of_a_stream_is_bounded(place: Path) -> None:
    with slow_view(place) as (source, view), open(view.mountpoint / "A/large", "rb", buffering=0) as file:
        position = 12 << 20
        assert b"".join(file.read(PIECE) for _ in range(position // PIECE)) == STREAM[:position]

        def is_done() -> bool:
            """Whether no read is in progress, and none begins. The kernel may drop readahead on a congested link."""
            begun = source.figures.begun
            return not holds(lambda: source.figures.begun != begun or source.figures.now, 3 * DELAY)

        poll(is_done, "the readahead done")
        ahead = source.figures.begun * PIECE - position
        assert ahead <= AHEAD + (4 << 20), "the daemon's readahead and the kernel's on the view"


def test_random_reads_are_not_read_ahead(place: Path) -> None:
    with slow_view(place) as (source, view):
        fd = os.open(view.mountpoint / "A/large", os.O_RDONLY)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
            for offset in (0, 4096, 19 << 20, 9 << 20, 15 << 20):
                assert os.pread(fd, 4096, offset) == STREAM[offset : offset + 4096]
        finally:
            os.close(fd)
        assert source.figures.begun <= 8
