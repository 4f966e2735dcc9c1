"""A mount begins and ends when it is told to, whatever its sources do: nobody and nothing stays stuck or behind."""

import errno
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.hanging import CONNECTIONS, Hanging, hanging
from tests.support.hung import check_the_rest, content, hanging_view, is_waiting, sources, stuck_readers
from tests.support.kernel import processes_of, view_at
from tests.support.mounts import COMMAND, View
from tests.support.polling import poll
from tests.support.readers import readers
from tests.support.users import needs_root, run

pytestmark = needs_root

END = 5.0
"""Seconds from the signal to the end: one for the requests under way, and the rest for a busy machine."""


def check_unmounted(view: View, since: float) -> None:
    """It was unmounted in time, and nothing can be seen of it on its mountpoint."""
    poll(lambda: view_at(view.where) is None, "unmounted", END)
    assert time.monotonic() - since < END
    assert os.listdir(view.mountpoint) == []


def check_ended(view: View) -> None:
    """The process ended with 0, with all its threads."""
    assert view.process is not None
    assert view.process.wait(END) == 0


@pytest.mark.parametrize("hang", ["all", "reads", "frozen"])
def test_sigterm_unmounts_it_and_stuck_readers_get_an_io_error(place: Path, hang: str) -> None:
    with hanging_view(place, hang) as (source, view), stuck_readers(place, source, view, hang) as stuck:
        since = time.monotonic()
        view.send(signal.SIGTERM)
        assert set(stuck.answers(END)) == {errno.EIO}
        check_unmounted(view, since)
        (source.thaw if hang == "frozen" else source.go_on)()  # the kernel lets no process go that has files open there
        check_ended(view)


@pytest.mark.parametrize("command", [["umount", "-f"], ["umount", "-l", "-f"], ["abort"]], ids=" ".join)
def test_a_view_with_stuck_readers_that_is_cut_off_leaves_no_mount_behind(place: Path, command: list[str]) -> None:
    with hanging_view(place, "reads") as (source, view), stuck_readers(place, source, view, "reads") as stuck:
        since = time.monotonic()
        if command == ["abort"]:
            found = view_at(view.where)
            assert found is not None
            (CONNECTIONS / str(found.connection) / "abort").write_text("1")
        else:
            run(*command, view.mountpoint)
        stuck.answers(END)
        check_unmounted(view, since)
        source.go_on()
        check_ended(view)


def test_no_thread_keeps_the_process_that_waits_for_what_the_source_never_took(place: Path) -> None:
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
def test_a_healthy_view_ends_at_once_when_nobody_waits(place: Path) -> None:
    with hanging_view(place) as (_, view):
        check_the_rest(view)
        since = time.monotonic()
        view.send(signal.SIGTERM)
        check_ended(view)
        assert time.monotonic() - since < 1


def test_a_reader_whose_source_is_only_slow_gets_its_bytes_when_the_view_ends(place: Path) -> None:
    path = place / "view/Both/Slow/001"
    with hanging_view(place, delay=0.5) as (source, view), readers([path], place / "answers") as slow:
        slow.start()
        poll(lambda: source.figures.now, "a reader that waits")
        view.send(signal.SIGTERM)
        assert slow.answers(END) == [content(1).hex()]
        check_ended(view)


@contextmanager
def starting(place: Path, hang: str, *options: str) -> Iterator[tuple[Hanging, "subprocess.Popen[bytes]"]]:
    """The command, waiting for a source that hangs already, or (``scan``) in the middle of its scan."""
    under, fast = sources(place)
    if hang == "scan":
        (under / "Both/STOP").mkdir()
    words: list[str | Path] = [*COMMAND, place / "slow", fast, place / "view", "-d3", *options]
    (place / "view").mkdir()
    with hanging(under, place / "slow") as source:
        if hang != "scan":
            (source.freeze if hang == "frozen" else source.hang)()
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL)
        try:
            poll(lambda: is_asleep(process.pid) and any(map(is_waiting, serving(place))), "a look at the source")
            yield source, process
        finally:
            source.abort()
            for pid in serving(place):
                os.kill(pid, signal.SIGKILL)
            process.wait(END)


def serving(place: Path) -> list[int]:
    """The processes of the command."""
    return processes_of(os.fsencode(place / "view"))


def is_asleep(pid: int) -> bool:
    """Whether the main thread of a process waits for something."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("S", "D")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("hang", ["all", "frozen", "scan"])
@pytest.mark.parametrize("options", [(), ("-f",)], ids=["background", "foreground"])
def test_a_command_that_waits_for_a_hung_source_can_be_ended(
    place: Path, options: tuple[str, ...], hang: str, number: signal.Signals
) -> None:
    with starting(place, hang, *options) as (source, process):
        process.send_signal(number)
        assert process.wait(END) in (8, -number)
        if hang == "all":  # what asked in its place cannot even be killed
            source.abort()
        poll(lambda: not serving(place), "no process left")
    assert view_at(os.fsencode(place / "view")) is None
