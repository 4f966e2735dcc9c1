"""What costs nothing: a view that nobody uses, and a flood of changes in one place.

The sources are on a disk of their own: what others do on theirs is no business of these tests.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fresh import becomes, observer
from tests.support.held import crawled
from tests.support.mounts import View, mounted
from tests.support.plugs import plugged
from tests.support.polling import holds
from tests.support.tracing import traced
from tests.support.trees import Tree, grow
from tests.support.users import needs_root
from tests.support.watched import HOURLY

pytestmark = [pytest.mark.mount(seconds=120), needs_root]

ALBUMS: Tree = {b"%02d" % album: {b"1": b"track", b"sub": {b"2": b"track"}} for album in range(10)}
IDLE = 8.0
"""Seconds for which is looked on."""
WAKES = 2.0
"""A second."""
FILES = 10_000
LOOKS = 60
"""At an album that so many files are copied into."""


@pytest.fixture
def sources(place: Path) -> Iterator[list[Path]]:
    """Two of them, on one disk."""
    with plugged(place / "disk", "tmpfs", {}) as disk:
        yield [grow(disk.where / name, {b"A": ALBUMS, b"B": ALBUMS}) for name in ("high", "low")]


def wakes(view: View) -> int:
    """How often the daemon's threads went to sleep until now."""
    total = 0
    for task in Path(f"/proc/{view.pid}/task").iterdir():
        lines = (task / "status").read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
    return total


def test_nobody_is_asked_for_what_is_known_though_the_timer_runs(place: Path, sources: list[Path]) -> None:
    with mounted(place / "view", *sources, depth=2, options=["--refresh=2"]) as view:
        crawled(view)
        with traced(view.pid, view.mountpoint, sources[0].parent) as trace:
            before = trace.record.stat().st_size
            assert not holds(lambda: False, IDLE)
            seen = trace.record.read_bytes()[before:].decode("latin-1")
    inside = ["".join(f"\\x{byte:02x}" for byte in os.fsencode(f"{source}/")) for source in sources]
    assert not [line for line in seen.splitlines() if any(path in line for path in inside)]
    assert "".join(f"\\x{byte:02x}" for byte in os.fsencode(sources[0])) in seen, "the roots are asked after"


def test_it_hardly_wakes(place: Path, sources: list[Path]) -> None:
    """Others mount and unmount meanwhile, which wakes all who watch the mount table: the quietest time counts."""
    with mounted(place / "view", *sources, depth=2, options=["--refresh=2"]) as view:
        crawled(view)
        found: list[float] = []

        def rests() -> bool:
            before, began = wakes(view), time.monotonic()
            holds(lambda: False, IDLE)
            found.append((wakes(view) - before) / (time.monotonic() - began))
            return found[-1] <= WAKES

        assert holds(rests, 5 * IDLE), found


def test_ten_thousand_files_cost_a_few_looks_and_hold_nobody_up(place: Path, sources: list[Path]) -> None:
    album = sources[0] / "A/00"
    with mounted(place / "view", *sources, depth=2, options=[HOURLY]) as view, observer() as eyes:
        crawled(view)
        assert not eyes.differences(view.mountpoint, sources, 2)
        with traced(view.pid, view.mountpoint, sources[0].parent) as trace:
            before, slowest = trace.record.stat().st_size, 0.0
            for number in range(FILES):
                (album / f"{number}").write_bytes(b"x")
                if number % 100:
                    continue
                began = time.monotonic()
                assert eyes.read(view.mountpoint / "B/03/1") == b"track"
                slowest = max(slowest, time.monotonic() - began)
            becomes(eyes, view.mountpoint, sources, 2, "all that was copied")
            seen = trace.record.read_bytes()[before:].decode("latin-1")
    whole = "".join(f"\\x{byte:02x}" for byte in os.fsencode(album))
    looks = [line for line in seen.splitlines() if "openat2(" in line and f'{whole}"' in line and "O_DIRECTORY" in line]
    assert 0 < len(looks) <= LOOKS
    assert slowest < 1.0


def _copy(album: Path) -> None:
    for number in range(FILES):
        (album / f"{number}").write_bytes(b"x")
