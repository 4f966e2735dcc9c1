"""Every change in a source shows within the maximum staleness: names, winners, types, attributes and contents.

An observer in another process has read everything, and looked up the names to come, before each change. Afterwards it
must see what the model says.
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

TOPS = (
    "a merged directory is added",
    "a merged directory is removed",
    "a file takes the place of a merged directory",
    "a loose file is added",
    "a loose file is removed",
    "a loose file is edited",
    "a loose file is replaced",
    "everything is removed",
)
"""Changes that are tried at the top of the sources too."""


def warm(eyes: Observer, view: Path, order: list[Path], depth: int, missing: list[str]) -> None:
    """Have the observer read everything and look up the names to come, so that the kernel caches both."""
    shows(lambda: not eyes.differences(view, order, depth), "the view as it begins")
    for name in missing:
        assert not eyes.exists(view / name)


def modes(high: Path, low: Path) -> None:
    for path, mode in MODES.items():
        top, _, inner = path.partition("/")
        Path(high if top == "high" else low, inner).chmod(mode)


def owners(high: Path, low: Path) -> None:
    for path in MODES:
        top, _, inner = path.partition("/")
        os.chown(Path(high if top == "high" else low, inner), NOBODY, NOBODY + 1)


CHANGES: dict[str, Change] = {**NAMES, **FILES, "modes": modes, **({"owners": owners} if os.geteuid() == 0 else {})}


def test_every_change_shows_within_the_maximum_staleness(place: Path) -> None:
    parts = {name: f"{number:02}" for number, name in enumerate(CHANGES)}
    high, low, view = trees(place, *({part.encode(): tree for part in parts.values()} for tree in (HIGH, LOW)))
    missing = [f"{part}/{name}" for part in parts.values() for name in TO_COME]
    with mounted(view, high, low, depth=3, options=[REFRESH]), observer() as eyes:
        warm(eyes, view, [high, low], 3, missing)
        for name, part in parts.items():
            CHANGES[name](high / part, low / part)
        becomes(eyes, view, [high, low], 3, "the sources as they are now")


@pytest.mark.parametrize("change", [*TOPS, "modes", pytest.param("owners", marks=needs_root)])
def test_changes_at_the_top_show_within_the_maximum_staleness(place: Path, change: str) -> None:
    high, low, view = trees(place, HIGH, LOW)
    with mounted(view, high, low, depth=2, options=[REFRESH]), observer() as eyes:
        warm(eyes, view, [high, low], 2, list(TO_COME))
        CHANGES[change](high, low)
        becomes(eyes, view, [high, low], 2, "the sources as they are now")
