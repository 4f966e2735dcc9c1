"""A child process that is started from the event loop while the daemon has files of a source open that hangs.

Rule 1: whoever starts it never waits for a source. What it does not inherit is closed when it begins to run another
program, and a FUSE filesystem is asked when one of its files is closed: in the child that may take for ever.
posix_spawn(3) goes on before that (Linux lets go of the memory first, seen on 6.18), ``subprocess`` waits for it.
Rule 2: it is never waited for without a bound: one that hangs cannot be killed.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

_STEP = 0.005
"""Seconds between two looks at whether it is gone."""


class Child:
    """A process with nothing but /dev/null for its streams, and the descriptors ``inherited``. Raises OSError.

    It is the leader of a session of its own.
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
        """How it ended, as ``subprocess`` has it: the exit code, or a signal's number, negative; None while it runs."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                pid, status = self.pid, 0
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def kill(self) -> None:
        """End it, if it runs still."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self, seconds: float) -> int:
        """Blocking: how it ended. Raises subprocess.TimeoutExpired."""
        until = time.monotonic() + seconds
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(str(self.pid), seconds)
            time.sleep(_STEP)
        return code
