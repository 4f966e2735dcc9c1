"""A source that is gone is not an empty one: what is shown of it, what fails, what is said, and how it heals.

A source here is a filesystem of its own that is unmounted under a live view, and mounted again.
"""

import errno
import re
import stat
import subprocess
from pathlib import Path

import pytest

from tests.support.disks import disk as disk
from tests.support.fresh import PROMISE, REFRESH, Observer, observer, shows, stays, trees
from tests.support.losing import BACK, LOST
from tests.support.mounts import View, mounted
from tests.support.trees import Link, Tree, grow
from tests.support.users import AS_NOBODY, need, needs_root, output_of, run

pytestmark = needs_root

HIGH: Tree = {
    b"Ann": {b"Both": {b"1": b"high one", b"sub": {b"2": b"high two"}, b"link": Link(b"1")}, b"Mine": {b"1": b"mine"}},
    b"cover": b"high cover",
}
LOW: Tree = {b"Ann": {b"Both": {b"1": b"low one"}}, b"Bob": {b"Solo": {b"1": b"low solo"}}, b"cover": b"low cover"}
FIELDS = "%n %F %a %h %u %g %s %b %i %Y %Z"
"""What stat tells, but for the access time: that of a directory moves when the source is looked at."""
LISTINGS = (
    ("ls", "-lRA"),
    ("find", "-printf", "%p %y %m %u %s %t %i\\n"),
    ("stat", "-c", FIELDS, "Ann", "Ann/Both/1", "cover"),
)


def listings(view: Path) -> list[bytes]:
    """What programs tell of a view; none of them may complain."""
    return [subprocess.run(words, cwd=view, capture_output=True, check=True).stdout for words in LISTINGS]


def said(view: View, pattern: str) -> int:
    """How often the log says it."""
    return len(re.findall(pattern, view.text()))


def error_of(eyes: Observer, path: Path) -> int:
    """What reading a file fails with; 0 where it does not."""
    try:
        eyes.read(path)
    except OSError as error:
        return error.errno or -1
    return 0


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_what_is_known_of_a_lost_source_stays_and_only_opening_its_files_fails(place: Path, kind: str) -> None:
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
        shows(lambda: said(mount, LOST), "the warning")
        stays(lambda: listings(view) == before, "what programs tell", 3 * PROMISE)
        assert [error_of(eyes, view / name) for name in ("Ann/Both/1", "cover", "Bob/Solo/1")] == [errno.EIO] * 2 + [0]
        assert not eyes.exists(view / "Ann/Both/none")
        assert (said(mount, LOST), said(mount, BACK)) == (1, 0)
        high.plug()
        shows(lambda: not eyes.differences(view, [high.where, low], 2), "everything again")
        assert (said(mount, LOST), said(mount, BACK)) == (1, 1)
        high.unplug()
        shows(lambda: said(mount, LOST) == 2, "the next warning")
        high.plug()
        shows(lambda: not eyes.differences(view, [high.where, low], 2), "everything once more")


def test_a_plain_user_sees_what_is_known_of_a_lost_source_too(place: Path) -> None:
    low, view = grow(place / "low", LOW), place / "view"
    options = [REFRESH, "-o", "allow_other"]
    with disk(place / "high", HIGH) as high, mounted(view, high.where, low, depth=2, options=options) as mount:
        mount.expect(LOST)
        high.where.chmod(0o755)
        command = (*AS_NOBODY, "ls", "-lRA", view)
        shows(lambda: run(*command).returncode == 0, "the tree, readable for everybody")
        before = output_of(*command)
        high.unplug()
        shows(lambda: said(mount, LOST), "the warning")
        stays(lambda: output_of(*command) == before, "what a plain user is shown", 3 * PROMISE)


def test_a_folder_that_was_never_listed_keeps_its_name_and_cannot_be_listed(place: Path) -> None:
    low, view = grow(place / "low", LOW), place / "view"
    with (
        disk(place / "high", HIGH) as high,
        observer() as eyes,
        mounted(view, high.where, low, depth=2, options=[REFRESH, "--crawl=off"]) as mount,
    ):
        mount.expect(LOST)
        assert eyes.names(view / "Ann/Both") == ["1", "link", "sub"]
        high.unplug()
        shows(lambda: said(mount, LOST), "the warning")
        assert eyes.names(view / "Ann") == ["Both", "Mine"]
        assert eyes.names(view / "Ann/Both") == ["1", "link", "sub"]
        for never in ("Ann/Mine", "Ann/Both/sub"):
            assert stat.S_ISDIR(eyes.stat(view / never).st_mode)
            with pytest.raises(OSError, match="Input/output error"):
                eyes.names(view / never)


def test_a_source_lost_while_nobody_looks_is_noticed_by_the_first_who_opens(place: Path) -> None:
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
        shows(lambda: said(mount, LOST), "the warning")
        assert listings(view) == before
        high.plug()
        shows(lambda: error_of(eyes, view / "Ann/Both/1") == 0, "the file again")
        assert listings(view) == before


