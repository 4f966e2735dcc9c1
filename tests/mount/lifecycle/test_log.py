"""Where a view logs: a file that may be rotated, the journal, or a file that ``--status`` names."""

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.disks import disk
from tests.support.held import status
from tests.support.journal import parsed
from tests.support.mounts import COMMAND, mounted
from tests.support.namespace import Inside, namespace
from tests.support.polling import poll
from tests.support.running import called
from tests.support.trees import folders, grow
from tests.support.users import AS_NOBODY, needs_root, run

pytestmark = pytest.mark.waits

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (\S+) (WARNING|INFO|DEBUG|ERROR): (.*)")


@pytest.fixture
def sources(place: Path) -> tuple[Path, Path]:
    """Two overlapping sources, and an empty directory for the log."""
    (place / "logs").mkdir()
    return grow(place / "high", folders("h", "Both", "Mine")), grow(place / "low", folders("l", "Both", "Other"))


def lines(path: Path) -> list[str]:
    """The messages of a log. Checks that each line has time, view and level."""
    found = []
    for line in path.read_text().splitlines():
        match = LINE.fullmatch(line)
        assert match is not None, line
        found.append(match[3])
    return found


def has(path: Path, pattern: str) -> bool:
    """Whether the log exists and has a message that matches the pattern."""
    return path.exists() and any(re.fullmatch(pattern, line) for line in lines(path))


@pytest.mark.parametrize("background", [True, False], ids=["background", "foreground"])
def test_scans_changes_losses_and_returns_are_logged_with_figures(
    place: Path, sources: tuple[Path, Path], background: bool
) -> None:
    log = place / "logs/view"
    options = ["-v", f"--log={log}", "--refresh=0.5"]
    with mounted(place / "view", *sources, options=options, background=background) as view:
        view.expect("is mounted")
        assert not log.stat().st_mode & 0o027
        poll(lambda: has(log, r"source high scanned: \d+ entries in \d\.\d{3} s, \w+ changed"), "a scan")
        poll(lambda: has(log, r"source low was read ahead \(done\): \d+ directories, \d+ entries in .*"), "the crawl")
        grow(sources[0] / "New", {b"1": b"1"})
        poll(lambda: has(log, "added: New, a directory of high"), "an album")
        grow(sources[0] / "Other", {b"1": b"1"})
        poll(lambda: has(log, "changed: Other, a directory of high now, not of low"), "a takeover")
        grow(sources[0] / "Mine", {b"%d" % number: b"" for number in range(12)})
        poll(lambda: has(log, r"added: \d+ files of high in Mine"), "tracks of one album, together")
        (sources[0] / "New/2").write_text("2")
        poll(lambda: has(log, "added: New/2, a file of high"), "a track")
        (sources[0] / "New/2").unlink()
        poll(lambda: has(log, "removed: New/2, a file of high"), "and its end")
        os.rename(sources[1], place / "away")
        poll(lambda: has(log, r"source low \(.*\) is lost: No such file or directory; .*"), "the loss")
        os.rename(place / "away", sources[1])
        poll(lambda: has(log, r"source low \(.*\) is back after \d+ s"), "the return")
        view.send(signal.SIGTERM)
        view.await_end()
        assert has(log, "ending on SIGTERM")
    assert not view.log.read_text().count("is lost"), "it is said in one place"


