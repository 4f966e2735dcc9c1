"""Two views of sources that change all the time behave like plain directories, and leak nothing.

MMIRRORFS_STRESS_SECONDS in the environment is the duration; the default is 12.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fresh import MARGIN, REFRESH, becomes, observer
from tests.support.held import IDLE, RESTING, at_rest, descriptors, held, resident, status, threads
from tests.support.mounts import View, mounted
from tests.support.mutator import Mutator
from tests.support.polling import poll

SECONDS = float(os.environ.get("MMIRRORFS_STRESS_SECONDS", "12"))
DEPTH = 2
GROWTH = 16 << 20
"""Bytes that a warm process may grow by: allocator fragmentation."""


@contextlib.contextmanager
def program(*words: str | Path) -> Iterator["subprocess.Popen[str]"]:
    """Run a mutator process during the block."""
    command = [sys.executable, "-m", "tests.support.mutator", *map(str, words)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def under_stress(seconds: float, seed: int, sources: list[Path], views: list[Path]) -> list[str]:
    """Run two processes that change the sources and four that read; returns the readers' unexpected errors."""
    with contextlib.ExitStack() as stack:
        words = [("change", seconds, number, *sources) for number in (seed, seed + 1)]
        changing = [stack.enter_context(program(*map(str, line))) for line in words]
        words = [("read", seconds, number, *views) for number in range(seed, seed + 4)]
        reading = [stack.enter_context(program(*map(str, line))) for line in words]
        said = [process.communicate(timeout=seconds + 30)[0] for process in reading]
        assert [process.wait(30) for process in changing] == [0, 0]
        return [line for process, line in zip(reading, said, strict=True) if process.returncode]


def check_no_leak(view: View, before: int, warm: int) -> None:
    """Descriptors, threads and memory are as before, and inodes are released."""
    poll(lambda: status(view)["open_files"] == 0, "all files closed", MARGIN)
    poll(lambda: descriptors(view) <= before, f"{before} descriptors, not {descriptors(view)}", MARGIN)
    poll(lambda: threads(view) <= RESTING, f"{RESTING} threads, not {threads(view)}", IDLE)
    assert resident(view) < warm + GROWTH
    poll(lambda: held(view).inodes < 20, "inodes released", MARGIN)


@pytest.mark.slow
@pytest.mark.mount(seconds=SECONDS + 90)
def test_two_views_stay_correct_and_leak_nothing_while_sources_change(place: Path) -> None:
    sources = [place / "high", place / "low"]
    for source in sources:
        source.mkdir()
    seed = Mutator([bytes(source) for source in sources], 1)
    for _ in range(300):
        seed.step()
    with (
        mounted(place / "best", *sources, depth=DEPTH, options=[REFRESH]) as best,
        mounted(place / "small", *sources, depth=DEPTH, options=[REFRESH], prefer="low") as small,
        observer() as eyes,
    ):
        views = [(best, sources), (small, sources[::-1])]
        before = {view.pid: at_rest(view).descriptors for view, _ in views}
        assert not under_stress(SECONDS / 4, 10, sources, [view.mountpoint for view, _ in views])
        warm = {view.pid: resident(view) for view, _ in views}
        assert not under_stress(SECONDS * 3 / 4, 20, sources, [view.mountpoint for view, _ in views])
        for view, order in views:
            becomes(eyes, view.mountpoint, order, DEPTH, "after the last change")
        for view, _ in views:
            check_no_leak(view, before[view.pid], warm[view.pid])