@pytest.mark.parametrize("refresh", [REFRESH, "--refresh=3600"], ids=["noticed by a look", "noticed by a reader"])
def test_with_fallback_the_other_source_takes_over_and_gives_back(place: Path, refresh: str) -> None:
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
        for times in (1, 2):
            high.unplug()
            shows(lambda: error_of(eyes, view / "Ann/Both/1") in (0, errno.ENOENT, errno.EIO), "any answer")
            shows(lambda: not eyes.differences(view, [low], 2), "what the other source has")
            shows(lambda times=times: said(mount, LOST) == times, "the warning")  # type: ignore[misc]
            assert eyes.read(view / "Ann/Both/1") == b"low one"
            assert eyes.stat(view / "Ann/Both").st_mtime_ns > before.st_mtime_ns
            before = eyes.stat(view / "Ann/Both")
            high.plug()
            shows(lambda: eyes.holds(view / "Ann/Both/1", b"high one"), "the better source again")
            shows(lambda: eyes.holds(view / "Ann/Mine/1", b"mine"), "the better source's own again")
        assert said(mount, LOST) == said(mount, BACK) == 2


def test_a_source_that_was_really_emptied_is_believed(place: Path) -> None:
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
        shows(lambda: eyes.holds(view / "Ann/Both/1", b"again"), "what came into it later")


def test_another_directory_that_is_not_empty_is_the_source_come_back(place: Path) -> None:
    high, low, view = trees(place, HIGH, LOW)
    with mounted(view, high, low, depth=2, options=[REFRESH]) as mount, observer() as eyes:
        mount.expect(LOST)
        mount.expect(BACK)
        before = listings(view)
        high.rename(place / "away")
        shows(lambda: said(mount, LOST), "the warning for a source that is not there")
        assert listings(view) == before
        high.mkdir()
        stays(lambda: listings(view) == before, "what is known, though an empty directory is there now")
        grow(high, {b"Ann": {b"Both": {b"1": b"another"}, b"New": {b"1": b"new"}}})
        shows(lambda: not eyes.differences(view, [high, low], 2), "what the new directory holds")
        assert (said(mount, LOST), said(mount, BACK)) == (1, 1)


def test_a_source_that_is_replaced_by_a_full_one_at_once_is_not_lost(place: Path) -> None:
    high, low, view = trees(place, HIGH, LOW)
    other = grow(place / "other", {b"Ann": {b"Both": {b"1": b"other"}}})
    with mounted(view, high, low, depth=2, options=[REFRESH]), observer() as eyes:
        assert not eyes.differences(view, [high, low], 2)
        run("mv", "--exchange", high, other)
        if (high / "cover").exists():
            high.rename(place / "away")
            other.rename(high)
        shows(lambda: not eyes.differences(view, [high, low], 2), "what the new directory holds")


def test_a_source_that_is_missing_at_the_start_is_an_error(place: Path) -> None:
    low, view = grow(place / "low", LOW), place / "view"
    with pytest.raises(AssertionError, match="does not exist"), mounted(view, place / "high", low):
        pass


def test_a_source_that_is_empty_at_the_start_is_told_about_and_fills_when_its_disk_comes(place: Path) -> None:
    low, view = grow(place / "low", LOW), place / "view"
    with disk(place / "high", HIGH) as high, observer() as eyes:
        high.unplug()
        with mounted(view, high.where, low, depth=2, options=[REFRESH]) as mount:
            mount.expect("source high .* is empty; what appears in it will be shown")
            assert not eyes.differences(view, [high.where, low], 2)
            high.plug()
            shows(lambda: not eyes.differences(view, [high.where, low], 2), "what is on the disk")


@pytest.mark.parametrize("refresh", [REFRESH, "--refresh=3600"], ids=["noticed by a look", "noticed by a reader"])
def test_a_source_that_may_not_be_read_any_more_is_lost(place: Path, refresh: str) -> None:
    high, low, view = trees(place, HIGH, LOW)
    held_by_modes = [need("setpriv"), "--bounding-set=-dac_override,-dac_read_search"]
    with mounted(view, high, low, depth=2, options=[refresh], prefix=held_by_modes) as mount, observer() as eyes:
        mount.expect(LOST)
        mount.expect(BACK)
        before = listings(view)
        high.chmod(0)
        assert listings(view) == before
        assert error_of(eyes, view / "Ann/Both/1") == errno.EIO
        shows(lambda: said(mount, LOST), "the warning")
        stays(lambda: listings(view) == before, "what was known")
        high.chmod(0o755)
        shows(lambda: error_of(eyes, view / "Ann/Both/1") == 0, "the file again")
        assert (said(mount, LOST), said(mount, BACK)) == (1, 1)
