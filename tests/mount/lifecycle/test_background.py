"""Background start: the command returns when the view answers, and the daemon is detached from its caller."""

import os
import pty
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.hanging import hanging
from tests.support.hung import is_waiting
from tests.support.kernel import abort_under, processes_of, view_at, views_under
from tests.support.mounts import COMMAND, mounted
from tests.support.namespace import Inside, namespace
from tests.support.polling import poll
from tests.support.trees import folders, grow
from tests.support.users import Word, need, needs_root, run


@pytest.fixture
def sources(place: Path) -> tuple[Path, Path]:
    """Two overlapping sources, ``high`` before ``low``, and the mountpoint ``view``."""
    (place / "view").mkdir()
    return grow(place / "high", folders("h", *"2345")), grow(place / "low", folders("l", *"01234"))


def serving(place: Path) -> list[int]:
    """The processes that serve views below ``place``."""
    return sorted(processes_of(os.fsencode(place)))


@contextmanager
def ended(place: Path) -> Iterator[None]:
    """End all views below ``place`` after the block, by SIGTERM, or by force when the block fails."""
    try:
        yield
        for pid in serving(place):
            os.kill(pid, signal.SIGTERM)
        poll(lambda: not serving(place) and not views_under(os.fsencode(place)), "the end of all views")
    finally:
        abort_under(os.fsencode(place))


def mountpoints(place: Path, number: int) -> list[Word]:
    """The arguments for one mountpoint, or for both outputs."""
    return [place / "view"] if number == 1 else ["--output-high", place / "view", "--output-low", place / "view of low"]


@pytest.mark.parametrize("number", [1, 2])
def test_every_view_answers_when_the_command_returns(place: Path, sources: tuple[Path, Path], number: int) -> None:
    script = '"$@" && cd "$PLACE" && for view in view*; do cat "$view/2/track" && ls "$view" | wc -l; done'
    with ended(place):
        words = [*COMMAND, *sources, *mountpoints(place, number)]
        done = run("sh", "-c", script, "sh", *words, environment={"PLACE": str(place)})
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout == b"h26\nl26\n"[: 4 * number]


@pytest.mark.parametrize("number", [1, 2])
def test_the_daemon_is_detached_from_its_caller(place: Path, sources: tuple[Path, Path], number: int) -> None:
    hard = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 4000)
    script = f'umask 077 && ulimit -Sn 100 && ulimit -Hn {hard} && "$@"'
    with ended(place):
        done = run("sh", "-c", script, "sh", *COMMAND, *sources, *mountpoints(place, number))
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        poll(lambda: len(serving(place)) == number, "one process for each view")
        for pid in serving(place):
            check_detached(pid, hard)


def check_detached(pid: int, files: int) -> None:
    """Check that the process shares nothing with its caller and may open ``files`` files."""
    proc = Path(f"/proc/{pid}")
    assert {os.readlink(proc / "fd" / number) for number in "012"} == {"/dev/null"}
    assert os.readlink(proc / "cwd") == "/"
    assert os.getsid(pid) not in (os.getsid(0), 0)
    assert os.getpgid(pid) != os.getpgid(0)
    after_name = (proc / "stat").read_text().rpartition(")")[2].split()
    assert after_name[4] == "0", "it has no terminal"
    assert "\nUmask:\t0022\n" in (proc / "status").read_text()
    assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (files, files)


@needs_root
def test_mounting_works_with_closed_standard_streams(place: Path, sources: tuple[Path, Path]) -> None:
    with ended(place):
        done = run("sh", "-c", '"$@" <&- >&- 2>&-', "sh", *COMMAND, *sources, place / "view")
        assert done.returncode == 0
        assert (place / "view/2/track").read_text() == "h2"
        (pid,) = serving(place)
        assert {os.readlink(f"/proc/{pid}/fd/{number}") for number in (0, 1, 2)} == {"/dev/null"}


BEFORE_IT_ANSWERS = (
    sys.executable,
    "-c",
    "import os, signal; from mmirrorfs.mount import tuning; from mmirrorfs.cli.main import main; "
    "tuning.tune = lambda mount: os.kill(os.getpid(), signal.SIGTERM); main()",
)
"""The command, with SIGTERM sent between mount(2) and the first answer of the view."""


@pytest.mark.parametrize("number", [1, 2])
def test_a_daemon_ended_before_its_first_answer_fails_the_command_and_leaves_no_mount(
    place: Path, sources: tuple[Path, Path], number: int
) -> None:
    with ended(place):
        done = run(*BEFORE_IT_ANSWERS, *sources, *mountpoints(place, number))
        assert (done.returncode, done.stdout, done.stderr) == (8, b"", b"")
        poll(lambda: not serving(place), "the end of all processes")
        assert views_under(os.fsencode(place)) == []


@pytest.fixture
def inside(place: Path, sources: tuple[Path, Path]) -> Iterator[Inside]:
    """A mount namespace with a private /dev."""
    with namespace(place) as made:
        made.cover("/dev")
        made.output_of("mount", "--bind", place / "real/dev/fuse", "/dev/fuse")
        made.output_of("mount", "--bind", place / "real/dev/null", "/dev/null")
        yield made


