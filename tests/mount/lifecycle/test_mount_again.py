"""Mounting on a mounted mountpoint: the same view is kept, a different one refused, a dead one replaced."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.kernel import abort_under, processes_of, view_at, views_under
from tests.support.mounts import COMMAND, View, kill, mounted
from tests.support.namespace import namespace
from tests.support.polling import poll
from tests.support.running import called
from tests.support.trees import folders, grow
from tests.support.users import NOBODY, Word, needs_root, run

SAME = ("--prefer=high", "--depth=1")


@pytest.fixture
def sources(place: Path) -> tuple[Path, Path]:
    """Two overlapping sources, ``high`` before ``low``."""
    return grow(place / "high", folders("h", *"2345")), grow(place / "low", folders("l", *"01234"))


def again(*words: str | Path) -> "subprocess.CompletedProcess[bytes]":
    """Run the command again."""
    return run(*COMMAND, *words)


def serving(place: Path) -> list[int]:
    """The processes that serve views below ``place``."""
    return sorted(processes_of(os.fsencode(place)))


def check_one(view: View) -> None:
    """Check that ``view`` is still served by its process, answers, and is the only mount."""
    assert len(views_under(view.where)) == 1
    assert serving(view.mountpoint.parent) == [view.pid]
    assert (view.mountpoint / "2/track").read_text() == "h2"


def test_mounting_the_same_view_again_succeeds_without_a_second_mount(place: Path, sources: tuple[Path, Path]) -> None:
    high, low = sources
    (place / "link").symlink_to("high")
    (place / "view").mkdir()
    spelled: list[tuple[str | Path, ...]] = [
        (*sources, place / "view", *SAME),
        (*sources, place / "view", "-f"),
        (f"{high}/", place / "high/../low", f"{place}/high/../view/"),
        (place / "link", low, place / "view"),
        (f"{high}:{low}", place / "view", "-o", "rw,depth=1,prefer=high,noatime,dev,suid"),
        (*sources, place / "view", "-vv"),
    ]
    with mounted(place / "view", *sources) as view:
        for words in spelled:
            done = called(place, *words)
            assert (done.returncode, done.stdout) == (0, b""), words
            known = f"mmirrorfs: {view.mountpoint} is mounted already\n".encode()
            assert done.stderr == (known if {"-f", "-vv"} & set(words) else b""), "only with -f or -v"
        check_one(view)


SOURCES = "its sources are {place}/high and {place}/low"
OTHERS: dict[str, tuple[str, str, str]] = {
    "another order": ("low high", "", SOURCES),
    "another source": ("high other", "", SOURCES),
    "one source more": ("high low other", "", SOURCES),
    "another winner": ("high low", "--prefer=low", "--prefer is high, not low"),
    "another depth": ("high low", "--depth=2", "--depth is 1, not 2"),
    "another way to be watched": ("high low", "--watch=off", "--watch is auto, not off"),
    "another time to recheck": ("high low", "--recheck=0", "--recheck is 3600, not 0"),
    "another promise": ("high low", "--refresh=5", "--refresh is 60, not 5"),
    "something left out": ("high low", "--exclude=*.jpg", "--exclude is nothing, not *.jpg"),
    "everybody": ("high low", "-oallow_other", "-o is nothing, not allow_other"),
}


@needs_root
def test_a_different_view_on_a_mounted_mountpoint_is_refused(place: Path, sources: tuple[Path, Path]) -> None:
    grow(place / "other", folders("o", "2"))
    with mounted(place / "view", *sources) as view:
        for what, (names, option, differs) in OTHERS.items():
            done = called(place, *[place / name for name in names.split()], view.mountpoint, *option.split())
            assert (done.returncode, done.stdout) == (32, b""), what
            where = f"{view.mountpoint} ({differs.format(place=place)})"
            assert done.stderr.decode() == f"mmirrorfs: another view is mounted on {where}: unmount it first (umount)\n"
        check_one(view)


@pytest.mark.parametrize("words", [SAME, ("--prefer=low",)], ids=["the same", "another"])
def test_a_dead_view_is_replaced_and_that_is_logged(
    place: Path, sources: tuple[Path, Path], words: tuple[str, ...]
) -> None:
    with mounted(place / "view", *sources, background=True) as view:
        kill(view.pid, view.mountpoint)
        done = again(*sources, view.mountpoint, *words)
        assert (done.returncode, done.stdout) == (0, b"")
        assert done.stderr == f"mmirrorfs: a dead view was on {view.mountpoint}; it is replaced\n".encode()
        assert len(views_under(view.where)) == 1
        assert (view.mountpoint / "2/track").read_text() == ("h2" if words is SAME else "l2")
        (view.pid,) = serving(place)


@dataclass
class Pair:
    """Both outputs, the process of each, and the arguments that mount them."""

    words: list[str | Path]
    high: Path
    low: Path
    pids: dict[Path, int]

    def shown(self) -> list[str]:
        """The winner in each."""
        return [(view / "2/track").read_text() for view in (self.high, self.low)]


@contextmanager
def pair(place: Path, sources: tuple[Path, Path]) -> Iterator[Pair]:
    """Mount both outputs in the background: ``high`` first, then both by a command that names the first again."""
    high, low = place / "prefer high", place / "prefer low"
    made = Pair([*sources, "--output-high", high], high, low, {})
    try:
        for view in (high, low):
            done = again(*made.words)
            assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
            poll(lambda: len(serving(place)) == len(made.pids) + 1, "one process more, and nothing that it starts")
            (made.pids[view],) = set(serving(place)) - set(made.pids.values())
            made.words += ["--output-low", low] if view == high else []
        assert made.shown() == ["h2", "l2"]
        yield made
        for pid in serving(place):
            os.kill(pid, signal.SIGTERM)
        poll(lambda: not serving(place) and not views_under(os.fsencode(place)), "the end of both views")
    finally:
        abort_under(os.fsencode(place))


@pytest.mark.mount(seconds=120)
def test_mounting_both_outputs_again_mounts_only_what_is_missing(place: Path, sources: tuple[Path, Path]) -> None:
    with pair(place, sources) as both:
        check_both_again(place, both)
        check_dead_one_is_replaced(place, both)
        check_other_options_are_refused_for_both(place, both)


def check_both_again(place: Path, both: Pair) -> None:
    """Nothing is mounted."""
    done = again(*both.words)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert serving(place) == sorted(both.pids.values())
    assert len(views_under(os.fsencode(place))) == 2
    assert both.shown() == ["h2", "l2"]


def check_dead_one_is_replaced(place: Path, both: Pair) -> None:
    """The live one is left alone."""
    kill(both.pids[both.low], both.low)
    done = again(*both.words)
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr == f"mmirrorfs: a dead view was on {both.low}; it is replaced\n".encode()
    assert both.pids[both.high] in serving(place)
    (both.pids[both.low],) = set(serving(place)) - {both.pids[both.high]}
    assert len(views_under(os.fsencode(place))) == 2
    assert both.shown() == ["h2", "l2"]


def check_other_options_are_refused_for_both(place: Path, both: Pair) -> None:
    """Where one mountpoint has a different view, the free one is not mounted either."""
    run("fusermount3", "-u", both.high)
    poll(lambda: len(serving(place)) == 1, "the end of the high view")
    for depth in ("2", "3"):
        done = again(*both.words, f"-d{depth}")
        where = f"{both.low} (--depth is 1, not {depth})"
        said = f"mmirrorfs: another view is mounted on {where}: unmount it first (umount)\n"
        assert (done.returncode, done.stderr.decode()) == (32, said)
    assert serving(place) == [both.pids[both.low]]
    assert view_at(os.fsencode(both.high)) is None


@needs_root
def test_a_live_view_that_root_may_not_enter_is_not_taken_for_dead(place: Path, sources: tuple[Path, Path]) -> None:
    (place / "view").mkdir()
    os.chown(place / "view", NOBODY, NOBODY)
    with namespace(place) as inside:
        inside.let_everybody_open_fuse()
        done = inside.run_as_nobody(*COMMAND, *sources, place / "view")
        assert (done.returncode, done.stderr) == (0, b"")
        before = inside.daemon()
        done = inside.run(*COMMAND, *sources, place / "view")
        assert (done.returncode, done.stdout) == (32, b"")
        said = f"mmirrorfs: another view is mounted on {place}/view: unmount it first (umount)\n"
        assert done.stderr.decode() == said, "it differs in nothing but in whose it is"
        assert inside.daemon() == before
        assert inside.run_as_nobody("cat", place / "view/2/track").stdout == b"h2"
        inside.unmount(place / "view")


@needs_root
def test_a_plain_user_may_replace_a_dead_view(place: Path, sources: tuple[Path, Path]) -> None:
    (place / "view").mkdir()
    os.chown(place / "view", NOBODY, NOBODY)
    with namespace(place) as inside:
        inside.let_everybody_open_fuse()
        words: list[Word] = [*COMMAND, *sources, place / "view"]
        assert inside.run_as_nobody(*words).returncode == 0
        pid = inside.daemon()
        os.kill(pid, signal.SIGKILL)
        poll(lambda: not inside.processes(), "the end of the process")
        done = inside.run_as_nobody(*words)
        assert done.stderr == f"mmirrorfs: a dead view was on {place}/view; it is replaced\n".encode()
        assert done.returncode == 0
        assert len(inside.views()) == 1
        assert inside.run_as_nobody("cat", place / "view/2/track").stdout == b"h2"
        inside.unmount(place / "view")
