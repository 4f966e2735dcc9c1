"""A lost source is not an empty one: what the view shows of it, what fails, what is logged, and how it recovers.

A source here is a filesystem of its own that is unmounted under a live view and mounted again.
"""

import errno
import re
import stat
import subprocess
from pathlib import Path

import pytest

from tests.support.disks import disk as disk
from tests.support.fresh import Observer, observer, shows, stays, trees
from tests.support.losing import BACK, LOST
from tests.support.mounts import View, mounted
from tests.support.trees import Link, Tree, grow
from tests.support.users import AS_NOBODY, need, needs_root, output_of, run

pytestmark = needs_root

REFRESH = "--refresh=0.3"
LONG = 1.2
"""Seconds: several rescans, and each cached attribute has expired in the kernel."""
HIGH: Tree = {
    b"Ann": {b"Both": {b"1": b"high one", b"sub": {b"2": b"high two"}, b"link": Link(b"1")}, b"Mine": {b"1": b"mine"}},
    b"cover": b"high cover",
}
LOW: Tree = {b"Ann": {b"Both": {b"1": b"low one"}}, b"Bob": {b"Solo": {b"1": b"low solo"}}, b"cover": b"low cover"}
FIELDS = "%n %F %a %h %u %g %s %b %i %Y %Z"
"""All of stat but the access time: a scan moves that of a directory."""
LISTINGS = (
    ("ls", "-lRA"),
    ("find", "-printf", "%p %y %m %u %s %t %i\\n"),
    ("stat", "-c", FIELDS, "Ann", "Ann/Both/1", "cover"),
)


def listings(view: Path) -> list[bytes]:
    """The output of ls, find and stat on a view; none of them may fail."""
    return [subprocess.run(words, cwd=view, capture_output=True, check=True).stdout for words in LISTINGS]


def logged(view: View, pattern: str) -> int:
    """How often the log has the pattern."""
    return len(re.findall(pattern, view.text()))


def error_of(eyes: Observer, path: Path) -> int:
    """The errno of reading a file; 0 where it succeeds."""
    try:
        eyes.read(path)
    except OSError as error:
        return error.errno or -1
    return 0


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_a_lost_source_keeps_its_cached_metadata_and_only_opening_its_files_fails(place: Path, kind: str) -> None:
    low, view = grow(place / "low", LOW), place / "view"
    with (
        disk(place / "high", HIGH, kind) as high,
        observer() as eyes,
        mounted(view, high.where, low, depth=2, options=[REFRESH]) as mount,
    ):
        mount.expect(LOST)
        mount.expect(BACK)
        before = listings(view)
        assert eyes.read(view / "Ann/Both/1") == b"high one"
        high.unplug()
        shows(lambda: logged(mount, LOST), "the warning")
        stays(lambda: listings(view) == before, "the output of programs", LONG)
        assert [error_of(eyes, view / name) for name in ("Ann/Both/1", "cover", "Bob/Solo/1")] == [errno.EIO] * 2 + [0]
        assert not eyes.exists(view / "Ann/Both/none")
        assert (logged(mount, LOST), logged(mount, BACK)) == (1, 0)
        high.plug()
        shows(lambda: not eyes.differences(view, [high.where, low], 2), "everything again")
        assert (logged(mount, LOST), logged(mount, BACK)) == (1, 1)
        high.unplug()
        shows(lambda: logged(mount, LOST) == 2, "the next warning")
        high.plug()
        shows(lambda: not eyes.differences(view, [high.where, low], 2), "everything once more")


def test_a_plain_user_sees_the_cached_metadata_of_a_lost_source_too(place: Path) -> None:
    low, view = grow(place / "low", LOW), place / "view"
    options = [REFRESH, "-o", "allow_other"]
    with disk(place / "high", HIGH) as high, mounted(view, high.where, low, depth=2, options=options) as mount:
        mount.expect(LOST)
        high.where.chmod(0o755)
        command = (*AS_NOBODY, "ls", "-lRA", view)
        shows(lambda: run(*command).returncode == 0, "the tree, readable by everybody")
        before = output_of(*command)
        high.unplug()
        shows(lambda: logged(mount, LOST), "the warning")
        stays(lambda: output_of(*command) == before, "the output of ls for a plain user", LONG)


