"""Two views over sources that never rest: nothing but what a plain directory would do, and no trace of it afterwards.

MMIRRORFS_STRESS_SECONDS in the environment is how long it takes; 20 without.
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

SECONDS = float(os.environ.get("MMIRRORFS_STRESS_SECONDS", "20"))
DEPTH = 2
GROWTH = 16 << 20
"""Bytes that a process may have grown by since it was warm: what memory is lost to allocators."""


@contextlib.contextmanager
def program(*words: str | Path) -> Iterator["subprocess.Popen[str]"]:
    """A process of the mutator, ended with the block."""
    command = [sys.executable, "-m", "tests.support.mutator", *map(str, words)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def under_stress(seconds: float, seed: int, sources: list[Path], views: list[Path]) -> list[str]:
    """Two processes that change, four that read: what the readers met that they should not have."""
    with contextlib.ExitStack() as stack:
        words = [("change", seconds, number, *sources) for number in (seed, seed + 1)]
        changing = [stack.enter_context(program(*map(str, line))) for line in words]
        words = [("read", seconds, number, *views) for number in range(seed, seed + 4)]
        reading = [stack.enter_context(program(*map(str, line))) for line in words]
        said = [process.communicate(timeout=seconds + 30)[0] for process in reading]
        assert [process.wait(30) for process in changing] == [0, 0]
        return [line for process, line in zip(reading, said, strict=True) if process.returncode]


def check_nothing_is_left(view: View, before: int, warm: int) -> None:
    """Descriptors are as before, threads as few as ever, memory as when it was warm, and no inode is held in vain."""
    poll(lambda: status(view)["open_files"] == 0, "all files closed", MARGIN)
    poll(lambda: descriptors(view) <= before, f"{before} descriptors, not {descriptors(view)}", MARGIN)
    poll(lambda: threads(view) <= RESTING, f"{RESTING} threads, not {threads(view)}", IDLE)
    assert resident(view) < warm + GROWTH
    poll(lambda: held(view).inodes < 20, "inodes given back", MARGIN)


@pytest.mark.slow
@pytest.mark.mount(seconds=SECONDS + 90)
def test_two_views_of_sources_that_never_rest(place: Path) -> None:
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
            becomes(eyes, view.mountpoint, order, DEPTH, "when the sources rest")
        for view, _ in views:
            check_nothing_is_left(view, before[view.pid], warm[view.pid])