def test_a_renamed_log_is_reopened_under_its_name(place: Path, sources: tuple[Path, Path]) -> None:
    log, old = place / "logs/view", place / "logs/view.1"
    options = ["-v", f"--log={log}", "--watch=off", "--refresh=3600"]
    with mounted(place / "view", *sources, options=options) as view:
        view.send(signal.SIGHUP)
        poll(lambda: has(log, "source high scanned: .*"), "a scan")
        log.rename(old)
        view.send(signal.SIGHUP)
        poll(lambda: has(log, "source high scanned: .*"), "the new file")
        before = old.read_bytes()
        log.unlink()
        view.send(signal.SIGHUP)
        poll(lambda: has(log, "source high scanned: .*"), "it is there again")
        assert old.read_bytes() == before
        os.rename(place / "logs", place / "elsewhere")
        scanned = status(view)["last_refresh"]
        view.send(signal.SIGHUP)
        poll(lambda: status(view)["last_refresh"] > scanned, "a scan whose message cannot be written")
        assert os.listdir(view.mountpoint) == ["Both", "Mine", "Other"]
        os.mkdir(place / "logs")
        view.send(signal.SIGHUP)
        poll(lambda: has(log, "source high scanned: .*"), "it can be written again")


@pytest.mark.parametrize(
    ("log", "why"),
    [
        ("high/log", "is inside a source or a view: choose another place"),
        ("view/log", "is inside a source or a view: choose another place"),
        ("link/log", "is inside a source or a view: choose another place"),
        ("tolink", "is inside a source or a view: choose another place"),
        ("no/such/log", "cannot be written: No such file or directory"),
        ("logs", "cannot be written: Is a directory"),
        ("fifo", "cannot be written: it is no regular file"),
        ("/dev/null", "cannot be written: it is no regular file"),
    ],
)
def test_an_unsuitable_log_path_is_refused_in_one_line(
    place: Path, sources: tuple[Path, Path], log: str, why: str
) -> None:
    (place / "view").mkdir()
    (place / "link").symlink_to(place / "low")
    (place / "tolink").symlink_to(place / "low/log")
    os.mkfifo(place / "fifo")
    done = called(place, "high", "low", "view", "--log", log)
    shown = log if log.startswith("/") else f"{place}/{log}"
    assert (done.returncode, done.stderr.decode()) == (32, f"mmirrorfs: --log {shown} {why}\n")
    assert not (place / "low/log").exists()


@needs_root
def test_a_log_without_write_permission_is_refused(place: Path, sources: tuple[Path, Path]) -> None:
    (place / "view").mkdir()
    done = run(*AS_NOBODY, *COMMAND, *sources, place / "view", "--log", place / "logs/log")
    assert done.returncode == 32
    assert done.stderr.endswith(b"logs/log cannot be written: Permission denied\n")


@needs_root
def test_a_full_log_disk_loses_messages_only(place: Path, sources: tuple[Path, Path]) -> None:
    with disk(place / "disk", {}) as there:
        run("mount", "-o", "remount,size=64k", there.where)
        options = ["-vv", f"--log={there.where}/log", "--refresh=0.5"]
        with mounted(place / "view", *sources, options=options) as view:
            (there.where / "filler").write_bytes(b"x" * (60 << 10))
            for number in range(2000):
                grow(sources[0] / f"{number}", {})
            poll(lambda: len(os.listdir(view.mountpoint)) == 2003, "the view goes on")


@contextmanager
def inside_of(place: Path) -> Iterator[Inside]:
    """A mount namespace with a private /run and /dev."""
    with namespace(place) as made:
        made.cover("/dev")
        made.output_of("mount", "--bind", place / "real/dev/fuse", "/dev/fuse")
        made.output_of("mount", "--bind", place / "real/dev/null", "/dev/null")
        yield made


@needs_root
def test_a_background_view_logs_to_the_journal_with_fields(place: Path, sources: tuple[Path, Path]) -> None:
    with inside_of(place) as inside, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        (place / "view").mkdir()
        inside.output_of("mkdir", "-p", "/run/systemd/journal")
        listener.bind(str(inside.seen(Path("/run/systemd/journal/socket"))))
        listener.settimeout(20)
        done = inside.run(*COMMAND, *sources, place / "view", "-v", "--refresh=0.5")
        assert done.returncode == 0
        status = json.loads(inside.run(*COMMAND, "--status", "--json", place / "view").stdout)
        assert status["log"] == {"to": "journal"}
        os.rename(sources[1], place / "away")
        entry: dict[str, str] = {}
        while entry.get("MMIRRORFS_EVENT") != "lost":
            entry = parsed(listener.recv(1 << 16))
            assert entry["SYSLOG_IDENTIFIER"] == "mmirrorfs"
        assert (entry["MMIRRORFS_SOURCE"], entry["MMIRRORFS_VIEW"]) == ("low", f"{place}/view")
        assert entry["PRIORITY"] == "4"
        inside.unmount(place / "view")