def test_a_folder_never_listed_before_the_loss_keeps_its_name_and_cannot_be_listed(place: Path) -> None:
    low, view = grow(place / "low", LOW), place / "view"
    with (
        disk(place / "high", HIGH) as high,
        observer() as eyes,
        mounted(view, high.where, low, depth=2, options=[REFRESH, "--crawl=off"]) as mount,
    ):
        mount.expect(LOST)
        assert eyes.names(view / "Ann/Both") == ["1", "link", "sub"]
        high.unplug()
        shows(lambda: logged(mount, LOST), "the warning")
        assert eyes.names(view / "Ann") == ["Both", "Mine"]
        assert eyes.names(view / "Ann/Both") == ["1", "link", "sub"]
        for uncached in ("Ann/Mine", "Ann/Both/sub"):
            assert stat.S_ISDIR(eyes.stat(view / uncached).st_mode)
            with pytest.raises(OSError, match="Input/output error"):
                eyes.names(view / uncached)


def test_a_source_lost_between_scans_is_noticed_by_the_first_open(place: Path) -> None:
    low, view = grow(place / "low", LOW), place / "view"
    with (
        disk(place / "high", HIGH) as high,
        observer() as eyes,
        mounted(view, high.where, low, depth=2, options=["--refresh=3600"]) as mount,
    ):
        mount.expect(LOST)
        mount.expect(BACK)
        before = listings(view)
        high.unplug()
        assert error_of(eyes, view / "Ann/Both/1") == errno.EIO
        shows(lambda: logged(mount, LOST), "the warning")
        assert listings(view) == before
        high.plug()
        shows(lambda: error_of(eyes, view / "Ann/Both/1") == 0, "the file again")
        assert listings(view) == before


@pytest.mark.parametrize("refresh", [REFRESH, "--refresh=3600"], ids=["noticed by a scan", "noticed by a reader"])
def test_with_fallback_the_other_source_takes_over_until_the_lost_one_returns(place: Path, refresh: str) -> None:
    low, view = grow(place / "low", LOW), place / "view"
    with (
        disk(place / "high", HIGH) as high,
        observer() as eyes,
        mounted(view, high.where, low, depth=2, options=[refresh, "--on-missing=fallback"]) as mount,
    ):
        mount.expect(LOST)
        mount.expect(BACK)
        assert not eyes.differences(view, [high.where, low], 2)
        before = eyes.stat(view / "Ann/Both")
        for count in (1, 2):
            high.unplug()
            shows(lambda: error_of(eyes, view / "Ann/Both/1") in (0, errno.ENOENT, errno.EIO), "any answer")
            shows(lambda: not eyes.differences(view, [low], 2), "the other source alone")
            shows(lambda count=count: logged(mount, LOST) == count, "the warning")  # type: ignore[misc]
            assert eyes.read(view / "Ann/Both/1") == b"low one"
            assert eyes.stat(view / "Ann/Both").st_mtime_ns > before.st_mtime_ns
            before = eyes.stat(view / "Ann/Both")
            high.plug()
            shows(lambda: eyes.holds(view / "Ann/Both/1", b"high one"), "the preferred source again")
            shows(lambda: eyes.holds(view / "Ann/Mine/1", b"mine"), "the folder of the preferred source alone")
        assert logged(mount, LOST) == logged(mount, BACK) == 2


