"""The real command, mounted, looked after and taken down again: what every test of a mount uses.

Rule 1: a view is up when it says so, the kernel lists it and it answers; it is waited for, with a bound.
Rule 2: however the test ends, process and mount are gone afterwards, by force if need be.
Rule 3: what the daemon complains of fails the test, unless the test says that it expects it; and what a test expects
must come. The log is read as the journal would read it: each line begins with its priority.
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

from tests.support.kernel import abort_under, alive, processes_of, view_at
from tests.support.polling import holds, poll

START = 30.0
"""Seconds that a view has to come up, or to go away, on a machine that is busy with other things."""

COMMAND = (sys.executable, "-m", "mmirrorfs")


@dataclass
class View:
    """A view that is mounted. ``pid`` is the process that serves it, ``log`` the file that it complains to."""

    mountpoint: Path
    pid: int
    log: Path
    expected: list[str] = field(default_factory=list)
    possible: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

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
        """Say that the daemon will complain, in a line that has this regular expression in it."""
        self.expected.append(pattern)

    def may_say(self, pattern: str) -> None:
        """Say that the daemon may complain so, or not."""
        self.possible.append(pattern)

    def send(self, number: signal.Signals) -> None:
        """Send the daemon a signal."""
        os.kill(self.pid, number)

    def unmount(self) -> None:
        """End the view and see that nothing is left of it; harmless when it has ended by itself."""
        if self.is_mounted and alive(self.pid):
            self.send(signal.SIGTERM)
        code = self.await_end()
        assert code == 0, f"it ended with {code}: {self.text()}"

    def await_end(self) -> int:
        """Wait until process and mount are gone; returns the exit code (0 where it is not ours to know)."""
        code = 0
        if self.process is not None:
            code = self.process.wait(START)
        poll(lambda: not processes_of(self.where), f"the end of what serves {self.mountpoint}", START)
        poll(lambda: not self.is_mounted, f"{self.mountpoint} unmounted", START)
        return code

    def check_log(self) -> None:
        """Raise AssertionError for a complaint that nobody expected, or one that was expected and never came."""
        lines = self.text().splitlines()
        missing = [pattern for pattern in self.expected if not any(re.search(pattern, line) for line in lines)]
        assert not missing, f"never logged: {missing}\n" + "\n".join(lines)
        surprises = [line for line in lines if not self._is_expected(line)]
        assert not surprises, "logged, and nobody expected it:\n" + "\n".join(surprises)

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
    command: Sequence[str] = COMMAND,
    background: bool = False,
) -> Iterator[View]:
    """Mount ``sources`` on ``mountpoint``, which is made if it is missing, for as long as the block takes.

    ``prefix`` stands before the command, ``options`` come last. Raises AssertionError when it does not come up,
    does not end, leaves something behind, or complains.
    """
    with contextlib.suppress(FileExistsError):  # a dead mount's, too
        os.mkdir(mountpoint)
    log = mountpoint.parent / f"{mountpoint.name}.log"
    words = [*prefix, *command, *map(str, sources), str(mountpoint), f"--prefer={prefer}", f"--depth={depth}", *options]
    start = _in_background if background else _in_foreground
    with open(log, "wb") as file:
        view = start(words, mountpoint, log, file)
    try:
        yield view
        view.unmount()
        view.check_log()
    finally:
        _take_down(view)


def _in_foreground(words: list[str], mountpoint: Path, log: Path, file: BinaryIO) -> View:
    process = subprocess.Popen(
        [*words, "-f", "-v"], stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=journal(file)
    )
    view = View(mountpoint, process.pid, log, process=process)
    holds(lambda: "is mounted" in view.text() or process.poll() is not None, START)
    if not view.is_mounted or process.poll() is not None:
        _take_down(view)
        raise AssertionError(f"it did not come up ({process.poll()}): {view.text()}")
    os.statvfs(mountpoint)
    return view


def _in_background(words: list[str], mountpoint: Path, log: Path, file: BinaryIO) -> View:
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=file, stderr=file, timeout=START, check=False)
    view = View(mountpoint, 0, log)
    assert done.returncode == 0, f"it did not come up ({done.returncode}): {view.text()}"
    pids = processes_of(view.where)
    assert len(pids) == 1, f"one process serves a view, not {pids}"
    view.pid = pids[0]
    return view


def journal(file: BinaryIO) -> dict[str, str]:
    """An environment in which stderr is the journal (systemd.exec(5)): lines are then told with their priority."""
    st = os.fstat(file.fileno())
    return {**os.environ, "JOURNAL_STREAM": f"{st.st_dev}:{st.st_ino}"}


def _take_down(view: View) -> None:
    """By force what did not end by itself."""
    abort_under(view.where)
    if view.process is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            view.process.wait(1 if view.process.poll() is None else 0)
        view.process.kill()
        view.process.wait(START)
    elif view.pid and alive(view.pid):
        os.kill(view.pid, signal.SIGKILL)


def kill(pid: int, mountpoint: Path) -> None:
    """Kill what serves a view: the mount stays behind, dead."""
    os.kill(pid, signal.SIGKILL)
    poll(lambda: pid not in processes_of(os.fsencode(mountpoint.parent)), "the end of the process")
    with pytest.raises(OSError) as caught:  # noqa: PT011  # it has no name of its own
        os.statvfs(mountpoint)
    assert caught.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)
