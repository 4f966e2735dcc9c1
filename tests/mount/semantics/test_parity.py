"""Every system call has the same result in a view as in the plain folder, except for a list of differences.

The plain folder is the winner (of a merged directory the first source that has it), bind-mounted ro,nosuid,nodev as
views are, in a namespace of its own. The list is exact for sources on ext4; on another filesystem, and for a plain
user, some of the listed calls may have the same result.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.mounts import mounted
from tests.support.namespace import Inside, namespace
from tests.support.parity import Differing, calls_of, command, differing, outcomes, pairs
from tests.support.parity_differences import DIFFERENCES, OF_A_PLAIN_USER, ON_OTHER_DISKS
from tests.support.parity_tree import SUBJECTS, plain, shown, sources
from tests.support.trees import stamps
from tests.support.users import NOBODY, needs_root, output_of

pytestmark = [pytest.mark.waits, needs_root]

READS = ["parity_contents", "parity_names", "parity_locks"]
WRITES = "parity_writes"


@dataclass(frozen=True, slots=True)
class Both:
    """A view, the plain folder in a namespace, and the directory that both are in."""

    place: Path
    view: Path
    inside: Inside
    root: Path

    def differing(self, table: str, user: int) -> Differing:
        """Where the view and the plain folder do not agree. No call may change anything."""
        high, low = self.place / "high", self.place / "low"
        before = stamps(high), stamps(low)
        expected = outcomes(self.inside.output_of(*command(table, user, plain(self.place, self.root))))
        found = outcomes(output_of(*command(table, user, shown(self.place, self.view))))
        assert (stamps(high), stamps(low)) == before
        assert len(set(expected.values())) > 10, "the calls did something"
        return differing(expected, found)


@contextlib.contextmanager
def _both(place: Path, announce: str) -> Iterator[Both]:
    options = ("-o", "allow_other", f"--announce={announce}")
    with (
        sources(place) as (high, low),
        _bound(place) as (inside, root),
        mounted(place / "view", high, low, depth=2, options=options) as view,
    ):
        yield Both(place, view.mountpoint, inside, root)


@pytest.fixture(scope="module")
def both(shared_place: Path) -> Iterator[Both]:
    """One of each for all tests."""
    with _both(shared_place, "auto") as both:
        yield both


@contextlib.contextmanager
def _bound(place: Path) -> Iterator[tuple[Inside, Path]]:
    """A namespace with the sources mounted read-only, and where that is."""
    root = place / "plain"
    with namespace(place) as inside:
        for name in ("high", "low"):
            (root / name).mkdir(parents=True)
            inside.output_of("mount", "--bind", "-o", "ro,nosuid,nodev", place / name, root / name)
        yield inside, root


def _is_ext4(path: Path) -> bool:
    return output_of("stat", "-f", "-c", "%T", path).strip() == b"ext2/ext3"


def _listed(place: Path, table: str) -> set[tuple[str, str]]:
    return pairs(DIFFERENCES if _is_ext4(place) else [*DIFFERENCES, *ON_OTHER_DISKS], table)


def _check(found: Differing, listed: set[tuple[str, str]], exactly: bool) -> None:
    assert {key: outcome for key, outcome in found.items() if key not in listed} == {}, "not listed"
    if exactly:
        assert sorted(listed - found.keys()) == [], "listed, and the same by now"


@pytest.mark.parametrize("table", [*READS, WRITES])
def test_a_view_differs_from_the_plain_folder_exactly_in_the_listed_calls(place: Path, both: Both, table: str) -> None:
    exactly = _is_ext4(both.place)
    _check(both.differing(table, os.getuid()), _listed(both.place, table), exactly)


@pytest.mark.parametrize("table", [*READS, WRITES])
def test_a_plain_user_sees_no_other_differences(place: Path, both: Both, table: str) -> None:
    _check(both.differing(table, NOBODY), _listed(both.place, table), exactly=False)


def test_without_announcements_a_plain_user_gets_erofs_before_eacces(place: Path) -> None:
    """With announcements the superblock is writable, and the order is that of the plain folder."""
    listed = pairs(OF_A_PLAIN_USER, WRITES)
    with _both(place, "off") as both:
        found = both.differing(WRITES, NOBODY)
    _check(found, listed | pairs(DIFFERENCES, WRITES), exactly=False)
    assert {found.get(key) for key in listed} == {("EACCES", "EROFS")}


def test_the_list_names_only_calls_that_are_made() -> None:
    everything = [*DIFFERENCES, *OF_A_PLAIN_USER, *ON_OTHER_DISKS]
    made = {(call, subject) for table in [*READS, WRITES] for call in calls_of(table) for subject in SUBJECTS}
    assert {(item.call, subject) for item in everything for subject in item.subjects} <= made
