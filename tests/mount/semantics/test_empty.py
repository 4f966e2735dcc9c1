"""``--skip-empty``: a folder without files wins only where no source has one with files, also after changes.

Each kind of change has its own tree in one view, so that a scan because of one does not reveal another.
"""

import contextlib
import itertools
import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.disks import disk
from tests.support.fresh import Observer, becomes, differences, observer, shows, stays
from tests.support.hanging import freed, hanging
from tests.support.held import QUIET, crawled, refresh, rested, status
from tests.support.hung import check_the_rest_for, hanging_view
from tests.support.mounts import View, mounted
from tests.support.namespace import namespace
from tests.support.plain import plain_view
from tests.support.plugs import PASSING, plugged
from tests.support.polling import holds, poll
from tests.support.running import called
from tests.support.swapping import exchange
from tests.support.tracing import traced
from tests.support.trees import Link, Tree, grow
from tests.support.users import NOBODY, WITHOUT_OVERRIDE, needs_root
from tests.support.watched import HOURLY, KINDS, source

pytestmark = [pytest.mark.waits, pytest.mark.mount(seconds=120)]

SKIP = "--skip-empty"
REFRESH = "--refresh=0.3"
LONG = 1.2
"""Seconds: several rescans."""
DEPTH = 3
"""One more than the depth of artists and albums, as each change has its own artist directory."""
FULL: Tree = {b"1": b"low"}
NESTED: Tree = {b"a": {b"b": {}}, b"c": {}}


Change = Callable[[Path, Path], object]
"""A change, given the artist's directory in both sources."""


@dataclass(frozen=True)
class Case:
    """The album ``x`` of an artist in each source, other albums in the preferred one, and changes in order."""

    high: Tree
    low: Tree
    beside: Tree
    changes: tuple[Change, ...]


def case(high: Tree, *changes: Change, low: Tree = FULL, **beside: Tree) -> Case:
    return Case(high, low, {name.encode(): tree for name, tree in beside.items()}, changes)


