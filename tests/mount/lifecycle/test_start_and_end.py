"""Start and end of a view: no process, mount, descriptor or inode is left behind."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.held import crawled
from tests.support.kernel import abort_at, abort_under, alive, processes_of, view_at
from tests.support.model import walk
from tests.support.mounts import COMMAND, View, daemon_of, mounted
from tests.support.polling import poll
from tests.support.trees import folders, grow
from tests.support.users import need, needs_root, output_of, run

ENDINGS: dict[str, Callable[[View], object]] = {
    "SIGTERM": lambda view: view.send(signal.SIGTERM),
    "SIGINT": lambda view: view.send(signal.SIGINT),
    "umount": lambda view: output_of("umount", view.mountpoint),
    "umount -l": lambda view: output_of("umount", "-l", view.mountpoint),
    "umount -f": lambda view: output_of("umount", "-f", view.mountpoint),
    "fusermount3 -u": lambda view: output_of("fusermount3", "-u", view.mountpoint),
    "an abort": lambda view: abort_at(view.where),
}


def _sources(place: Path) -> tuple[Path, Path]:
    return grow(place / "high", folders("h", *"2345")), grow(place / "low", folders("l", *"01234"))


def _status(view: View) -> dict[str, int]:
    """The status attribute of the view."""
    found: dict[str, int] = json.loads(os.getxattr(view.mountpoint, "user.mmirrorfs.status"))
    return found


@needs_root
@pytest.mark.parametrize("background", [False, True], ids=["foreground", "background"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_each_way_to_end_a_view_exits_with_0_and_leaves_no_mount(place: Path, ending: str, background: bool) -> None:
    with mounted(place / "view", *_sources(place), background=background) as view:
        assert len(walk(view.where)) == 12
        ENDINGS[ending](view)
        assert view.await_end() == 0
        assert (processes_of(os.fsencode(place)), view_at(view.where)) == ([], None)
        assert os.listdir(view.mountpoint) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_view_that_has_an_open_file(place: Path, number: signal.Signals) -> None:
    high, low = _sources(place)
    (high / "2/large").write_bytes(b"x" * (16 << 20))
    with mounted(place / "view", high, low) as view:
        fd = os.open(view.mountpoint / "2/large", os.O_RDONLY)
        try:
            assert os.read(fd, 1) == b"x"
            view.send(number)
            assert view.await_end() == 0
            with pytest.raises(OSError, match=r"not connected|connection abort|Input/output"):
                os.pread(fd, 1, 15 << 20)
        finally:
            with contextlib.suppress(OSError):  # it cannot be flushed any more
                os.close(fd)


def _sent(view: View, number: signal.Signals) -> bool:
    """Send a signal; returns whether the daemon was still alive."""
    if alive(view.pid):
        view.send(number)
        return True
    return False


@pytest.mark.parametrize("numbers", [(signal.SIGINT, signal.SIGTERM), (signal.SIGHUP, signal.SIGINT)])
def test_repeated_signals_during_shutdown_are_harmless(place: Path, numbers: tuple[signal.Signals, ...]) -> None:
    coming = itertools.cycle(numbers)
    with mounted(place / "view", *_sources(place)) as view:
        view.send(signal.SIGTERM)
        view.send(next(coming))
        poll(lambda: not _sent(view, next(coming)), "the end")
        assert view.await_end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_right_after_mounting_leaves_no_mount(place: Path, number: signal.Signals) -> None:
    high, low = _sources(place)
    where = place / "view"
    where.mkdir()
    for _ in range(3):
        with subprocess.Popen([*COMMAND, high, low, where, "-f"], stderr=subprocess.PIPE) as process:
            while view_at(os.fsencode(where)) is None:
                assert process.poll() is None
            process.send_signal(number)
            said = process.communicate(timeout=20)[1]
        assert (process.returncode, said, view_at(os.fsencode(where))) == (0, b"", None)


def test_background_start_returns_silently_once_the_view_answers(place: Path) -> None:
    high, low = _sources(place)
    (place / "view").mkdir()
    done = run(*COMMAND, high, low, place / "view")
    try:
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert os.listdir(place / "view") == list("012345")
        pid = daemon_of(os.fsencode(place / "view"))
        assert os.getsid(pid) != os.getsid(0)
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        assert {os.readlink(f"/proc/{pid}/fd/{number}") for number in (0, 1, 2)} == {"/dev/null"}
        os.kill(pid, signal.SIGTERM)
        poll(lambda: not processes_of(os.fsencode(place)) and view_at(os.fsencode(place / "view")) is None, "the end")
    finally:
        abort_under(os.fsencode(place))


def test_both_outputs_of_one_command_are_unmounted_separately(place: Path) -> None:
    high, low = _sources(place)
    views = [place / "prefer high", place / "prefer low"]
    done = run(*COMMAND, high, low, "--output-high", views[0], "--output-low", views[1])
    try:
        assert (done.returncode, done.stderr) == (0, b"")
        assert [(view / "2/track").read_text() for view in views] == ["h2", "l2"]
        output_of("fusermount3", "-u", views[0])
        assert (views[1] / "2/track").read_text() == "l2"
        output_of("fusermount3", "-u", views[1])
        poll(lambda: not processes_of(os.fsencode(place)), "the end of both processes")
    finally:
        abort_under(os.fsencode(place))


@needs_root
def test_inode_count_falls_to_the_root_after_drop_caches(place: Path) -> None:
    forget = "/proc/sys/vm/drop_caches"
    if not os.access(forget, os.W_OK):
        pytest.skip(f"{forget} cannot be written here")
    high, low = _sources(place)
    grow(high / "2", {b"%03d" % number: b"x" for number in range(400)})
    with mounted(place / "view", high, low) as view:
        assert [(view.mountpoint / path).stat().st_size for path in ("2/007", "0/track")] == [1, 2]  # not by listing

        def walked() -> bool:
            """Use all inodes; returns whether the kernel holds them: another test may drop them at any time."""
            assert len(walk(view.where)) == 412
            output_of("find", view.mountpoint, "-size", "+0")
            assert not (view.mountpoint / "2/absent").exists()
            return _status(view)["inodes"] > 400

        for _ in range(3):
            poll(walked, "all inodes held")

        def forgotten() -> bool:
            Path(forget).write_text("2")
            return _status(view)["inodes"] == 1

        poll(forgotten, "all inodes forgotten but for the root", 20)
        assert _status(view)["open_files"] == 0
        assert len(walk(view.where)) == 412


def test_closed_files_are_closed_in_the_daemon(place: Path) -> None:
    with mounted(place / "view", *_sources(place)) as view:
        crawled(view)
        held = f"/proc/{view.pid}/fd"
        before = len(os.listdir(held))
        for _ in range(20):
            with open(view.mountpoint / "2/track", "rb") as first, open(view.mountpoint / "0/track", "rb") as second:
                assert (first.read(), second.read()) == (b"h2", b"l0")
                assert _status(view)["open_files"] >= 2
            assert os.listdir(view.mountpoint / "2") == ["track"]
        poll(lambda: _status(view)["open_files"] == 0, "all files released")
        poll(lambda: len(os.listdir(held)) <= before, "no more descriptors than before")


@needs_root
def test_an_idle_source_can_be_unmounted(place: Path) -> None:
    high, low = _sources(place)
    disk = place / "disk"
    disk.mkdir()
    output_of("mount", "-t", "tmpfs", "none", disk)
    grow(disk, folders("d", "1", "9"))
    with mounted(place / "view", high, disk, low) as view:
        assert len(walk(view.where)) == 14
        assert (view.mountpoint / "9/track").read_text() == "d9"
        assert os.statvfs(view.mountpoint).f_namemax == 255
        poll(lambda: run("umount", disk).returncode == 0, "the source unmounted", 3)
        view.expect("source disk .* is lost")
        with pytest.raises(OSError, match="Input/output error"):
            (view.mountpoint / "9/track").read_bytes()
        assert os.listdir(view.mountpoint) == list("0123459"), "a lost source is not an empty one"
        poll(lambda: "is lost" in view.text(), "the warning")


def test_sigusr1_logs_the_stacks_of_threads_and_tasks(place: Path) -> None:
    with mounted(place / "view", *_sources(place)) as view:
        view.expect("^<4>")
        view.send(signal.SIGUSR1)
        poll(lambda: "<4>thread" in view.text() and "<4>task pyfuse" in view.text(), "the stacks of threads and tasks")
        assert (view.mountpoint / "2/track").read_text() == "h2"


def test_a_client_killed_while_reading_leaves_no_open_file(place: Path) -> None:
    high, low = _sources(place)
    (high / "2/large").write_bytes(b"x" * (16 << 20))
    with mounted(place / "view", high, low) as view:
        need("cat")
        for _ in range(5):
            reader = subprocess.Popen(["cat", view.mountpoint / "2/large"], stdout=subprocess.PIPE)
            assert reader.stdout is not None
            assert reader.stdout.read(1000) == b"x" * 1000
            reader.kill()
            reader.communicate(timeout=10)
        assert (view.mountpoint / "2/large").read_bytes() == b"x" * (16 << 20)
        poll(lambda: _status(view)["open_files"] == 0, "all files released")
