"""Costs of an idle view, and of a flood of changes in one directory.

The sources are on a filesystem of their own, so that other tests cause no events.
"""

import contextlib
import ctypes
import os
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.fresh import observer, shows
from tests.support.held import crawled
from tests.support.mounts import View, mounted
from tests.support.plugs import plugged
from tests.support.polling import holds
from tests.support.tracing import traced
from tests.support.trees import Tree, grow
from tests.support.users import needs_root
from tests.support.watched import HOURLY

pytestmark = [pytest.mark.waits, pytest.mark.mount(seconds=120), needs_root]

ALBUMS: Tree = {b"%02d" % album: {b"1": b"track", b"sub": {b"2": b"track"}} for album in range(10)}
IDLE = 8.0
"""Seconds of observation."""
WAKES = 2.0
"""Wakeups per second."""
FILES = 10_000
LISTINGS = 60
"""The most listings of an album into which FILES files are copied."""
SLOWEST = 1.0
"""Seconds that a read elsewhere may take meanwhile."""


@pytest.fixture
def sources(place: Path) -> Iterator[list[Path]]:
    """Two sources on one tmpfs."""
    with plugged(place / "disk", "tmpfs", {}) as disk:
        yield [grow(disk.where / name, {b"A": ALBUMS, b"B": ALBUMS}) for name in ("high", "low")]


def wakes(view: View) -> int:
    """Voluntary context switches of all threads of the daemon so far."""
    total = 0
    for task in Path(f"/proc/{view.pid}/task").iterdir():
        lines = (task / "status").read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
    return total


def test_an_idle_view_makes_no_call_into_cached_directories(place: Path, sources: list[Path]) -> None:
    """With ``--skip-empty`` and without, at the same time. The timer runs four times."""
    (sources[0] / "A/00/1").unlink()
    grow(sources[0] / "A/empty", {})
    with contextlib.ExitStack() as stack:
        traces = []
        for name, options in (("view", []), ("other", ["--skip-empty"])):
            view = stack.enter_context(
                mounted(place / name, *sources, depth=2, options=[f"--refresh={IDLE / 4:g}", *options])
            )
            crawled(view)
            traces.append(stack.enter_context(traced(view.pid, view.mountpoint, sources[0].parent)).record)
        before = [record.stat().st_size for record in traces]
        assert not holds(lambda: False, IDLE)
        seen = [record.read_bytes()[at:].decode("latin-1") for record, at in zip(traces, before, strict=True)]
    inside = ["".join(f"\\x{byte:02x}" for byte in os.fsencode(f"{source}/")) for source in sources]
    for text, name in zip(seen, ("folders as they are", "without empty ones"), strict=True):
        assert not [line for line in text.splitlines() if any(path in line for path in inside)], name
        assert "".join(f"\\x{byte:02x}" for byte in os.fsencode(sources[0])) in text, f"{name}: the roots are scanned"


@pytest.mark.alone
def test_an_idle_daemon_wakes_at_most_twice_a_second(place: Path, sources: list[Path]) -> None:
    """Mounts of other tests wake everything that polls the mount table, so the quietest interval counts."""
    with mounted(place / "view", *sources, depth=2, options=["--refresh=2"]) as view:
        crawled(view)
        found: list[float] = []

        def rests() -> bool:
            before, began = wakes(view), time.monotonic()
            holds(lambda: False, IDLE)
            found.append((wakes(view) - before) / (time.monotonic() - began))
            return found[-1] <= WAKES

        assert holds(rests, 5 * IDLE), found


@pytest.mark.alone
def test_ten_thousand_new_files_cause_few_listings_and_delay_no_reader(place: Path, sources: list[Path]) -> None:
    """Each listing ends with a close, which the test counts with inotify(7)."""
    album, slowest = sources[0] / "A/00", 0.0
    with mounted(place / "view", *sources, depth=2, options=[HOURLY]) as view, observer() as eyes:
        crawled(view)
        assert not eyes.differences(view.mountpoint, sources, 2)
        with closings(album) as count:
            for number in range(FILES):
                (album / f"copied {number}").write_bytes(b"x")
                if number % 100 == 0:
                    began = time.monotonic()
                    assert eyes.read(view.mountpoint / "B/03/1") == b"track"
                    slowest = max(slowest, time.monotonic() - began)
            shows(lambda: len(eyes.names(view.mountpoint / "A/00")) == FILES + 2, "all that was copied")
            listings = count()
    assert 0 < listings <= LISTINGS
    assert slowest < SLOWEST


@contextlib.contextmanager
def closings(directory: Path) -> Iterator[Callable[[], int]]:
    """Count the closes of a directory in the block (IN_CLOSE_NOWRITE without a name)."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert libc.inotify_add_watch(fd, os.fsencode(directory), 0x10) > 0
    try:
        yield lambda: _closed(fd)
    finally:
        os.close(fd)


def _closed(fd: int) -> int:
    data, found = os.read(fd, 1 << 20), 0
    while data:
        _, mask, _, size = struct.unpack_from("=iIII", data)
        found += size == 0 and bool(mask & 0x10)
        data = data[16 + size :]
    return found
