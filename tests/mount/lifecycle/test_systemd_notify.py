"""sd_notify(3) messages: READY, STATUS and STOPPING, from the main process."""

import os
import re
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.support.kernel import view_at, views_under
from tests.support.mounts import COMMAND, mounted
from tests.support.polling import poll
from tests.support.trees import folders, grow
from tests.support.users import Word, run

PATIENCE = 20.0
"""Seconds to wait for a message."""


@dataclass
class Manager:
    """The notify socket, as systemd has it."""

    socket: socket.socket

    def receive(self) -> tuple[int, str]:
        """The next message, with the id of its sender."""
        text, extra, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(12))
        ((_, _, credentials),) = extra
        return struct.unpack("3i", credentials)[0], text.decode()

    def receive_all(self) -> list[tuple[int, str]]:
        """All messages that have arrived."""
        self.socket.setblocking(False)
        received = []
        try:
            while True:
                received.append(self.receive())
        except BlockingIOError:
            self.socket.settimeout(PATIENCE)
            return received

    def await_match(self, pattern: str) -> tuple[int, str]:
        """The next message that matches; skips others."""
        while True:
            sender, text = self.receive()
            if re.fullmatch(pattern, text):
                return sender, text


@contextmanager
def manager(place: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool = False) -> Iterator[Manager]:
    """Listen as systemd does, and set NOTIFY_SOCKET for started processes."""
    name = f"{'@' if abstract else ''}{place}/notify"
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        listener.settimeout(PATIENCE)
        listener.bind(name.replace("@", "\0"))
        yield Manager(listener)


@pytest.fixture
def sources(place: Path) -> tuple[Path, Path]:
    """Two overlapping sources, ``high`` before ``low``."""
    return grow(place / "high", folders("h", *"2345")), grow(place / "low", folders("l", *"01234"))


@contextmanager
def service(place: Path, *words: Word) -> Iterator["subprocess.Popen[bytes]"]:
    """The command in the foreground, as a service; ended after the block."""
    process = subprocess.Popen([*COMMAND, place / "high", place / "low", *words, "-f"], stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=PATIENCE)
        finally:
            process.kill()


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_ready_is_sent_once_by_the_main_process_when_the_view_answers(
    place: Path, sources: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, abstract: bool
) -> None:
    (place / "view").mkdir()
    with manager(place, monkeypatch, abstract) as systemd, service(place, place / "view") as process:
        first, second = systemd.receive(), systemd.receive()
        assert view_at(os.fsencode(place / "view")) is not None
        assert (place / "view/2/track").read_text() == "h2"
        assert second == (process.pid, "READY=1")
        assert first[0] == process.pid
        assert re.fullmatch(r"STATUS=6 folders from high, low; last scanned \d\d:\d\d:\d\d", first[1])
        process.send_signal(signal.SIGTERM)
        assert systemd.await_match("STOPPING=1") == (process.pid, "STOPPING=1")
        assert process.wait(PATIENCE) == 0
        assert systemd.receive_all() == []


def test_status_messages_follow_the_sources(
    place: Path, sources: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with manager(place, monkeypatch) as systemd, mounted(place / "view", *sources, options=("--refresh=0",)) as view:
        systemd.await_match("READY=1")
        grow(sources[1] / "9", {})
        view.send(signal.SIGHUP)
        systemd.await_match("STATUS=7 folders from high, low; .*")
        view.expect("source low .* is lost")
        sources[1].rename(place / "elsewhere")
        view.send(signal.SIGHUP)
        systemd.await_match(r"STATUS=7 folders from high, low \(LOST\); .*")
        view.expect("source low .* is back")
        (place / "elsewhere").rename(sources[1])
        view.send(signal.SIGHUP)
        systemd.await_match("STATUS=7 folders from high, low; .*")
        assert (view.mountpoint / "0/track").read_text() == "l0"


def test_ready_is_sent_once_when_both_outputs_answer(
    place: Path, sources: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    views = [place / "prefer high", place / "prefer low"]
    words: list[Word] = ["--output-high", views[0], "--output-low", views[1]]
    with manager(place, monkeypatch) as systemd, service(place, *words) as process:
        assert systemd.await_match("READY=1") == (process.pid, "READY=1")
        assert [(view / "2/track").read_text() for view in views] == ["h2", "l2"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        sent = systemd.receive_all()
        assert "READY=1" not in [text for _, text in sent]
        assert (process.pid, "STOPPING=1") in sent
    assert views_under(os.fsencode(place)) == []


def test_ready_is_not_sent_where_mounting_fails(
    place: Path, sources: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with manager(place, monkeypatch) as systemd:
        done = run(*COMMAND, *sources, place / "nowhere", "-f")
        assert done.returncode == 32
        assert systemd.receive_all() == []


@pytest.mark.parametrize("where", ["", "nothing/listens/here", "relative", "vsock:2:1234"])
def test_a_missing_notify_socket_is_harmless(
    place: Path, sources: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", f"{place}/{where}" if "/" in where else where)
    with mounted(place / "view", *sources) as view:
        assert (view.mountpoint / "2/track").read_text() == "h2"


def test_an_unread_notify_socket_does_not_block_the_view(
    place: Path, sources: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with manager(place, monkeypatch), mounted(place / "view", *sources, options=("--refresh=0.02",)) as view:
        for name in map(str, range(10, 30)):
            grow(sources[0] / name, {})
            poll(partial((view.mountpoint / name).exists), "a refresh")
