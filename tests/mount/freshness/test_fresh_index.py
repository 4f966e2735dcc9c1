"""Refreshes of the index: SIGHUP, the times that are shown, coarse clocks, and ``--on-change``."""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fresh import MARGIN, MAX_STALENESS, REFRESH, differences, observer, shows, stays, trees
from tests.support.held import crawled
from tests.support.json_paths import path_of
from tests.support.mounts import mounted
from tests.support.polling import poll
from tests.support.trees import folders, grow
from tests.support.users import need, needs_root, run

pytestmark = pytest.mark.waits

PAST, FUTURE = 10**9, 1 << 61
"""Nanoseconds since the epoch: in 1970 and in 2043."""


# Signals


def test_sighup_refreshes_at_once(place: Path) -> None:
    high, low, view = trees(place, folders("h", "A"), folders("l", "A", "B"))
    with mounted(view, high, low, options=["--refresh=3600"]) as mount, observer() as eyes:
        assert eyes.names(view) == ["A", "B"]
        assert eyes.read(view / "B/track") == b"lB"
        assert not eyes.exists(view / "C")
        grow(high, folders("h", "B", "C"))
        mount.send(signal.SIGHUP)
        poll(lambda: eyes.exists(view / "C"), "the new folder", MARGIN)
        poll(lambda: eyes.read(view / "B/track") == b"hB", "the better source's folder", MARGIN)
        assert eyes.names(view) == ["A", "B", "C"]


def test_with_refresh_0_only_sighup_updates_the_index(place: Path) -> None:
    high, low, view = trees(place, folders("h", "A"), folders("l", "A", "B"))
    with mounted(view, high, low, options=["--refresh=0", "--watch=off"]) as mount, observer() as eyes:
        assert eyes.names(view) == ["A", "B"]
        grow(high, folders("h", "B", "C"))
        (low / "new").write_bytes(b"loose")
        stays(
            lambda: eyes.names(view) == ["A", "B"] and eyes.read(view / "B/track") == b"lB",
            "the index",
            3 * MAX_STALENESS,
        )
        mount.send(signal.SIGHUP)
        poll(lambda: not eyes.differences(view, [high, low], 1), "the sources as they are", MARGIN)


def test_with_refresh_0_folder_contents_are_current(place: Path) -> None:
    high, low, view = trees(place, folders("h", "A"), folders("l", "A", "B"))
    with mounted(view, high, low, options=["--refresh=0"]), observer() as eyes:
        assert not eyes.differences(view, [high, low], 1)
        assert not eyes.exists(view / "A/new")
        grow(high / "A", {b"new": b"x" * 5000, b"sub": {b"deep": b"y"}})
        (high / "A/track").write_bytes(b"another")
        (low / "B").chmod(0o700)
        shows(lambda: not eyes.differences(view, [high, low], 1), "the current contents of the folders")


def test_an_open_merged_directory_that_is_removed_raises_enoent(place: Path) -> None:
    high, low, view = trees(place, {b"A": folders("h", "B")}, folders("l", "C"))
    with mounted(view, high, low, depth=2, options=[REFRESH]), observer() as eyes:
        inside = os.open(view / "A", os.O_RDONLY)
        (high / "A").rename(place / "away")
        shows(lambda: not eyes.exists(view / "A"), "the removal")
        with pytest.raises(FileNotFoundError):
            os.listdir(f"/proc/self/fd/{inside}")
        os.close(inside)


# Shown times


