"""Concurrent commands on one mountpoint, and the lock and claim that keep them from mounting twice."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kernel import abort_at, abort_under, alive, detach, processes_of, view_at, views_under
from tests.support.mounts import COMMAND, daemon_of, mounted
from tests.support.polling import poll
from tests.support.trees import folders, grow
from tests.support.users import Word, needs_root, run

pytestmark = needs_root

ROUNDS = 3
"""Races between two commands. Without the lock, each of them mounted twice."""


@pytest.fixture
def sources(place: Path) -> Iterator[list[Path]]:
    """Two overlapping sources. Kills and unmounts what is left below ``place`` after the test."""
    yield [grow(place / "high", folders("h", *"2345")), grow(place / "low", folders("l", *"01234"))]
    for pid in processes_of(os.fsencode(place)):
        os.kill(pid, signal.SIGKILL)
    while abort_under(os.fsencode(place)):
        continue


def is_stopped(pid: int) -> bool:
    """Whether the process is stopped."""
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"T"


def start(*words: str | Path) -> "subprocess.Popen[bytes]":
    """Start the command without waiting for it."""
    return subprocess.Popen([*COMMAND, *words], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)


def results(*processes: "subprocess.Popen[bytes]") -> list[tuple[int, bytes]]:
    """Exit code and stderr of each, sorted."""
    said = [process.communicate(timeout=60)[1] for process in processes]
    return sorted((process.returncode, text) for process, text in zip(processes, said, strict=True))


def unmount_all(place: Path) -> None:
    """Unmount all views and wait for their daemons."""
    for view in views_under(os.fsencode(place)):
        run("umount", view.where)
    poll(lambda: not processes_of(os.fsencode(place)), "the end of all that served", 15)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGCONT], ids=["SIGTERM", "cut off"])
def test_a_resumed_daemon_leaves_the_view_that_replaced_it(
    place: Path, sources: list[Path], ending: signal.Signals
) -> None:
    """With SIGCONT alone the daemon has to notice that its mount is gone."""
    where = place / "view"
    where.mkdir()
    assert run(*COMMAND, *sources, where).returncode == 0
    old = daemon_of(os.fsencode(where))
    os.kill(old, signal.SIGSTOP)
    poll(lambda: is_stopped(old), "the daemon stopped")
    detach(os.fsencode(where))
    assert run(*COMMAND, *sources, where, "--prefer=low").returncode == 0
    for number in dict.fromkeys((ending, signal.SIGCONT)):  # one that is woken twice may be gone by then
        os.kill(old, number)
    poll(lambda: not alive(old), "the end of the old daemon", 15)
    assert view_at(os.fsencode(where)) is not None
    assert (where / "2/track").read_text() == "l2"
    unmount_all(place)


def test_the_same_command_twice_at_once_mounts_once_and_both_succeed(place: Path, sources: list[Path]) -> None:
    (place / "view").mkdir()
    for _ in range(ROUNDS):
        assert results(start(*sources, place / "view"), start(*sources, place / "view")) == [(0, b"")] * 2
        assert len(views_under(os.fsencode(place))) == 1
        unmount_all(place)


def test_of_two_different_views_at_once_one_is_mounted_and_one_refused(place: Path, sources: list[Path]) -> None:
    (place / "view").mkdir()
    good, bad = results(start(*sources, place / "view"), start(*sources, place / "view", "--prefer=low"))
    assert good == (0, b"")
    assert bad[0] == 32
    assert b"another view is mounted" in bad[1]
    assert len(views_under(os.fsencode(place))) == 1
    unmount_all(place)


def test_both_outputs_twice_at_once_are_mounted_once_each(place: Path, sources: list[Path]) -> None:
    words: list[str | Path] = [*sources, "--output-high", place / "H", "--output-low", place / "L"]
    assert results(start(*words), start(*words)) == [(0, b"")] * 2
    assert len(views_under(os.fsencode(place))) == 2
    unmount_all(place)


def test_the_identity_does_not_reveal_the_options(place: Path, sources: list[Path]) -> None:
    options = ["--on-change=echo s3cret"]
    with mounted(place / "view", *sources, options=options, background=True) as view:
        assert re.fullmatch(rb"[0-9a-f]{64}", os.getxattr(view.mountpoint, "user.mmirrorfs.identity"))


def test_mounting_works_where_the_caller_ignores_sigchld(place: Path, sources: list[Path]) -> None:
    (place / "view").mkdir()
    ignoring: list[Word] = ["env", "--ignore-signal=CHLD", *COMMAND, *sources, place / "view"]
    done = run(*ignoring)
    assert (done.returncode, done.stderr) == (0, b"")
    unmount_all(place)


def test_an_aborted_view_below_a_symbolic_link_is_unmounted(place: Path, sources: list[Path]) -> None:
    (place / "var").mkdir()
    (place / "var/view").mkdir()
    (place / "mnt").symlink_to("var")
    words: list[str | Path] = [*COMMAND, *sources, place / "mnt/view"]
    assert run(*words).returncode == 0
    pid = daemon_of(os.fsencode(place))
    abort_at(os.fsencode(place / "var/view"))
    poll(lambda: not alive(pid) and not views_under(os.fsencode(place)), "nothing left after the abort", 15)
