"""Mounts a view with the real command, and unmounts it again.

1. ``mounted`` yields when the command has logged that the view is mounted, the kernel lists it, statvfs(2) returns and,
   in the foreground, the sources were scanned again.
2. When it returns, or raises, neither the process nor the mount is left.
3. A warning or an error in the daemon's log fails the test unless the test has declared it with ``expect``; what was
   declared must be logged. Lines have a priority, because stderr is announced as the journal's.
"""

import contextlib
import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import pytest

from mmirrorfs.mount.controlclient import socket_name
from mmirrorfs.mount.sockets import connected, peer
from tests.support import forked
from tests.support.kernel import abort_under, alive, processes_of, view_at
from tests.support.polling import exit_code, holds, poll

START = 30.0
"""Seconds that mounting or unmounting may take on a busy machine."""

LISTENING = 3.0
"""Seconds to wait for the control socket of a view."""
SCANNED = 0.5
"""Seconds to wait for the scan that follows the mount: the one before it leaves out the attributes of local folders. A
source that hangs, or is polled and not local, is not scanned so soon."""

COMMAND = (sys.executable, "-m", "mmirrorfs")


@dataclass
class View:
    """A mounted view. ``pid`` is the process that serves it, ``log`` the file that its stderr goes to."""

    mountpoint: Path
    pid: int
    log: Path
    expected: list[str] = field(default_factory=list)
    possible: list[str] = field(default_factory=list)
    process: "subprocess.Popen[bytes] | forked.Process | None" = None

    @property
    def where(self) -> bytes:
        """The mountpoint in bytes."""
        return os.fsencode(self.mountpoint)

    @property
    def is_mounted(self) -> bool:
        """Whether the kernel lists it."""
        return view_at(self.where) is not None

    def text(self) -> str:
        """The log so far."""
        return self.log.read_text(errors="backslashreplace")

    def expect(self, pattern: str) -> None:
        """Declare that the daemon logs a warning or an error that matches this regular expression."""
        self.expected.append(pattern)

    def may_say(self, pattern: str) -> None:
        """Declare that the daemon may log a warning or an error that matches."""
        self.possible.append(pattern)

    def send(self, number: signal.Signals) -> None:
        """Send the daemon a signal."""
        os.kill(self.pid, number)

    def unmount(self) -> None:
        """Stop the daemon and wait until process and mount are gone. Does nothing if it has exited already."""
        if self.is_mounted and alive(self.pid):
            self.send(signal.SIGTERM)
        code = self.await_end()
        assert code == 0, f"it ended with {code}: {self.text()}"

    def await_end(self) -> int:
        """Wait until process and mount are gone; returns the exit code, 0 where the process is not our child."""
        code = 0
        if self.process is not None:
            code = exit_code(self.process, START)
        poll(lambda: not processes_of(self.where), f"the exit of the daemon of {self.mountpoint}", START)
        poll(lambda: not self.is_mounted, f"{self.mountpoint} unmounted", START)
        return code

    def check_log(self) -> None:
        """Raise AssertionError for a complaint that was not declared, or a declared one that is missing."""
        lines = self.text().splitlines()
        missing = [pattern for pattern in self.expected if not any(re.search(pattern, line) for line in lines)]
        assert not missing, f"never logged: {missing}\n" + "\n".join(lines)
        unexpected = [line for line in lines if not self._is_expected(line)]
        assert not unexpected, "logged, and nobody expected it:\n" + "\n".join(unexpected)

    def _is_expected(self, line: str) -> bool:
        return bool(re.match(r"<[567]>", line)) or any(
            re.search(pattern, line) for pattern in (*self.expected, *self.possible)
        )


