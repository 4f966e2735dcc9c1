"""Logging: the rate limit, the warnings kept in memory, log files, and the journal's native protocol."""

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmirrorfs.mount import journal, log
from mmirrorfs.mount.log import KEPT, MOST, WINDOW, Bounds, Recent, open_log
from mmirrorfs.text import STACKS, fields
from tests.support.journal import parsed


class Clock:
    """A clock advanced by the test; in seconds."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def record(text: str, *args: object, level: int = logging.WARNING, event: str = "test") -> logging.LogRecord:
    """A log record with the fields of an event."""
    built = logging.getLogger("test").makeRecord("test", level, __file__, 1, text, args, None, extra=fields(event))
    assert isinstance(built, logging.LogRecord)
    return built


def passed(bounds: Bounds, *records: logging.LogRecord) -> list[str]:
    """The messages that pass the rate limit."""
    return [one.getMessage() for one in records if bounds.filter(one)]


def most(level: int) -> int:
    """Messages of one kind allowed in WINDOW seconds."""
    return next(count for least, count in MOST if level >= least)


@pytest.mark.parametrize("level", [logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG])
def test_messages_above_the_limit_are_dropped_and_counted(level: int) -> None:
    clock = Clock()
    bounds, limit = Bounds(clock), most(level)
    lines = passed(bounds, *(record("number %d", number, level=level) for number in range(limit + 100)))
    assert lines[:-1] == [f"number {number}" for number in range(limit - 1)]
    assert lines[-1] == f"number {limit - 1} (more like it are left out for {WINDOW:.0f} s)"
    assert passed(bounds, record("another kind %d", 1, level=level)) == ["another kind 1"]
    clock.now += WINDOW
    assert passed(bounds, record("number %d", 7, level=level), record("number %d", 8, level=level)) == [
        "number 7 (100 more like it were left out before)", "number 8",
    ]  # fmt: skip


def test_stack_dumps_are_exempt_from_the_limit() -> None:
    bounds = Bounds(Clock())
    assert len(passed(bounds, *(record("thread %d", number, event=STACKS) for number in range(5000)))) == 5000


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 3)), max_size=300))
def test_rate_stays_within_the_limit_in_every_window(steps: list[tuple[float, int]]) -> None:
    clock = Clock()
    bounds = Bounds(clock)
    times: dict[int, list[float]] = {}
    for pause, kind in steps:
        clock.now += pause / 20
        if bounds.filter(record(f"kind {kind}")):
            times.setdefault(kind, []).append(clock.now)
    for moments in times.values():
        for start in moments:
            assert sum(start <= moment < start + WINDOW for moment in moments) <= 2 * most(logging.WARNING)


def test_expired_kinds_are_forgotten() -> None:
    clock = Clock()
    bounds = Bounds(clock)
    for number in range(5000):
        clock.now += 1
        assert bounds.filter(record(f"kind {number}"))
    assert len(bounds._kinds) <= 1001


def test_last_warnings_are_kept_with_their_times() -> None:
    recent = Recent()
    for number in range(KEPT + 10):
        assert recent.filter(record("warning %d", number))
        assert recent.filter(record("info %d", number, level=logging.INFO))
        assert recent.filter(record("thread %d", number, event=STACKS))
    assert [one["text"] for one in recent.kept] == [f"warning {number}" for number in range(10, KEPT + 10)]
    assert all(one["level"] == "warning" and one["when"] > 1e9 for one in recent.kept)


def test_exception_is_kept_with_its_warning() -> None:
    recent, one = Recent(), record("internal error")
    one.exc_info = (KeyError, KeyError("a bug"), None)
    recent.filter(one)
    assert recent.kept[0]["text"] == "internal error: KeyError('a bug')"


@pytest.mark.parametrize("kind", ["directory", "fifo", "link", "device"])
def test_log_file_must_be_a_regular_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "log"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(tmp_path / "other")
    with pytest.raises(OSError):  # noqa: PT011  # the errno depends on the kind
        open_log("/dev/null" if kind == "device" else str(path))
    assert not (tmp_path / "other").exists()


@pytest.fixture
def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket of a fake journal."""
    path = tmp_path / "journal"
    monkeypatch.setattr(journal, "SOCKET", str(path))
    assert not journal.listens()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(5)
        assert journal.listens()
        yield listener


def test_journal_entry_has_the_fields_of_the_message(listener: socket.socket) -> None:
    sender = journal.Journal("mmirrorfs", "/mnt/high")
    one = record("source %s is lost", "flac")
    one.fields = {"event": "lost", "source": "flac", "seconds": 1.5}
    sender.emit(one)
    assert parsed(listener.recv(1 << 16)) == {
        "MESSAGE": "source flac is lost",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "mmirrorfs",
        "MMIRRORFS_VIEW": "/mnt/high",
        "MMIRRORFS_EVENT": "lost",
        "MMIRRORFS_SOURCE": "flac",
        "MMIRRORFS_SECONDS": "1.5",
    }


def test_long_or_multiline_message_is_one_journal_entry(listener: socket.socket) -> None:
    sender = journal.Journal("mmirrorfs")
    sender.emit(record("several\nlines\n%s", "x" * 1_000_000, level=logging.ERROR))
    entry = parsed(listener.recv(1 << 20))
    assert entry["MESSAGE"].startswith("several\nlines\nxxx")
    assert entry["PRIORITY"] == "3"


def test_journal_that_is_full_or_gone_does_not_block(listener: socket.socket) -> None:
    sender = journal.Journal("mmirrorfs")
    for number in range(2000):
        sender.emit(record("%d", number))
    listener.close()
    sender.emit(record("nobody"))


def test_place_is_stderr_or_journal_before_settle() -> None:
    assert log.place()["to"] in ("stderr", "journal")
