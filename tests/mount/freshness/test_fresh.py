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
    empty,
)
from tests.support.fresh import REFRESH, Observer, becomes, observer, shows, trees
from tests.support.mounts import mounted
from tests.support.trees import grow
from tests.support.users import NOBODY

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


@pytest.mark.mount(seconds=120)
def test_changes_at_the_top_show_within_the_maximum_staleness(place: Path) -> None:
    """In one view, one after the other; the sources are restored in between."""
    high, low, view = trees(place, HIGH, LOW)
    with mounted(view, high, low, depth=2, options=[REFRESH]), observer() as eyes:
        for name in [*TOPS, *(name for name in ("modes", "owners") if name in CHANGES)]:
            warm(eyes, view, [high, low], 2, list(TO_COME))
            CHANGES[name](high, low)
            becomes(eyes, view, [high, low], 2, name)
            restore(high, low)


def restore(high: Path, low: Path) -> None:
    """Make both sources anew, as they were at first."""
    for source, tree in ((high, HIGH), (low, LOW)):
        source.chmod(0o755)
        os.chown(source, os.geteuid(), os.getegid())
        empty(source)
        grow(source, tree)