@contextlib.contextmanager
def mounted(
    mountpoint: Path,
    *sources: Path | str,
    prefer: str = "high",
    depth: int = 1,
    options: Sequence[str] = (),
    prefix: Sequence[str] = (),
    command: Sequence[str] = (),
    background: bool = False,
) -> Iterator[View]:
    """Mount ``sources`` on ``mountpoint``, which is created if it is missing, while the block runs.

    ``prefix`` goes before the command, ``options`` go last. Without ``prefix`` and ``command``, which is COMMAND then,
    the process is forked from one that has imported the program. Raises AssertionError when the view cannot be mounted,
    the daemon fails or does not exit, or the log has unexpected complaints.
    """
    with contextlib.suppress(FileExistsError):  # also for the mountpoint of a dead mount
        os.mkdir(mountpoint)
    log = mountpoint.parent / f"{mountpoint.name}.log"
    words = [*map(str, sources), str(mountpoint), f"--prefer={prefer}", f"--depth={depth}", *options]
    if prefix or command:
        words = [*prefix, *(command or COMMAND), *words]
    start = _in_background if background else _in_foreground
    with open(log, "wb") as file:
        view = start(words, mountpoint, log, file, is_forked=not (prefix or command))
    if not background and not any(option.startswith("--log") for option in options):
        holds(lambda: len(re.findall("source .* scanned: ", view.text())) >= len(sources), SCANNED)
        if not prefix and not command:
            holds(lambda: _listens(view), LISTENING)
    try:
        yield view
        view.unmount()
        view.check_log()
    finally:
        _force_down(view)


def _listens(view: View) -> bool:
    """Whether the view's own daemon listens on the control socket: the last one of its device number may exit late."""
    mount = view_at(view.where)
    connection = connected(socket_name(f"0:{mount.connection}")) if mount is not None else None
    if connection is None:
        return False
    with connection:
        return peer(connection)[0] == view.pid


def _start(
    words: list[str], file: BinaryIO, environment: dict[str, str], is_forked: bool
) -> "subprocess.Popen[bytes] | forked.Process":
    """Start ``words``, which are those after COMMAND if it is to be forked."""
    with open(os.devnull, "rb") as stdin:
        if is_forked:
            return forked.start(words, Path.cwd(), environment, (stdin.fileno(), file.fileno(), file.fileno()))
        return subprocess.Popen(words, stdin=stdin, stdout=file, stderr=file, env=environment)


def _in_foreground(words: list[str], mountpoint: Path, log: Path, file: BinaryIO, is_forked: bool) -> View:
    process = _start([*words, "-f", "-v"], file, journal(file), is_forked)
    view = View(mountpoint, process.pid, log, process=process)
    holds(lambda: "is mounted" in view.text() or process.poll() is not None, START)
    if not view.is_mounted or process.poll() is not None:
        _force_down(view)
        raise AssertionError(f"it did not come up ({process.poll()}): {view.text()}")
    os.statvfs(mountpoint)
    return view


def _in_background(words: list[str], mountpoint: Path, log: Path, file: BinaryIO, is_forked: bool) -> View:
    process = _start(words, file, dict(os.environ), is_forked)
    view = View(mountpoint, 0, log)
    try:
        code = exit_code(process, START)
    finally:
        process.kill()
    assert code == 0, f"it did not come up ({code}): {view.text()}"
    view.pid = daemon_of(view.where)
    return view


def daemon_of(where: bytes) -> int:
    """The one process with the path ``where``, or one below it, on its command line. Raises AssertionError if it is
    not one. A child that it starts has the same command line for a moment, until it executes another program.
    """
    pids: list[int] = []

    def is_one() -> bool:
        pids[:] = processes_of(where)
        return len(pids) == 1

    assert holds(is_one), f"one process serves a view, not {pids}"
    return pids[0]


def journal(file: BinaryIO) -> dict[str, str]:
    """An environment that declares ``file`` to be the journal (systemd.exec(5)): then log lines have a priority."""
    st = os.fstat(file.fileno())
    return {**os.environ, "JOURNAL_STREAM": f"{st.st_dev}:{st.st_ino}"}


def _force_down(view: View) -> None:
    """Abort the connection and kill the daemon, where they are still there."""
    abort_under(view.where)
    if view.process is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            exit_code(view.process, 1 if view.process.poll() is None else 0)
        view.process.kill()
        exit_code(view.process, START)
    elif view.pid and alive(view.pid):
        os.kill(view.pid, signal.SIGKILL)


def kill(pid: int, mountpoint: Path) -> None:
    """Kill the daemon of a view. The mount stays, and fails with ENOTCONN."""
    os.kill(pid, signal.SIGKILL)
    poll(lambda: pid not in processes_of(os.fsencode(mountpoint.parent)), "the end of the process")
    with pytest.raises(OSError) as caught:  # noqa: PT011  # it has no name of its own
        os.statvfs(mountpoint)
    assert caught.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)