@needs_root
def test_without_syslog_and_journal_status_names_the_log_file(place: Path, sources: tuple[Path, Path]) -> None:
    with inside_of(place) as inside:
        (place / "view").mkdir()
        assert inside.run(*COMMAND, *sources, place / "view", "-v", "--refresh=0.5").returncode == 0
        os.rename(sources[1], place / "away")
        status = json.loads(inside.run(*COMMAND, "--status", "--json", place / "view").stdout)
        assert re.fullmatch(r"/run/mmirrorfs/view-[0-9a-f]{12}\.log", status["log"]["path"])
        log = inside.seen(Path(status["log"]["path"]))
        poll(lambda: has(log, r"source low \(.*\) is lost: .*"), "the loss")
        assert log.stat().st_mode & 0o777 in (0o640, 0o600)
        assert log.parent.stat().st_mode & 0o777 == 0o700
        inside.unmount(place / "view")
        assert not log.parent.exists(), "what ends in order leaves nothing behind"


@pytest.mark.parametrize(("words", "loggers"), [("-v", 0), ("-vv", 1)], ids=["-vv", "-vvv"])
def test_pyfuse3_is_logged_only_with_three_v(place: Path, sources: tuple[Path, Path], words: str, loggers: int) -> None:
    log = place / "logs/view"
    with mounted(place / "view", *sources, options=[words, f"--log={log}", "--crawl=off"]) as view:
        assert (view.mountpoint / "Both/track").read_bytes() == b"hBoth"
        poll(lambda: has(log, r"source high: Both read, 1 entries"), "the folder read")
        (sources[0] / "Both/track").write_text("other")
        poll(lambda: view.mountpoint.joinpath("Both/track").read_text() == "other", "it is seen")
        said = view.text() + log.read_text()
        assert bool(re.search("worker|pyfuse", said)) == bool(loggers)


@needs_root
def test_a_foreground_service_logs_to_the_journal_with_fields(place: Path, sources: tuple[Path, Path]) -> None:
    """Its stderr is a socket of the journal, named by JOURNAL_STREAM (systemd.exec(5))."""
    with inside_of(place) as inside, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        (place / "view").mkdir()
        inside.output_of("mkdir", "-p", "/run/systemd/journal")
        listener.bind(str(inside.seen(Path("/run/systemd/journal/socket"))))
        listener.settimeout(20)
        stream, own = socket.socketpair()
        with stream, own:
            st = os.fstat(own.fileno())
            environment = {**os.environ, "JOURNAL_STREAM": f"{st.st_dev}:{st.st_ino}"}
            command = inside.words(*COMMAND, *sources, place / "view", "-f", "-v")
            process = subprocess.Popen(command, stderr=own.fileno(), env=environment)
            try:
                entry: dict[str, str] = {}
                while entry.get("MMIRRORFS_EVENT") != "mounted":
                    entry = parsed(listener.recv(1 << 16))
                assert (entry["MESSAGE"], entry["PRIORITY"]) == (f"{place}/view is mounted", "6")
                while entry["MMIRRORFS_EVENT"] != "scan":
                    entry = parsed(listener.recv(1 << 16))
                assert entry["MMIRRORFS_VIEW"] == f"{place}/view"
                inside.output_of("umount", place / "view")
                assert process.wait(20) == 0
            finally:
                process.kill()
                process.wait(20)
            own.close()
            assert stream.recv(100) == b"", "it is said once"
