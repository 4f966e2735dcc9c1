"""What changes in a source shows within the promise: names, winners, types, modes, owners and bytes, at every level.

Each case changes the sources under a live view, and another process, which had everything of that view in its caches
and had missed what is to come, must see what the model says.
"""

import os
from pathlib import Path

import pytest

from tests.support.altering import (
    FILES,
    HIGH,
    LOW,
    MODES,
    NAMES,
    TO_COME,
    Change,
)
from tests.support.fresh import REFRESH, Observer, becomes, observer, shows, trees
from tests.support.mounts import mounted
from tests.support.users import NOBODY, needs_root


def warm(eyes: Observer, view: Path) -> None:
    """Let the other process see everything, and miss what is not there yet."""
    shows(lambda: not eyes.differences(view, [view.parent / "high", view.parent / "low"], 2), "the view as it begins")
    for name in TO_COME:
        assert not eyes.exists(view / name)


def _shows(place: Path, change: Change) -> None:
    high, low, view = trees(place, HIGH, LOW)
    with mounted(view, high, low, depth=2, options=[REFRESH]), observer() as eyes:
        warm(eyes, view)
        change(high, low)
        becomes(eyes, view, [high, low], 2, "the sources as they are now")


@pytest.mark.parametrize("change", NAMES.values(), ids=NAMES)
def test_a_change_of_names_shows_within_the_promise(place: Path, change: Change) -> None:
    _shows(place, change)


@pytest.mark.parametrize("change", FILES.values(), ids=FILES)
def test_a_change_of_a_file_shows_within_the_promise(place: Path, change: Change) -> None:
    _shows(place, change)


def test_a_change_of_a_mode_shows_within_the_promise(place: Path) -> None:
    def change(high: Path, low: Path) -> None:
        for path, mode in MODES.items():
            (place / path).chmod(mode)

    _shows(place, change)


@needs_root
def test_a_change_of_an_owner_shows_within_the_promise(place: Path) -> None:
    def change(high: Path, low: Path) -> None:
        for path in MODES:
            os.chown(place / path, NOBODY, NOBODY + 1)

    _shows(place, change)