def test_a_source_emptied_in_place_is_shown_as_empty(place: Path) -> None:
    low, view = grow(place / "low", LOW), place / "view"
    with (
        disk(place / "high", HIGH) as high,
        observer() as eyes,
        mounted(view, high.where, low, depth=2, options=[REFRESH]),
    ):
        assert not eyes.differences(view, [high.where, low], 2)
        output_of("find", high.where, "-mindepth", "1", "-delete")
        shows(lambda: not eyes.differences(view, [high.where, low], 2), "the other source alone")
        grow(high.where, {b"Ann": {b"Both": {b"1": b"again"}}})
        shows(lambda: eyes.holds(view / "Ann/Both/1", b"again"), "what was added later")


def test_another_directory_that_is_not_empty_ends_the_loss(place: Path) -> None:
    high, low, view = trees(place, HIGH, LOW)
    with mounted(view, high, low, depth=2, options=[REFRESH]) as mount, observer() as eyes:
        mount.expect(LOST)
        mount.expect(BACK)
        before = listings(view)
        high.rename(place / "away")
        shows(lambda: logged(mount, LOST), "the warning for the missing directory")
        assert listings(view) == before
        high.mkdir()
        stays(lambda: listings(view) == before, "the cached metadata, though an empty directory exists now")
        grow(high, {b"Ann": {b"Both": {b"1": b"another"}, b"New": {b"1": b"new"}}})
        shows(lambda: not eyes.differences(view, [high, low], 2), "the content of the new directory")
        assert (logged(mount, LOST), logged(mount, BACK)) == (1, 1)


def test_a_source_replaced_atomically_by_a_full_directory_is_not_lost(place: Path) -> None:
    high, low, view = trees(place, HIGH, LOW)
    other = grow(place / "other", {b"Ann": {b"Both": {b"1": b"other"}}})
    with mounted(view, high, low, depth=2, options=[REFRESH]), observer() as eyes:
        assert not eyes.differences(view, [high, low], 2)
        run("mv", "--exchange", high, other)
        if (high / "cover").exists():
            high.rename(place / "away")
            other.rename(high)
        shows(lambda: not eyes.differences(view, [high, low], 2), "the content of the new directory")


def test_a_source_missing_at_the_start_is_an_error(place: Path) -> None:
    low, view = grow(place / "low", LOW), place / "view"
    with pytest.raises(AssertionError, match="does not exist"), mounted(view, place / "high", low):
        pass


def test_a_source_empty_at_the_start_is_warned_of_and_fills_when_its_disk_is_mounted(place: Path) -> None:
    low, view = grow(place / "low", LOW), place / "view"
    with disk(place / "high", HIGH) as high, observer() as eyes:
        high.unplug()
        with mounted(view, high.where, low, depth=2, options=[REFRESH]) as mount:
            mount.expect("source high .* is empty; what appears in it will be shown")
            assert not eyes.differences(view, [high.where, low], 2)
            high.plug()
            shows(lambda: not eyes.differences(view, [high.where, low], 2), "the content of the disk")


@pytest.mark.parametrize("refresh", [REFRESH, "--refresh=3600"], ids=["noticed by a scan", "noticed by a reader"])
def test_a_source_that_becomes_unreadable_is_lost(place: Path, refresh: str) -> None:
    high, low, view = trees(place, HIGH, LOW)
    without_override = [need("setpriv"), "--bounding-set=-dac_override,-dac_read_search"]
    with mounted(view, high, low, depth=2, options=[refresh], prefix=without_override) as mount, observer() as eyes:
        mount.expect(LOST)
        mount.expect(BACK)
        before = listings(view)
        high.chmod(0)
        assert listings(view) == before
        assert error_of(eyes, view / "Ann/Both/1") == errno.EIO
        shows(lambda: logged(mount, LOST), "the warning")
        stays(lambda: listings(view) == before, "the cached metadata")
        high.chmod(0o755)
        shows(lambda: error_of(eyes, view / "Ann/Both/1") == 0, "the file again")
        assert (logged(mount, LOST), logged(mount, BACK)) == (1, 1)
