"""Every call gives in a view what it gives in the plain folder, mounted read-only; what differs is listed, and why.

The plain folder is the winner (of a merged directory the first source that has it), bind-mounted ro,nosuid,nodev as
views are, in a namespace of its own. The list is exact for sources on ext4. On another filesystem, and for a plain
user, some of what is listed may be the same.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mounts import mounted
from tests.support.namespace import Inside, namespace
from tests.support.parity import Differing, Outcomes, calls_of, command, differing, outcomes, pairs
from tests.support.parity_differences import DIFFERENCES, OF_A_PLAIN_USER, ON_OTHER_DISKS
from tests.support.parity_tree import SUBJECTS, plain, shown, sources
from tests.support.trees import stamps
from tests.support.users import NOBODY, needs_root, output_of

pytestmark = needs_root

READS = ["parity_contents", "parity_names", "parity_locks"]
WRITES = "parity_writes"


def _of_the_plain_folder(place: Path, table: str, user: int) -> Outcomes:
    with _bound(place) as (inside, root):
        return outcomes(inside.output_of(*command(table, user, plain(place, root))))


@contextlib.contextmanager
def _bound(place: Path) -> Iterator[tuple[Inside, Path]]:
    """A namespace with the sources mounted read-only, and where that is."""
    root = place / "plain"
    with namespace(place) as inside:
        for name in ("high", "low"):
            (root / name).mkdir(parents=True)
            inside.output_of("mount", "--bind", "-o", "ro,nosuid,nodev", place / name, root / name)
        yield inside, root


def _compared(place: Path, table: str, user: int, announce: str = "auto") -> Differing:
    """Where the view and the plain folder do not agree. Nothing is changed by any call."""
    with sources(place) as (high, low):
        before = stamps(high), stamps(low)
        expected = _of_the_plain_folder(place, table, user)
        with mounted(
            place / "view", high, low, depth=2, options=("-o", "allow_other", f"--announce={announce}")
        ) as view:
            found = outcomes(output_of(*command(table, user, shown(place, view.mountpoint))))
        assert (stamps(high), stamps(low)) == before
    assert len(set(expected.values())) > 10, "the calls did something"
    return differing(expected, found)


def _is_ext4(path: Path) -> bool:
    return output_of("stat", "-f", "-c", "%T", path).strip() == b"ext2/ext3"


def _listed(place: Path, table: str) -> set[tuple[str, str]]:
    return pairs(DIFFERENCES if _is_ext4(place) else [*DIFFERENCES, *ON_OTHER_DISKS], table)


def _check(found: Differing, listed: set[tuple[str, str]], exactly: bool) -> None:
    assert {key: outcome for key, outcome in found.items() if key not in listed} == {}, "not listed"
    if exactly:
        assert sorted(listed - found.keys()) == [], "listed, and the same by now"


@pytest.mark.parametrize("table", [*READS, WRITES])
def test_a_view_differs_from_the_plain_folder_in_what_is_listed_and_in_nothing_else(place: Path, table: str) -> None:
    _check(_compared(place, table, os.getuid()), _listed(place, table), _is_ext4(place))


@pytest.mark.parametrize("table", [*READS, WRITES])
def test_a_plain_user_sees_no_other_differences(place: Path, table: str) -> None:
    _check(_compared(place, table, NOBODY), _listed(place, table), exactly=False)


def test_a_plain_user_is_told_first_that_the_filesystem_is_read_only(place: Path) -> None:
    """Where nothing is announced; else the superblock can be written to, and it is as in the plain folder."""
    found, listed = _compared(place, WRITES, NOBODY, "off"), pairs(OF_A_PLAIN_USER, WRITES)
    _check(found, listed | pairs(DIFFERENCES, WRITES), exactly=False)
    assert {found.get(key) for key in listed} == {("EACCES", "EROFS")}


def test_the_list_names_no_call_that_is_not_made() -> None:
    everything = [*DIFFERENCES, *OF_A_PLAIN_USER, *ON_OTHER_DISKS]
    made = {(call, subject) for table in [*READS, WRITES] for call in calls_of(table) for subject in SUBJECTS}
    assert {(item.call, subject) for item in everything for subject in item.subjects} <= made