def write(path: Path) -> None:
    """Make a file and its parent directories."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.fsencode(path.name))


CASES = {
    "nothing happens": case(NESTED),
    "nothing happens, and both are empty": case(NESTED, low={}),
    "a file is added": case({}, lambda high, low: write(high / "x/new")),
    "a file is added far down": case(NESTED, lambda high, low: write(high / "x/a/b/new")),
    "a file is added in new directories": case(NESTED, lambda high, low: write(high / "x/a/d/e/f/new")),
    "a symlink is added": case({}, lambda high, low: (high / "x/new").symlink_to("nowhere")),
    "a FIFO is added": case({}, lambda high, low: os.mkfifo(high / "x/new")),
    "only directories are added": case({}, lambda high, low: (high / "x/a/b/c").mkdir(parents=True)),
    "a directory with a file is moved in": case(
        NESTED, lambda high, low: (high / "other/d").rename(high / "x/a/d"), other={b"d": {b"e": FULL}}
    ),
    "the only file is removed": case(FULL, lambda high, low: (high / "x/1").unlink()),
    "the only file is removed, far down": case({b"a": {b"b": FULL}}, lambda high, low: (high / "x/a/b/1").unlink()),
    "all files are removed": case(
        {b"1": b"", b"2": b"", b"a": FULL},
        lambda high, low: (high / "x/1").unlink(),
        lambda high, low: (high / "x/a/1").unlink(),
        lambda high, low: (high / "x/2").unlink(),
    ),
    "one of two files is removed": case({b"1": b"", b"a": FULL}, lambda high, low: (high / "x/1").unlink()),
    "the tree with all files is removed": case(
        {b"a": {b"b": FULL}, b"c": {}}, lambda high, low: shutil.rmtree(high / "x/a")
    ),
    "the only file is moved out": case({b"a": FULL}, lambda high, low: (high / "x/a/1").rename(high / "1")),
    "the directory with the only file is moved out": case(
        {b"a": {b"b": FULL}}, lambda high, low: (high / "x/a").rename(high / "other/a"), other={}
    ),
    "a directory replaces the only file": case(
        FULL, lambda high, low: (high / "x/1").unlink(), lambda high, low: (high / "x/1").mkdir()
    ),
    "a file is added and removed": case(
        {}, lambda high, low: write(high / "x/new"), lambda high, low: (high / "x/new").unlink()
    ),
    "the empty folder is removed": case({}, lambda high, low: (high / "x").rmdir()),
    "another empty folder is added": case({}, lambda high, low: (high / "y").mkdir()),
    "a folder is renamed": case({}, lambda high, low: (high / "x").rename(high / "y")),
    "a folder is renamed and filled": case(
        NESTED, lambda high, low: (high / "x").rename(high / "y"), lambda high, low: write(high / "y/a/b/new")
    ),
    "an artist is renamed and a folder filled": case(
        NESTED,
        lambda high, low: high.rename(high.with_name("B")),
        lambda high, low: write(high.with_name("B") / "x/a/new"),
    ),
    "two folders are exchanged": case(
        {}, lambda high, low: exchange((str(high / "x"), str(high / "other"))), other={b"1": b"other"}
    ),
    "a folder is replaced by a full one": case(
        {},
        lambda high, low: (high / "x").rmdir(),
        lambda high, low: (high / "other").rename(high / "x"),
        other={b"1": b"other"},
    ),
    "a file replaces an empty folder": case(
        {}, lambda high, low: (high / "x").rmdir(), lambda high, low: write(high / "x")
    ),
    "the other source's only file is removed": case({}, lambda high, low: (low / "x/1").unlink()),
    "the other source gets its first file": case({}, lambda high, low: write(low / "x/a/new"), low={}),
    "both get their first files": case(
        {}, lambda high, low: write(low / "x/new"), lambda high, low: write(high / "x/new"), low={}
    ),
    "the other source's folder becomes a file": case(
        {}, lambda high, low: (low / "x").rmdir(), lambda high, low: write(low / "x"), low={}
    ),
}
NAMES = {name: b"%02d" % number for number, name in enumerate(CASES)}


def check_all(eyes: Observer, place: Path, high: Path, *options: str) -> None:
    """Each change shows in a view of ``high``, the preferred source, and another one."""
    order = [high, grow(place / "low", {NAMES[name]: {b"A": {b"x": case.low}} for name, case in CASES.items()})]
    with mounted(place / "view", *order, depth=DEPTH, options=[SKIP, *options]) as view:
        assert not eyes.differences(view.mountpoint, order, DEPTH, True)
        if "--crawl=off" not in options:
            crawled(view)
        if HOURLY in options:
            rested(view)
        for name, number in NAMES.items():
            high, low = [source / os.fsdecode(number) / "A" for source in order]
            for change in CASES[name].changes:
                change(high, low)
        becomes(eyes, view.mountpoint, order, DEPTH, "every kind of change", True)


BETTER: Tree = {NAMES[name]: {b"A": {b"x": case.high, **case.beside}} for name, case in CASES.items()}


@pytest.fixture
def eyes() -> Iterator[Observer]:
    """Another process."""
    with observer() as eyes:
        yield eyes


@pytest.mark.parametrize("kind", KINDS)
def test_every_change_of_emptiness_shows_at_once_on_watched_filesystems(place: Path, eyes: Observer, kind: str) -> None:
    with source(place / "high", kind, BETTER) as high:
        check_all(eyes, place, high, HOURLY)


@pytest.mark.parametrize(
    "options",
    [[HOURLY, "--crawl=off"], [REFRESH, "--watch=off"], [REFRESH, "--watch=off", "--crawl=off"]],
    ids=["nothing read ahead", "polled", "polled, nothing read ahead"],
)
def test_every_change_of_emptiness_shows_without_crawl_or_watch(
    place: Path, eyes: Observer, options: list[str]
) -> None:
    check_all(eyes, place, grow(place / "high", BETTER), *options)


@needs_root
def test_changes_of_emptiness_show_on_a_polled_filesystem(place: Path) -> None:
    low = grow(place / "low", {b"A": {b"x": FULL, b"y": FULL, b"z": FULL}})
    with plugged(place / "high", PASSING, {b"A": {b"x": {}, b"y": {b"a": FULL}, b"z": NESTED}}) as disk:
        order = [disk.where, low]
        with mounted(place / "view", *order, depth=2, options=[SKIP, REFRESH]) as view:
            winners = {"x": "low", "y": "high", "z": "low"}
            assert {name: winner(view, f"A/{name}") for name in winners} == winners
            write(disk.changed / "A/x/new")
            (disk.changed / "A/y/a/1").unlink()
            write(disk.changed / "A/z/a/b/new")
            winners = {"x": "high", "y": "low", "z": "high"}
            shows(lambda: {name: winner(view, f"A/{name}") for name in winners} == winners, "the other winners")


def winner(view: View, path: str) -> str:
    """The name of the source of a path, from its extended attribute."""
    return os.getxattr(view.mountpoint / path, "user.mmirrorfs.source").decode()


def test_both_views_prefer_folders_with_files_and_have_the_same_names(place: Path) -> None:
    high = grow(place / "high", {b"A": {b"x": {}, b"y": FULL, b"z": NESTED, b"f": b""}, b"B": {}, b"f": {b"f": {}}})
    low = grow(place / "low", {b"A": {b"x": FULL, b"y": {}, b"z": {}, b"f": {}}, b"f": b""})
    with (
        mounted(place / "first", high, low, depth=2, options=[SKIP]) as first,
        mounted(place / "second", high, low, prefer="low", depth=2, options=[SKIP]) as second,
    ):
        for view, order in ((first, [high, low]), (second, [low, high])):
            assert not differences(view.mountpoint, order, 2, skip_empty=True)
            assert [winner(view, f"A/{name}") for name in "xy"] == ["low", "high"]
        assert [winner(view, "A/z") for view in (first, second)] == ["high", "low"]


def test_without_the_option_an_empty_folder_wins(place: Path) -> None:
    order = [grow(place / "high", {b"x": {}}), grow(place / "low", {b"x": FULL})]
    with mounted(place / "view", *order) as view:
        assert winner(view, "x") == "high"
        assert status(view)["sources"][0]["empty"] is None


def test_excluded_names_do_not_count_as_files(place: Path, eyes: Observer) -> None:
    album: Tree = {b".DS_Store": b"", b"@eaDir": {b"1": b""}, b"a": {b".DS_Store": b""}}
    high, low = grow(place / "high", {b"x": album, b"y": {**album, b"1": b""}}), grow(place / "low", {b"x": FULL})
    options = [SKIP, HOURLY, "--exclude=.DS_Store", "--exclude=@eaDir"]
    with mounted(place / "view", high, grow(low, {b"y": FULL}), options=options) as view:
        assert (winner(view, "x"), winner(view, "y")) == ("low", "high")
        rested(view)
        write(high / "x/@eaDir/2")
        (high / "y/1").rename(high / "y/@eaDir/3")
        shows(lambda: winner(view, "y") == "low", "an album whose only file was moved into an excluded directory")
        assert winner(view, "x") == "low"
        write(high / "x/a/1")
        shows(lambda: winner(view, "x") == "high", "an album with a file")


def test_open_files_and_directories_stay_unchanged_when_another_source_takes_over(place: Path, eyes: Observer) -> None:
    order = [grow(place / "high", {b"x": {b"a": {}}}), grow(place / "low", {b"x": {b"1": b"low", b"2": b"two"}})]
    with mounted(place / "view", *order, options=[SKIP, HOURLY]) as view:
        rested(view)
        fd, directory = eyes.open(view.mountpoint / "x/1"), eyes.opendir(view.mountpoint / "x")
        (order[0] / "x/a/1").write_bytes(b"high")
        shows(lambda: eyes.holds(view.mountpoint / "x/a/1", b"high"), "the album with a file now")
        assert (eyes.pread(fd), eyes.readdir(directory)) == (b"low", ["1", "2"])
        other = eyes.open(view.mountpoint / "x/a/1")
        (order[0] / "x/a/1").unlink()
        shows(lambda: eyes.holds(view.mountpoint / "x/1", b"low"), "the other album again")
        assert (eyes.pread(fd), eyes.pread(other)) == (b"low", b"high")


@needs_root
def test_a_lost_source_keeps_its_winners_or_falls_back_and_recovers(place: Path) -> None:
    """In views with each mode of ``--on-missing``, watched and polled, at once."""
    low = grow(place / "low", {b"x": FULL, b"y": FULL, b"z": {}})
    there = ("low", "high", "high")
    with (
        disk(place / "high", {b"x": {b"a": {}}, b"y": {b"1": b"high"}, b"z": {}}) as high,
        contextlib.ExitStack() as stack,
    ):
        views: dict[tuple[str, str], View] = {}
        for missing, watch in itertools.product(("keep", "fallback"), ("auto", "off")):
            options = [SKIP, REFRESH, f"--on-missing={missing}", f"--watch={watch}"]
            where = place / f"view {missing} {watch}"
            views[missing, watch] = view = stack.enter_context(mounted(where, high.where, low, options=options))
            for pattern in (r"source high \(.*\) is lost", r"source high \(.*\) is back"):
                view.expect(pattern)

        def won() -> dict[tuple[str, str], tuple[str, ...]]:
            return {key: tuple(winner(view, name) for name in "xyz") for key, view in views.items()}

        before = dict.fromkeys(views, there)
        assert won() == before
        high.unplug()
        shows(lambda: all("is lost" in view.text() for view in views.values()), "the loss")
        lost = {key: there if key[0] == "keep" else ("low", "low", "low") for key in views}
        shows(lambda: won() == lost, "the winners during the loss")
        stays(lambda: won() == lost, "the winners during the loss", LONG)
        high.plug()
        shows(lambda: all("is back" in view.text() for view in views.values()), "the recovery logged")
        shows(lambda: won() == before, "the winners again")
        write(high.where / "x/a/1")
        (high.where / "y/1").unlink()
        shows(lambda: won() == dict.fromkeys(views, ("high", "low", "high")), "the changes since")


@needs_root
def test_an_unreadable_folder_does_not_count_as_empty(place: Path) -> None:
    order = [grow(place / "high", {b"x": {}, b"y": {b"a": {}}, b"z": {}}), grow(place / "low", {})]
    for name in ("x", "y", "z"):
        grow(order[1] / name, FULL)
    for path in (order[0] / "x", order[0] / "y/a"):
        path.chmod(0)
        os.chown(path, NOBODY, NOBODY)
    with mounted(place / "view", *order, options=[SKIP, REFRESH], prefix=WITHOUT_OVERRIDE) as view:
        assert [winner(view, name) for name in "xyz"] == ["high", "high", "low"]
        for path in (order[0] / "x", order[0] / "y/a"):
            path.chmod(0o755)
        shows(lambda: [winner(view, name) for name in "xyz"] == ["low"] * 3, "the readable folders")
        (order[0] / "z").chmod(0)
        os.chown(order[0] / "z", NOBODY, NOBODY)
        shows(lambda: winner(view, "z") == "high", "the unreadable folder")


@needs_root
def test_a_hung_source_delays_no_request_in_a_merged_directory(place: Path) -> None:
    with hanging_view(place, options=(SKIP, REFRESH)) as (source, view):
        (place / "fast/Both/Slow").mkdir()
        source.hang()
        check_the_rest_for(view, LONG)
        assert winner(view, "Both/Slow") == "slow"
        source.go_on()


@needs_root
def test_a_filesystem_mounted_in_a_folder_is_not_searched_and_counts_as_a_file(place: Path) -> None:
    """A hung one would block the scan of the whole source."""
    order = [grow(place / "high", {b"x": {b"net": {}}, b"y": {}}), grow(place / "low", {b"x": FULL, b"y": FULL})]
    with (
        hanging(grow(place / "under", {}), order[0] / "x/net") as net,
        mounted(place / "view", *order, options=[SKIP, REFRESH, "--watch=off"]) as view,
        freed(net),
    ):
        assert [winner(view, name) for name in "xy"] == ["high", "low"]
        net.hang()
        write(order[0] / "y/1")
        shows(lambda: winner(view, "y") == "high", "the change in another folder")
        net.go_on()


def test_followed_links_count_as_their_targets(place: Path) -> None:
    beside = grow(place / "beside", {b"full": FULL, b"empty": {}})
    links: Tree = {
        b"full": Link(os.fsencode(beside / "full")),
        b"empty": Link(os.fsencode(beside / "empty")),
        b"in": {b"a": Link(os.fsencode(beside / "empty"))},
        b"loop": {b"a": Link(b".")},
    }
    names = ["full", "empty", "in", "loop"]
    order = [grow(place / "high", links), grow(place / "low", {name.encode(): FULL for name in names})]
    with mounted(place / "view", *order, options=[SKIP, REFRESH, "--followsymlinks"]) as view:
        assert [winner(view, name) for name in names] == ["high", "low", "low", "high"]
        write(beside / "empty/1")
        shows(lambda: [winner(view, name) for name in names] == ["high"] * 4, "the links' targets")
        (beside / "full/1").unlink()
        shows(lambda: winner(view, "full") == "low", "a link's target")


def test_status_explain_and_attributes_report_skipped_folders(place: Path) -> None:
    high, low = grow(place / "high", {b"A": {b"x": {}, b"y": {}}}), grow(place / "low", {b"A": {b"x": FULL, b"y": {}}})
    with mounted(place / "view", high, low, depth=2, options=[SKIP]) as view:
        assert [source["empty"] for source in status(view)["sources"]] == [2, 1]
        lines = called(place, "--status", "view").stdout.decode().splitlines()
        assert "    2 of its folders hold no file, and win only where nobody has one that does" in lines
        words = called(place, "--explain", "view/A/x").stdout.decode().splitlines()
        assert "taken whole from the first source of this view that has it with a file in it." in words[1]
        assert words[2:] == [
            f"It takes the place of {high}/A/x",
            f"Skipped, as there is no file in it: {high}/A/x",
        ]
        found = json.loads(called(place, "--explain", "view/A/x", "--json").stdout)
        assert found["skips"] == found["hides"] == [{"name": "high", "path": f"{high}/A/x"}]
        assert found["rule"] == "filled"
        words = called(place, "--explain", "high/A/x").stdout.decode().splitlines()
        assert words[2:] == [
            "That is the first source of this view that has it with a file in it.",
            f"Skipped, as there is no file in it: {high}/A/x",
        ]
        assert "Skipped" not in called(place, "--explain", "view/A/y").stdout.decode()
        assert os.getxattr(view.mountpoint / "A/x/1", "user.mmirrorfs.skipped") == os.fsencode(high / "A/x")
        with pytest.raises(OSError, match=r"user|No data"):
            os.getxattr(view.mountpoint / "A/y", "user.mmirrorfs.skipped")


@pytest.mark.parametrize("how", ["option", "-o", "file"])
def test_a_plan_applies_the_option_however_it_is_given(place: Path, how: str) -> None:
    grow(place / "high", {b"A": {b"x": {}, b"y": FULL, b"z": {}}})
    grow(place / "low", {b"A": {b"x": FULL, b"y": {}, b"z": {}}})
    (place / "file.toml").write_text("skip-empty = true\n")
    words = {"option": [SKIP], "-o": ["-o", "skip_empty"], "file": ["--config=file.toml"]}[how]
    done = called(place, "--simulate", "high", "low", "--depth=2", *words)
    assert done.stdout.decode().splitlines() == [
        "folder\tlow\tlow\tA/x",
        "folder\thigh\thigh\tA/y",
        "folder\thigh\tlow\tA/z",
    ]
    assert not called(place, "--simulate", "high", "low", "--depth=2", "-o", "skip_empty=yes").stdout


@pytest.mark.alone
def test_a_poll_costs_one_stat_per_full_folder_and_one_listing_per_empty_one(place: Path) -> None:
    full: Tree = {b"%d" % number: b"" for number in range(3)}
    sources = place / "sources"
    order = [grow(sources / "high", {b"a": full, b"b": {b"c": full}, b"d": {}}), grow(sources / "low", {b"a": full})]
    options = [SKIP, *QUIET, "--announce=off"]
    with mounted(place / "view", *order, options=options) as view:
        rested(view)
        with traced(view.pid, view.mountpoint, sources) as trace:
            trace.costs(lambda: os.stat(view.mountpoint))

            def quiet() -> dict[str, int] | None:
                calls = trace.costs(lambda: refresh(view)).calls
                return None if calls["getdents64"] > 2 else calls

            poll(quiet, "a rescan that trusts the mtimes of the new directories", 15)
            roots, files = 2, 3
            of_roots = Counter(open=roots, statx=roots, faccessat=roots, close=roots, newfstatat=3 * roots)
            of_empty = Counter(open=1, getdents64=2, newfstatat=2, close=2)
            assert quiet() == of_roots + of_empty + Counter(open=files, newfstatat=files, close=files)


def test_albums_added_empty_and_filled_at_once_all_take_over(place: Path, eyes: Observer) -> None:
    """Events may arrive while the new album is searched."""
    names, chance = [b"%03d" % number for number in range(100)], random.Random(1)
    order = [grow(place / "high", {b"A": {}}), grow(place / "low", {b"A": dict.fromkeys(names, FULL)})]
    with mounted(place / "view", *order, depth=2, options=[SKIP, HOURLY]) as view:
        rested(view)
        for name in names:
            album = order[0] / "A" / os.fsdecode(name)
            album.mkdir()
            holds(lambda: False, chance.uniform(0, 0.1))
            write(album / "new")
        becomes(eyes, view.mountpoint, order, 2, "the new albums", True)


@needs_root
def test_folders_beyond_the_inotify_limit_are_polled(place: Path) -> None:
    names = [str(number) for number in range(40)]
    high = grow(place / "high", {name.encode(): {b"a": {}} for name in names})
    low = grow(place / "low", {name.encode(): FULL for name in names})
    with namespace(place) as inside:
        (place / "limit").write_text("128\n")
        inside.output_of("mount", "--bind", place / "limit", "/proc/sys/fs/inotify/max_user_watches")
        with plain_view(inside, high, low, options=[SKIP, "--refresh=2"]) as view:
            poll(lambda: view.status()["sources"][0]["watch"]["how"] == "mixed", "too few watches")
            assert view.status()["sources"][0]["empty"] == len(names)
            for name in names:
                write(high / name / "a/new")
            poll(lambda: all(view.names(name) == ["a"] for name in names), "all folders with a file now")
            for name in names:
                (high / name / "a/new").unlink()
            poll(lambda: all(view.names(name) == ["1"] for name in names), "the others' folders again")
