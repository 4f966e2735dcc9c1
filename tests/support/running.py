"""Runs the command in a directory, with relative paths, for one view or several.

1. Mounts are below the directory. They are removed when the block ends, however it ends.
2. A process in the foreground is stopped when the block ends. Its log is a file in the directory.
"""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support import forked
from tests.support.kernel import abort_under, alive, view_at, views_under
from tests.support.mounts import COMMAND, START
from tests.support.polling import exit_code, holds, poll
from tests.support.users import Word, output_of

Done = subprocess.CompletedProcess[bytes]


@dataclass
class Family:
    """A command in the foreground, and the child process that it has for each view."""

    process: "subprocess.Popen[bytes] | forked.Process"
    log: Path

    def text(self) -> str:
        """The log so far."""
        return self.log.read_text(errors="backslashreplace")

    def children(self) -> list[int]:
        """The processes that serve a view each, in the order of the views; none where the command itself serves."""
        pid = self.process.pid
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split() if alive(int(word))]

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send it a signal and wait; returns its exit code."""
        self.process.send_signal(number)
        return exit_code(self.process, START)


def called(place: Path, *words: Word, seconds: float = 30) -> Done:
    """Run the command in ``place`` and return its exit code and output, unchecked. Raises subprocess.TimeoutExpired.

    It is forked from a process that has imported the program.
    """
    environment = {**os.environ, "LC_ALL": "C"}
    strings = [os.fsdecode(word) for word in words]
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr, open(os.devnull, "rb") as stdin:
        streams = (stdin.fileno(), stdout.fileno(), stderr.fileno())
        code = forked.run(strings, place, environment, streams, seconds)
        stdout.seek(0)
        stderr.seek(0)
        return Done([*COMMAND, *strings], code, stdout.read(), stderr.read())


def is_view(path: Path) -> bool:
    """Whether a view is mounted there."""
    return view_at(os.fsencode(path)) is not None


@contextlib.contextmanager
def background(place: Path, *words: Word) -> Iterator[None]:
    """Run the command in ``place``, which must succeed without output. Unmounts all views when the block ends."""
    try:
        done = called(place, *words)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        yield
        for view in views_under(os.fsencode(place)):
            output_of("umount", view.where)
        poll(lambda: not views_under(os.fsencode(place)), "the end of the views", START)
    finally:
        abort_under(os.fsencode(place))


@contextlib.contextmanager
def foreground(place: Path, *words: Word, views: tuple[str, ...]) -> Iterator[Family]:
    """Run the command in ``place`` with -f. Yields when it has sent READY=1 and all ``views`` are mounted.

    It is stopped when the block ends, by force if need be.
    """
    log, address = place / "family.log", place / "notify"
    with open(log, "wb") as file, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications:
        notifications.bind(os.fspath(address))
        environment = {**os.environ, "NOTIFY_SOCKET": os.fspath(address)}
        strings = [*map(os.fsdecode, words), "-f"]
        with open(os.devnull, "rb") as stdin:
            process = forked.start(strings, place, environment, (stdin.fileno(), 1, file.fileno()))
        family = Family(process, log)
        up = holds(lambda: process.poll() is not None or _is_ready(notifications), START)
    address.unlink()
    try:
        assert up, f"not ready in time: {family.text()}"
        assert process.poll() is None, f"it ended with {process.poll()}: {family.text()}"
        assert all(is_view(place / view) for view in views), f"not mounted, though it said so: {family.text()}"
        yield family
    finally:
        abort_under(os.fsencode(place))
        with contextlib.suppress(subprocess.TimeoutExpired):
            exit_code(process, 1 if process.poll() is None else 0)
        process.kill()
        exit_code(process, START)


def _is_ready(notifications: socket.socket) -> bool:
    """Whether READY=1 is among the messages since the last call (sd_notify(3))."""
    with contextlib.suppress(BlockingIOError):
        while True:
            if b"READY=1" in notifications.recv(1 << 16, socket.MSG_DONTWAIT):
                return True
    return False