@contextmanager
def syslog(place: Path) -> Iterator[socket.socket]:
    """A listener on /dev/log of the namespace."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(20)
        listener.bind(str(place / "mine/dev/log"))
        yield listener


def await_messages(listener: socket.socket, *patterns: str) -> None:
    """Wait until each pattern has matched a message, in any order. Raises TimeoutError after 20 s without a message."""
    left = set(patterns)
    while left:
        said = listener.recv(4096).decode().rstrip("\0")
        left = {pattern for pattern in left if not re.fullmatch(pattern, said)}


ALONE = ("--watch=off", "--crawl=off")
"""No child process, and no log lines about watches and crawls."""


@needs_root
def test_syslog_lines_have_the_program_name_and_a_priority(place: Path, inside: Inside) -> None:
    with syslog(place) as listener:
        done = inside.run(*COMMAND, place / "high", place / "low", place / "view", "-v", "--refresh=0.2", *ALONE)
        assert (done.returncode, done.stderr) == (0, f"mmirrorfs: {place}/view is mounted\n".encode())
        pid = inside.daemon()
        (place / "low").rename(place / "elsewhere")
        name = rf"mmirrorfs\[{pid}\]"
        await_messages(listener, *[f"<30>{name}: source {source} is polled: --watch=off" for source in ("high", "low")])
        await_messages(listener, rf"<28>{name}: source low \({place}/low\) is lost: .*")
        (place / "elsewhere").rename(place / "low")
        await_messages(listener, rf"<28>{name}: source low \({place}/low\) is back after \d+ s")
        os.kill(pid, signal.SIGTERM)
        await_messages(listener, f"<30>{name}: ending on SIGTERM")
        poll(lambda: not inside.processes(), "the end of the process")


@needs_root
def test_a_syslog_that_starts_later_is_used_and_an_unread_one_blocks_nothing(place: Path, inside: Inside) -> None:
    done = inside.run(*COMMAND, place / "high", place / "low", place / "view", *ALONE)
    assert (done.returncode, done.stderr) == (0, b"")
    pid = inside.daemon()
    with syslog(place) as listener:
        os.kill(pid, signal.SIGUSR1)
        assert listener.recv(1 << 16).startswith(f"<28>mmirrorfs[{pid}]: thread ".encode())
        for _ in range(3):
            for _ in range(200):
                os.kill(pid, signal.SIGUSR1)
            assert inside.run("cat", place / "view/2/track", seconds=10).stdout == b"h2"
    inside.unmount(place / "view")


def first_line(place: Path, log: Path, **environment: str) -> str:
    """The first line that a foreground view writes to stderr, which is ``log``."""
    with open(log, "wb") as file:
        words: list[Word] = [*COMMAND, place / "high", place / "low", place / "view", "-f", "-v"]
        st = os.fstat(file.fileno())
        own = {name: value.format(own=f"{st.st_dev}:{st.st_ino}") for name, value in environment.items()}
        process = subprocess.Popen(words, stderr=file, env={**os.environ, **own})
        try:
            poll(lambda: b"\n" in log.read_bytes(), "a line of the log", 20)
        finally:
            process.terminate()
            assert process.wait(20) == 0
    return log.read_text().splitlines()[0]


def test_stderr_has_priorities_only_where_it_is_the_journal(place: Path, sources: tuple[Path, Path]) -> None:
    said = f"{place}/view is mounted"
    assert first_line(place, place / "log", JOURNAL_STREAM="{own}") == f"<6>{said}"
    assert first_line(place, place / "log", JOURNAL_STREAM="0:1") == f"mmirrorfs: {said}", "it is another file's"
    assert first_line(place, place / "log", JOURNAL_STREAM="") == f"mmirrorfs: {said}"


@needs_root
@pytest.mark.parametrize("form", [(), ("-f",)], ids=["background", "foreground"])
def test_control_c_during_the_first_scan_leaves_no_process_and_no_mount(place: Path, form: tuple[str, ...]) -> None:
    view = place / "view"
    grow(place / "under", {b"in": {b"STOP": {}}})
    grow(place / "high", folders("h", "2"))
    words: list[Word] = [*COMMAND, place / "high", place / "slow", "--output-high", view, "-d3", *form]
    terminal, own = pty.openpty()
    with hanging(place / "under", place / "slow") as source, open(terminal, "r+b", buffering=0) as keys:
        process = subprocess.Popen([need("setsid"), "--ctty", "--wait", *words], stdin=own, stdout=own, stderr=own)
        os.close(own)
        try:
            source.await_frozen()
            poll(lambda: any(map(is_waiting, serving(place))), "a scan that waits")
            assert view.exists()
            keys.write(b"\x03")
            assert process.wait(10) == 8
        finally:
            for pid in serving(place):
                os.kill(pid, signal.SIGKILL)
            source.abort()
            process.wait(10)
        assert b"Traceback" not in keys.read(4096)
    poll(lambda: not serving(place), "the end of all processes")
    assert (view_at(os.fsencode(view)), view.exists()) == (None, False)


def test_sigterm_unmounts_a_view_that_is_a_working_directory(place: Path, sources: tuple[Path, Path]) -> None:
    with mounted(place / "other", *sources) as view:
        there = view.mountpoint / "2"
        with subprocess.Popen([need("cat")], cwd=there, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as worker:
            assert run("fusermount3", "-u", view.mountpoint).returncode != 0, "it is busy"
            view.send(signal.SIGTERM)
            assert view.await_end() == 0
            assert os.listdir(view.mountpoint) == []
            assert worker.poll() is None