def moved_forward(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether a scanner that compares mtime or ctime would rescan."""
    return after.st_mtime_ns > before.st_mtime_ns and after.st_ctime_ns > before.st_ctime_ns


def test_times_move_forward_when_a_source_with_older_times_wins(place: Path) -> None:
    high, low, view = trees(place, folders("h", "A", "B"), folders("l", "A"))
    os.utime(low / "A", ns=(PAST, PAST))
    os.utime(low, ns=(PAST, PAST))
    with mounted(view, high, low, options=[REFRESH]), observer() as eyes:
        top, folder = eyes.stat(view), eyes.stat(view / "A")
        (high / "A").rename(place / "A")
        shows(lambda: eyes.holds(view / "A/track", b"lA"), "the other source's folder")
        shows(lambda: moved_forward(folder, eyes.stat(view / "A")), "the folder's times, moved forward")
        shows(lambda: eyes.stat(view).st_mtime_ns > top.st_mtime_ns, "the time of the directory above")
        top, folder = eyes.stat(view), eyes.stat(view / "A")
        os.utime(place / "A", ns=(PAST, PAST))
        (place / "A").rename(high / "A")
        os.utime(high, ns=(PAST, PAST))
        shows(lambda: eyes.holds(view / "A/track", b"hA"), "the better source's folder again")
        shows(lambda: moved_forward(folder, eyes.stat(view / "A")), "the folder's times, moved forward again")
        shows(lambda: eyes.stat(view).st_mtime_ns > top.st_mtime_ns, "the time of the directory above, again")


def test_times_of_a_merged_directory_move_forward_for_a_change_in_any_source(place: Path) -> None:
    high, low, view = trees(place, {b"A": {}}, {b"A": folders("l", "B", "C")})
    os.utime(high / "A", ns=(FUTURE, FUTURE))
    with mounted(view, high, low, depth=2, options=[REFRESH]), observer() as eyes:
        before = eyes.stat(view / "A")
        assert before.st_mtime_ns == FUTURE
        (low / "A/B").rename(low / "A/D")
        shows(lambda: moved_forward(before, eyes.stat(view / "A")), "times beyond the future one")
        assert eyes.names(view / "A") == ["C", "D"]


# Clocks


@pytest.mark.parametrize("moment", [PAST, FUTURE], ids=["far past", "far future"])
def test_timestamps_of_the_far_past_or_future_hide_no_change(place: Path, moment: int) -> None:
    high, low, view = trees(place, folders("h", "A", "B"), folders("l", "C"))
    with mounted(view, high, low, options=[REFRESH]), observer() as eyes:
        for number in range(4):
            for path in (high, high / "A", high / "A/track", low):
                os.utime(path, ns=(moment + number % 2, moment + number % 2))
            grow(high, folders("h", f"new {number}"))
            (high / "A/track").write_bytes(b"%d" % number)
            for path in (high, high / "A", high / "A/track", low):
                os.utime(path, ns=(moment, moment))
            shows(lambda: not eyes.differences(view, [high, low], 1), f"change {number}")


def test_a_directory_changed_twice_at_one_mtime_shows_both_changes(place: Path) -> None:
    high, low, view = trees(place, folders("h", "A"), folders("l", "B"))
    with mounted(view, high, low, options=[REFRESH]), observer() as eyes:
        for number in range(3):
            grow(high, folders("h", f"first {number}"))
            st = high.stat()
            shows(lambda number=number: eyes.exists(view / f"first {number}"), "the first change")  # type: ignore[misc]
            grow(high, folders("h", f"second {number}"))
            os.utime(high, ns=(st.st_atime_ns, st.st_mtime_ns))
            shows(lambda number=number: eyes.exists(view / f"second {number}"), "the second")  # type: ignore[misc]


@contextlib.contextmanager
def disk(where: Path, kind: str, *options: str) -> Iterator[Path]:
    """A filesystem on a loop device. Skips the test where it cannot be mounted."""
    image = where.with_suffix(".img")
    with open(image, "wb") as file:
        file.truncate(16 << 20)
    made = run(f"mkfs.{kind}", *options, image)
    assert made.returncode == 0, made.stderr
    where.mkdir()
    need("losetup")
    done = run("mount", "-t", kind, "-o", "loop", image, where)
    if done.returncode:
        pytest.skip(f"{kind} cannot be mounted here: {done.stderr.decode().strip()}")
    try:
        yield where
    finally:
        run("umount", where)


@needs_root
@pytest.mark.parametrize("kind", [("vfat",), ("ext4", "-q", "-I", "128")], ids=["vfat, 2 s", "old ext4, 1 s"])
def test_a_coarse_clock_hides_no_change(place: Path, kind: tuple[str, ...]) -> None:
    low, view = grow(place / "low", folders("l", "B")), place / "view"
    with disk(place / "high", *kind) as high:
        grow(high / "A", {b"track": b"0" * 5000})
        with mounted(view, high, low, options=[REFRESH]), observer() as eyes:
            mapping, file = eyes.map(view / "A/track"), eyes.open(view / "A/track")
            for number in range(1, 8):
                now = b"%d" % number * 5000
                with open(high / "A/track", "r+b") as written:
                    written.write(now)
                grow(high, folders("h", f"new {number}"))
                shows(lambda number=number: eyes.exists(view / f"new {number}"), f"{number}")  # type: ignore[misc]
                shows(lambda now=now: eyes.read(view / "A/track") == now, "the bytes, opened anew")  # type: ignore[misc]
                shows(lambda now=now: eyes.pread(file) == now, "the bytes through a descriptor")  # type: ignore[misc]
                shows(lambda now=now: eyes.mapped(mapping) == now, "the bytes in a mapping")  # type: ignore[misc]
            eyes.close(file)
            eyes.close(mapping)
            shows(lambda: not [d for d in differences(view, [high, low], 1) if "lost+found" not in d], "all of it")


# --on-change


def test_on_change_gets_json_lines_and_never_runs_twice_at_once(place: Path) -> None:
    high, low, view = trees(place, folders("h", "A"), folders("l", "A", "B"))
    told, runs = place / "told", place / "runs"
    command = f"mkdir {place}/running || echo twice >>{runs}; cat >>{told}; echo $MMIRRORFS_MOUNTPOINT >>{runs}; "
    command += f"sleep 0.3; rmdir {place}/running"
    with mounted(view, high, low, options=[REFRESH, f"--on-change={command}"]), observer() as eyes:
        grow(high, folders("h", "B"))
        for number in range(8):
            grow(high, folders("h", f"new {number}"))
            shows(lambda number=number: eyes.exists(view / f"new {number}"), "the new folder")  # type: ignore[misc]
        os.mkdir(os.fsencode(high) + b"/\xff")
        (high / "A").rename(place / "away")
        expected = {
            ("changed", b"B"),
            ("changed", b"A"),
            ("added", b"\xff"),
            *(("added", b"new %d" % n) for n in range(8)),
        }

        def lines() -> set[tuple[str, bytes]]:
            read = [json.loads(line) for line in told.read_text().splitlines()] if told.exists() else []
            return {(line["change"], path_of(line)) for line in read}

        shows(lambda: lines() >= expected, "all the changes")
        assert lines() == expected
        poll(lambda: not (place / "running").exists(), "the last command's end")
        assert set(runs.read_text().splitlines()) == {str(view)}


def test_on_change_gets_changes_within_folders_with_their_type(place: Path) -> None:
    high, low, view = trees(place, folders("h", "A"), folders("l", "B"))
    told = place / "told"
    with mounted(view, high, low, options=[REFRESH, f"--on-change=cat >>{told}"]) as mount:
        crawled(mount)

        def hears(change: str, path: str, kind: str) -> None:
            line = {"change": change, "path": path, "type": kind}
            shows(lambda: told.exists() and line in map(json.loads, told.read_text().splitlines()), f"{line}")

        (high / "A/new").write_bytes(b"n")
        hears("added", "A/new", "file")
        (high / "A/new").write_bytes(b"other")
        hears("changed", "A/new", "file")
        (high / "A/new").unlink()
        hears("removed", "A/new", "file")
        (high / "A/link").symlink_to("track")
        hears("added", "A/link", "symlink")
        (high / "A/sub").mkdir()
        hears("added", "A/sub", "directory")
        (low / "C").mkdir()
        hears("added", "C", "directory")
        (high / "B").mkdir()
        hears("changed", "B", "directory")


def test_a_failing_on_change_command_is_logged(place: Path) -> None:
    high, low, view = trees(place, folders("h", "A"), folders("l", "B"))
    with mounted(view, high, low, options=[REFRESH, "--on-change=exit 3"]) as mount, observer() as eyes:
        mount.expect("--on-change: the command ended with 3")
        grow(high, folders("h", "C"))
        shows(lambda: eyes.exists(view / "C"), "the new folder")
        shows(lambda: "ended with 3" in mount.text(), "the complaint")
        grow(high, folders("h", "D"))
        shows(lambda: eyes.exists(view / "D"), "the next one")
