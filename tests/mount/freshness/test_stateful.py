"""Random changes: after each burst a live view equals the model, and open files keep their contents.

Sequences are reproducible: a failure names the seed and the last steps. MMIRRORFS_SEEDS in the environment is the
number of seeds.
"""

import os
import random
import stat
from pathlib import Path

import pytest

from tests.support.fresh import MARGIN, Observer, observer
from tests.support.model import predict
from tests.support.mounts import mounted
from tests.support.mutator import Mutator
from tests.support.polling import holds
from tests.support.watched import HOURLY

SEEDS = range(1, 1 + int(os.environ.get("MMIRRORFS_SEEDS", "4")))
SKIP = "--skip-empty"
OPTIONS = {
    "by the timer": ["--refresh=0.2"],
    "by what is reported": [HOURLY],
    "by polling, without empty folders": ["--refresh=0.2", "--watch=off", SKIP],
    "by what is reported, without empty folders": [HOURLY, SKIP],
}
STEPS = 60
"""Bursts of changes in a sequence."""
AT_ONCE = 4
"""The most changes in a burst."""
OPEN = 6
"""Files that are kept open."""


class Held:
    """Files that are open both through the view and in their source, and must have the same contents."""

    def __init__(self, eyes: Observer) -> None:
        self._eyes = eyes
        self._files: list[tuple[int, int, Path]] = []

    def open(self, view: Path, order: list[Path], depth: int, chance: random.Random, skip_empty: bool) -> None:
        """Open one more file, and close the oldest beyond OPEN."""
        shown = predict([os.fsencode(source) for source in order], depth, skip_empty)
        files = sorted(path for path, what in shown.items() if what.shown.kind == stat.S_IFREG)
        if files:
            path = chance.choice(files)
            there = view / os.fsdecode(path)
            self._files.append((self._eyes.open(there), os.open(shown[path].winner, os.O_RDONLY), there))
        while len(self._files) > OPEN:
            self.close(0)

    def close(self, number: int) -> None:
        """Close one of them."""
        here, there, _ = self._files.pop(number)
        self._eyes.close(here)
        os.close(there)

    def differing(self) -> list[Path]:
        """The files whose contents differ."""
        return [path for here, there, path in self._files if self._eyes.pread(here) != os.pread(there, 1 << 20, 0)]

    def close_all(self) -> None:
        """Close all of them."""
        while self._files:
            self.close(0)


@pytest.mark.slow
@pytest.mark.mount(seconds=120)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_view_equals_the_model_after_any_sequence_of_changes(place: Path, seed: int, options: list[str]) -> None:
    depth = 1 + seed % 3
    sources = [place / name for name in ("one", "two", "three")]
    for source in sources:
        source.mkdir()
    mutator, chance = Mutator([bytes(source) for source in sources], seed), random.Random(seed)
    view, done, skip_empty = place / "view", list[str](), SKIP in options
    for _ in range(100):
        mutator.step()
    with observer() as eyes, mounted(view, *sources, depth=depth, options=options):
        held = Held(eyes)

        def settled() -> bool:
            return not eyes.differences(view, sources, depth, skip_empty) and not held.differing()

        for number in range(STEPS):
            done += [mutator.step() for _ in range(chance.randint(1, AT_ONCE))]
            if not holds(settled, MARGIN):
                wrong = eyes.differences(view, sources, depth, skip_empty), held.differing()
                raise AssertionError(f"seed {seed}, step {number}: {wrong}\nafter: {done[-8:]}")
            held.open(view, sources, depth, chance, skip_empty)
        held.close_all()
