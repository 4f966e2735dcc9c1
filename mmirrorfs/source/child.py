"""A child process that can be started from the event loop while files of a hung source are open.

Rule 1: the start never waits for a source. At exec(2) the child closes the descriptors that it does not inherit, and
close(2) on a hung FUSE filesystem may block for ever. posix_spawn(3) returns before that (Linux releases the memory
first, seen on 6.18); ``subprocess`` waits for it.
Rule 2: each wait has a timeout: a child that hangs in such a call cannot be killed.

Only the thread that started a child may call its methods.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

_STEP = 0.005
"""Seconds between two polls."""


class Child:
    """A Python process, leader of its own session, with /dev/null as its streams, and ``inherited`` descriptors.

    Raises OSError.
    """

    def __init__(
        self, code: str, arguments: Sequence[str], environment: Mapping[str, str], inherited: Sequence[int]
    ) -> None:
        null = os.open(os.devnull, os.O_RDWR)
        try:
            streams = [(os.POSIX_SPAWN_DUP2, null, number) for number in range(3)]
            own = [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in inherited]  # which makes it inheritable
            words = [sys.executable, "-c", code, *arguments]
            self.pid = os.posix_spawn(words[0], words, environment, file_actions=[*streams, *own], setsid=True)
        finally:
            os.close(null)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, or the negated number of a signal, as in ``subprocess``; None while it runs."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                pid, status = self.pid, 0
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def kill(self) -> None:
        """Send SIGKILL, if it is running."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self, seconds: float) -> int:
        """Blocking: ``poll`` after its exit. Raises subprocess.TimeoutExpired."""
        until = time.monotonic() + seconds
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(str(self.pid), seconds)
            time.sleep(_STEP)
        return code
