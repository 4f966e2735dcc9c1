"""Cached metadata: after the crawl it answers every request while fresh, and stands in for a lost source."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.disks import disk
from tests.support.fresh import MAX_STALENESS, REFRESH, observer, shows, trees
from tests.support.held import crawled, crawls, rested
from tests.support.mounts import View, mounted
from tests.support.polling import poll
from tests.support.tracing import Costs, traced
from tests.support.trees import Link, Tree, grow
from tests.support.users import needs_root

pytestmark = [pytest.mark.mount(seconds=90), needs_root]

LASTING = "--refresh=6000"
TRACKS: Tree = {b"%02d" % n: b"track" for n in range(4)}
HIGH: Tree = {
    b"A": {b"one": {**TRACKS, b"sub": {b"deep": {b"file": b"f" * 3000}, b"link": Link(b"deep")}}, b"two": TRACKS},
    b"loose": b"l",
}
LOW: Tree = {b"A": {b"one": {b"hidden": TRACKS}, b"three": TRACKS}, b"B": {b"four": {b"\xff\xfe": {b"x": b"x"}}}}


def walk(top: Path) -> list[tuple[str, int]]:
    """Every path with its size; links are not followed."""
    found, waiting = [], [os.fspath(top)]
    for directory in waiting:
        with os.scandir(directory) as entries:
            for entry in entries:
                found.append((entry.path, entry.stat(follow_symlinks=False).st_size))
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
    return found


@pytest.fixture
def view(place: Path) -> Iterator[View]:
    high, low = grow(place / "sources/high", HIGH), grow(place / "sources/low", LOW)
    with mounted(place / "view", high, low, depth=2, options=[LASTING]) as view:
        crawled(view)
        rested(view)
        yield view


@pytest.mark.alone
def test_a_walk_after_the_crawl_makes_no_call_to_a_source(view: View) -> None:
    with traced(view.pid, view.mountpoint, view.mountpoint.parent / "sources") as trace:
        trace.costs(lambda: os.stat(view.mountpoint))
        costs = trace.costs(lambda: walk(view.mountpoint))
        assert costs.calls == {}
        assert costs.requests["READDIRPLUS"] > 0


@pytest.mark.alone
def test_a_lookup_of_an_absent_name_after_the_crawl_makes_no_call_to_a_source(view: View) -> None:
    with traced(view.pid, view.mountpoint, view.mountpoint.parent / "sources") as trace:
        trace.costs(lambda: os.stat(view.mountpoint))
        for name in ("A/two/none", "B/four/none", "A/one/sub/deep/none", "A/one/sub/none/none"):
            assert trace.costs(lambda: os.path.exists(view.mountpoint / name)).calls == {}, name  # noqa: B023


@pytest.mark.alone
def test_a_lookup_after_the_crawl_makes_no_call_to_a_source(view: View) -> None:
    with traced(view.pid, view.mountpoint, view.mountpoint.parent / "sources") as trace:
        trace.costs(lambda: os.stat(view.mountpoint))
        assert trace.costs(lambda: os.stat(view.mountpoint / "A/one/sub/deep/file")) == Costs({"LOOKUP": 5}, {})


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_a_source_lost_right_after_the_crawl_has_all_its_metadata(place: Path, kind: str) -> None:
    low, view = grow(place / "low", LOW), place / "view"
    with (
        disk(place / "high", HIGH, kind) as high,
        mounted(view, high.where, low, depth=2, options=[REFRESH]) as mount,
    ):
        mount.expect(r"source high \(.*\) is lost")
        crawled(mount)
        expected = {path: os.lstat(high.where / path) for path in paths_in_folders(high.where)}
        high.unplug()
        poll(lambda: "is lost" in mount.text(), "the warning")
        assert {path: shared_fields(os.lstat(view / path)) for path in expected} == {
            p: shared_fields(st) for p, st in expected.items()
        }
        assert sorted(os.listdir(view / "A/one/sub")) == ["deep", "link"]


def paths_in_folders(top: Path) -> list[str]:
    """The paths inside the folders of a source, at depth 2."""
    return [
        os.path.relpath(os.path.join(above, name), top)
        for above, below, files in os.walk(top)
        for name in (*below, *files)
        if os.path.relpath(above, top).count("/") > 0
    ]


def shared_fields(st: os.stat_result) -> tuple[int, ...]:
    """The fields of a stat result that source and view share, without atime, which reading changes."""
    return (st.st_mode, st.st_nlink, st.st_uid, st.st_gid, st.st_size, st.st_blocks, st.st_mtime_ns, st.st_ctime_ns)


def test_cached_metadata_moves_with_a_renamed_artist(place: Path) -> None:
    """Nothing in it is requested between the rename and the loss of the source."""
    low, view = grow(place / "low", LOW), place / "view"
    with disk(place / "high", HIGH) as high, mounted(view, high.where, low, depth=2, options=[LASTING]) as mount:
        mount.expect(r"source high \(.*\) is lost")
        crawled(mount)
        expected = {path: os.lstat(high.where / path) for path in paths_in_folders(high.where)}
        (high.where / "A").rename(high.where / "Z")
        mount.send(signal.SIGHUP)
        poll(lambda: (view / "Z/two").is_dir(), "the new name")
        high.unplug()
        mount.send(signal.SIGHUP)
        poll(lambda: "is lost" in mount.text(), "the warning")
        for path, st in expected.items():
            assert shared_fields(os.lstat(view / path.replace("A/", "Z/", 1))) == shared_fields(st)


def test_a_change_after_the_crawl_shows_within_the_maximum_staleness(place: Path) -> None:
    high, low, where = trees(place, HIGH, LOW)
    with mounted(where, high, low, depth=2, options=[REFRESH]) as view, observer() as eyes:
        crawled(view)
        (high / "A/one/sub/deep/new").write_bytes(b"new")
        (high / "A/two/00").write_bytes(b"another length")
        (low / "B/four" / os.fsdecode(b"\xff\xfe") / "x").unlink()
        shows(lambda: not eyes.differences(where, [high, low], 2), f"it within {MAX_STALENESS} s")


def test_a_crawl_stops_at_the_limit_of_remember_and_logs_it(place: Path) -> None:
    high, low, where = trees(place, {b"A": {b"%d" % n: TRACKS for n in range(40)}}, LOW)
    with mounted(where, high, low, depth=2, options=[REFRESH, "--remember=50"]) as view, observer() as eyes:
        view.expect(r"(high|low): there is more in its folders than --remember allows for")
        poll(lambda: crawls(view)[0]["state"] == "full", "the end of the crawl", 60)
        assert not eyes.differences(where, [high, low], 2)
        status = json.loads(os.getxattr(view.mountpoint, "user.mmirrorfs.status"))
        assert status["remembered"] <= 50


def test_crawl_off_starts_no_process_and_shows_everything(place: Path) -> None:
    high, low, where = trees(place, HIGH, LOW)
    with mounted(where, high, low, depth=2, options=[REFRESH, "--crawl=off"]) as view, observer() as eyes:
        assert [crawl["state"] for crawl in crawls(view)] == ["off", "off"]
        assert not Path(f"/proc/{view.pid}/task/{view.pid}/children").read_text().split()
        assert not eyes.differences(where, [high, low], 2)


def test_a_killed_crawl_is_logged_once_and_restarted(place: Path) -> None:
    many: Tree = {b"%02d" % artist: {b"%02d" % album: TRACKS for album in range(30)} for artist in range(60)}
    high, low, where = trees(place, many, LOW)
    with mounted(where, high, low, depth=2, options=[REFRESH]) as view, observer() as eyes:
        view.expect(r"(high|low): the process that crawls it ended early \(killed: Killed\); starting another one")
        killed = []

        def killed_one() -> bool:
            with suppress(ProcessLookupError, FileNotFoundError):  # one that ended meanwhile
                for child in Path(f"/proc/{view.pid}/task/{view.pid}/children").read_text().split():
                    if b"source.crawl" in Path(f"/proc/{child}/cmdline").read_bytes():
                        os.kill(int(child), signal.SIGKILL)
                        killed.append(child)
            return bool(killed)

        poll(killed_one, "a crawl to be killed")
        crawled(view)
        assert not eyes.differences(where, [high, low], 2)


def test_child_processes_end_with_the_mount(place: Path) -> None:
    high, low, where = trees(place, HIGH, LOW)
    with mounted(where, high, low, depth=2, options=[REFRESH]) as view:
        children = Path(f"/proc/{view.pid}/task/{view.pid}/children").read_text().split()
    poll(lambda: not any(Path(f"/proc/{child}").exists() for child in children), "the end of its children")
