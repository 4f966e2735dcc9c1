"""Bounded waiting for what happens in other processes and in the kernel. Tests do not sleep elsewhere."""

import os
import select
import subprocess
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.forked import Process

PAUSE = 0.005
"""Seconds between two calls of ``repeat``."""
SHORTEST, LONGEST = 0.002, 0.02
"""Seconds between two checks: a tenth of the time waited so far, within these bounds."""


def holds(condition: Callable[[], object], seconds: float = 10) -> bool:
    """Return True as soon as ``condition()`` is true, or False when it has not been within ``seconds``.

    One more check starts after that time, so that a machine that was suspended in between gets one.
    """
    start = time.monotonic()
    while True:
        waited = time.monotonic() - start
        if condition():
            return True
        if waited > seconds:
            return False
        time.sleep(min(max(waited / 10, SHORTEST), LONGEST))


def poll(condition: Callable[[], object], what: str, seconds: float = 10) -> None:
    """Wait until ``condition()`` is true. Raises AssertionError, naming ``what`` did not happen, after ``seconds``."""
    assert holds(condition, seconds), f"not within {seconds} s: {what}"


def repeat(call: Callable[[], object], seconds: float) -> None:
    """Call for ``seconds``, every few milliseconds: flat out it would take the processor that other tests wait for."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        call()
        time.sleep(PAUSE)


def exit_code(process: "subprocess.Popen[bytes] | Process", seconds: float) -> int:
    """Wait for a process to exit, and reap it. Raises subprocess.TimeoutExpired.

    Popen.wait() with a timeout notices the exit up to 50 ms late, because it sleeps between two checks. The pidfd of a
    traced process is readable before it can be reaped.
    """
    deadline = time.monotonic() + seconds
    if process.returncode is None and isinstance(process, subprocess.Popen):
        descriptor = os.pidfd_open(process.pid)
        try:
            exited = select.poll()
            exited.register(descriptor, select.POLLIN)
            exited.poll(seconds * 1000)
        finally:
            os.close(descriptor)
    return process.wait(max(0.0, deadline - time.monotonic()))
