"""``--on-change``: the command and all its descendants end with the view, in whichever way that ends."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.fresh import MARGIN, REFRESH, shows, trees
from tests.support.kernel import abort_under, alive
from tests.support.mounts import View, mounted
from tests.support.polling import poll
from tests.support.trees import folders, grow

pytestmark = pytest.mark.waits

ENDINGS = ["SIGTERM", "umount", "SIGKILL"]


@contextmanager
def _running(place: Path, command: str, *pids: str) -> Iterator[tuple[View, list[int]]]:
    """A view whose command a change has started, and the processes whose ids it wrote into the files ``pids``.

    Kills what is left of them after the block.
    """
    high, low, view = trees(place, folders("h", "A"), folders("l", "B"))
    written = [place / name for name in pids]
    script = place / "script"
    script.write_text(command)
    started: list[int] = []
    try:
        with mounted(view, high, low, options=[REFRESH, f"--on-change=cd {place}; . ./script"]) as mount:
            grow(high, folders("h", "C"))
            shows(lambda: all(path.exists() and path.read_text().strip() for path in written), "the command")
            started += [int(path.read_text()) for path in written]
            assert all(map(alive, started))
            yield mount, started
    finally:
        for pid in started:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


def _end(mount: View, how: str) -> None:
    if how == "umount":
        assert os.spawnlp(os.P_WAIT, "umount", "umount", mount.mountpoint) == 0
    elif how == "SIGKILL":
        assert mount.process is not None
        mount.send(signal.SIGKILL)
        mount.process.wait(MARGIN)
        abort_under(mount.where)
        mount.process = None  # how it ended is known
    else:
        mount.unmount()


@pytest.mark.parametrize("how", ENDINGS)
def test_processes_of_a_running_command_end_with_the_view(place: Path, how: str) -> None:
    command = "echo $$ >shell; yes >/dev/null & echo $! >yes; sleep 1000 & echo $! >sleep; wait"
    with _running(place, command, "shell", "yes", "sleep") as (mount, started):
        _end(mount, how)
        poll(lambda: not any(map(alive, started)), "the end of the command and of what it started")


@pytest.mark.parametrize("how", ENDINGS)
def test_a_process_that_the_command_left_ends_with_the_view_and_not_before(place: Path, how: str) -> None:
    command = "test -e left || { sleep 1000 </dev/null & echo $! >left; }; cat >>told; echo $$ >>runs"
    with _running(place, command, "left") as (mount, started):
        poll(lambda: not any(map(alive, _numbers(place / "runs"))), "the end of the first run")
        grow(place / "high", folders("h", "D"))
        shows(lambda: len(_numbers(place / "runs")) > 1, "the next run")
        assert alive(started[0])
        _end(mount, how)
        poll(lambda: not alive(started[0]), "the end of what the command left")


def _numbers(path: Path) -> list[int]:
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def test_a_command_gets_sigterm_first_and_is_killed_if_it_stays(place: Path) -> None:
    command = "trap 'echo tidied >tidied' TERM; echo $$ >shell; while :; do sleep 0.05; done"
    with _running(place, command, "shell") as (mount, started):
        mount.unmount()
        poll(lambda: (place / "tidied").exists() and not alive(started[0]), "the end of the command")


def test_a_command_that_is_using_the_view_does_not_block_unmounting(place: Path) -> None:
    command = "cd $MMIRRORFS_MOUNTPOINT; trap '' TERM; echo $$ >../shell; while :; do ls -lR . >/dev/null; done"
    with _running(place, command, "shell") as (mount, started):
        begun = time.monotonic()
        mount.unmount()
        assert time.monotonic() - begun < MARGIN
        poll(lambda: not alive(started[0]), "the end of the command")


def test_a_command_that_closes_stdin_is_run_again(place: Path) -> None:
    command = "exec <&-; echo $$ >>runs"
    with _running(place, command) as (_, _):
        shows(lambda: len(_numbers(place / "runs")) == 1, "the first run")
        grow(place / "high", folders("h", *map(str, range(3000))))
        shows(lambda: len(_numbers(place / "runs")) > 1, "the next run, with more than a pipe holds")
