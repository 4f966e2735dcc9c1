"""Random changes: after each burst a live view equals the model, and open files keep their contents.

Sequences are reproducible: a failure names the seed and the last steps. MMIRRORFS_SEEDS in the environment is the
number of seeds.
"""

import os
import random
import stat
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.fresh import MARGIN, Observer, observer
from tests.support.model import predict
from tests.support.mounts import mounted
from tests.support.mutator import Mutator
from tests.support.polling import holds
from tests.support.watched import HOURLY

SEEDS = range(1, 1 + int(os.environ.get("MMIRRORFS_SEEDS", "3")))
SKIP = "--skip-empty"
OPTIONS = {
    "by the timer": ["--refresh=0.1"],
    "by what is reported": [HOURLY],
    "by polling, without empty folders": ["--refresh=0.1", "--watch=off", SKIP],
    "by what is reported, without empty folders": [HOURLY, SKIP],
}
STEPS = 60
"""Bursts of changes in a sequence."""
AT_ONCE = 4
"""The most changes in a burst."""
OPEN = 6
"""Files that are kept open."""


class Checked:
    """A view, and files that are open both through it and in their source, and must have the same contents."""

    def __init__(
        self,
        name: str,
        eyes: Observer,
        view: Path,
        sources: list[Path],
        depth: int,
        skip_empty: bool,
        chance: random.Random,
    ) -> None:
        self._name = name
        self._eyes = eyes
        self._view = view
        self._sources = sources
        self._depth = depth
        self._skip_empty = skip_empty
        self._chance = chance
        self._files: list[tuple[int, int, Path]] = []

    def wrong(self) -> str:
        """Where the view differs from the model, and the open files whose contents differ."""
        return f"{self._name}: {self._differences()}, {self._differing()}"

    def is_settled(self) -> bool:
        """Whether nothing differs."""
        return not self._differences() and not self._differing()

    def _differences(self) -> list[str]:
        return self._eyes.differences(self._view, self._sources, self._depth, self._skip_empty)

    def _differing(self) -> list[Path]:
        return [path for here, there, path in self._files if self._eyes.pread(here) != os.pread(there, 1 << 20, 0)]

    def open(self) -> None:
        """Open one more file, and close the oldest beyond OPEN."""
        shown = predict([os.fsencode(source) for source in self._sources], self._depth, self._skip_empty)
        files = sorted(path for path, what in shown.items() if what.shown.kind == stat.S_IFREG)
        if files:
            path = self._chance.choice(files)
            there = self._view / os.fsdecode(path)
            self._files.append((self._eyes.open(there), os.open(shown[path].winner, os.O_RDONLY), there))
        while len(self._files) > OPEN:
            self._close(0)

    def _close(self, number: int) -> None:
        here, there, _ = self._files.pop(number)
        self._eyes.close(here)
        os.close(there)

    def close_all(self) -> None:
        """Close all files."""
        while self._files:
            self._close(0)


@pytest.mark.slow
@pytest.mark.mount(seconds=240)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_view_equals_the_model_after_any_sequence_of_changes(place: Path, seed: int) -> None:
    """All kinds of views watch the same changes at the same time."""
    depth = 1 + seed % 3
    sources = [place / name for name in ("one", "two", "three")]
    for source in sources:
        source.mkdir()
    mutator, done = Mutator([bytes(source) for source in sources], seed), list[str]()
    for _ in range(100):
        mutator.step()
    bursts = random.Random(seed)
    with observer() as eyes, ExitStack() as stack:
        checked = []
        for number, (name, options) in enumerate(OPTIONS.items()):
            view = place / f"view {number}"
            stack.enter_context(mounted(view, *sources, depth=depth, options=options))
            checked.append(Checked(name, eyes, view, sources, depth, SKIP in options, random.Random(seed)))
        for number in range(STEPS):
            done += [mutator.step() for _ in range(bursts.randint(1, AT_ONCE))]
            for one in checked:
                assert holds(one.is_settled, MARGIN), f"seed {seed}, step {number}: {one.wrong()}\nafter: {done[-8:]}"
                one.open()
        for one in checked:
            one.close_all()
