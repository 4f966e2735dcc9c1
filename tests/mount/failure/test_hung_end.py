"""A mount starts and ends on request whatever its sources do: no process, thread or mount stays behind."""

import contextlib
import errno
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.hanging import Hanging, hanging
from tests.support.hung import check_the_rest, content, hanging_view, is_waiting, sources, stuck_readers
from tests.support.kernel import abort_at, processes_of, view_at
from tests.support.mounts import COMMAND, View
from tests.support.polling import poll
from tests.support.readers import readers
from tests.support.users import needs_root, run

pytestmark = [pytest.mark.waits, needs_root]

END = 5.0
"""Seconds from the signal to the end: one for requests in flight, the rest for a busy machine."""


def check_unmounted(view: View, since: float) -> None:
    """It was unmounted in time, and its mountpoint is an empty directory again."""
    poll(lambda: view_at(view.where) is None, "unmounted", END)
    assert time.monotonic() - since < END
    assert os.listdir(view.mountpoint) == []


def check_ended(view: View) -> None:
    """The process and all its threads ended, with exit code 0."""
    assert view.process is not None
    assert view.process.wait(END) == 0


@pytest.mark.parametrize("hang", ["all", "reads", "frozen"])
def test_sigterm_unmounts_and_stuck_readers_get_an_io_error(place: Path, hang: str) -> None:
    with hanging_view(place, hang) as (source, view), stuck_readers(place, source, view, hang) as stuck:
        since = time.monotonic()
        view.send(signal.SIGTERM)
        assert set(stuck.answers(END)) == {errno.EIO}
        check_unmounted(view, since)
        (source.thaw if hang == "frozen" else source.go_on)()  # until then, closing its files there blocks the exit
        check_ended(view)


@pytest.mark.parametrize("command", [["umount", "-f"], ["umount", "-l", "-f"], ["abort"]], ids=" ".join)
def test_an_aborted_view_with_stuck_readers_leaves_no_mount_behind(place: Path, command: list[str]) -> None:
    with hanging_view(place, "reads") as (source, view), stuck_readers(place, source, view, "reads") as stuck:
        since = time.monotonic()
        if command == ["abort"]:
            abort_at(view.where)
        else:
            run(*command, view.mountpoint)
        stuck.answers(END)
        check_unmounted(view, since)
        source.go_on()
        check_ended(view)


def test_a_thread_waiting_for_a_frozen_source_does_not_delay_the_exit(place: Path) -> None:
    with hanging_view(place) as (source, view):
        source.freeze()
        view.send(signal.SIGHUP)
        check_the_rest(view)
        poll(lambda: is_waiting(view.pid), "a thread that waits")
        since = time.monotonic()
        view.send(signal.SIGTERM)
        check_unmounted(view, since)
        check_ended(view)


@pytest.mark.alone
def test_a_healthy_view_without_pending_requests_ends_at_once(place: Path) -> None:
    with hanging_view(place) as (_, view):
        check_the_rest(view)
        since = time.monotonic()
        view.send(signal.SIGTERM)
        check_ended(view)
        assert time.monotonic() - since < 1


def test_a_reader_of_a_slow_source_gets_its_bytes_when_the_view_ends(place: Path) -> None:
    path = place / "view/Both/Slow/001"
    with hanging_view(place, delay=0.5) as (source, view), readers([path], place / "answers") as slow:
        slow.start()
        poll(lambda: source.figures.now, "a reader that waits")
        view.send(signal.SIGTERM)
        assert slow.answers(END) == [content(1).hex()]
        check_ended(view)


SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def hung_source(place: Path, hang: str) -> Iterator[Hanging]:
    """A source that hangs already or, with ``scan``, will in the middle of the first scan."""
    under, _ = sources(place)
    if hang == "scan":
        (under / "Both/STOP").mkdir()
    with hanging(under, place / "slow") as source:
        if hang != "scan":
            (source.freeze if hang == "frozen" else source.hang)()
        yield source


@contextmanager
def starting(source: Hanging, place: Path, foreground: bool) -> Iterator["subprocess.Popen[bytes]"]:
    """The command with such a source, and a mountpoint in ``place``."""
    view, words = place / "view", ["-f"] if foreground else []
    view.mkdir(parents=True)
    fast = source.mountpoint.parent / "fast"
    process = subprocess.Popen([*COMMAND, source.mountpoint, fast, view, "-d3", *words], stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        source.abort()
        for pid in serving(place):
            os.kill(pid, signal.SIGKILL)
        process.wait(END)


def serving(place: Path) -> list[int]:
    """The processes of the command."""
    return processes_of(os.fsencode(place / "view"))


def is_asleep(pid: int) -> bool:
    """Whether the main thread of a process is blocked."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("S", "D")


@pytest.mark.parametrize("hang", ["all", "frozen", "scan"])
def test_a_command_waiting_for_a_hung_source_ends_on_a_signal(place: Path, hang: str) -> None:
    """In the foreground and in the background, with each signal, all at once; each scan has a source of its own."""
    with contextlib.ExitStack() as stack:
        shared = None if hang == "scan" else stack.enter_context(hung_source(place, hang))
        cases: dict[tuple[str, signal.Signals], tuple[Path, subprocess.Popen[bytes], Hanging]] = {}
        for name, number in itertools.product(("background", "foreground"), SIGNALS):
            where = place / f"{name} {number.name}"
            source = shared or stack.enter_context(hung_source(where, hang))
            cases[name, number] = where, stack.enter_context(starting(source, where, name == "foreground")), source
        for case, (where, process, _) in cases.items():
            poll(lambda: is_asleep(process.pid) and any(map(is_waiting, serving(where))), f"{case} waits")  # noqa: B023
        for (_, number), (_, process, _) in cases.items():
            process.send_signal(number)
        assert {case: process.wait(END) in (8, -case[1]) for case, (_, process, _) in cases.items()} == dict.fromkeys(
            cases, True
        )
        if shared and hang == "all":  # the process that checks the source cannot even be killed
            shared.abort()
        for case, (where, _, _) in cases.items():
            poll(lambda: not serving(where), f"{case}: no process left")  # noqa: B023
            assert view_at(os.fsencode(where / "view")) is None, case
