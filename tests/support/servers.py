"""Servers that a test starts for itself, on a port that nobody else has, and ends by their own id."""

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.kernel import processes_of
from tests.support.polling import exit_code, holds, poll
from tests.support.users import Word, need

START = 20.0
"""Seconds for a server to come up, or to end."""


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody listens on it."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def serving(
    place: Path, ready: Callable[[], object], *command: Word, end: signal.Signals = signal.SIGTERM
) -> Iterator[None]:
    """Run a server in the foreground, from ``ready()`` on, for as long as the block takes; ``end`` is what ends it.

    What it says goes to ``place / "output"``. ``place``, or what is in it, must be among its words: by that its
    children are known, and waited for.
    """
    output = place / "output"
    path = need(os.fsdecode(command[0]))
    with open(output, "ab") as file:
        process = subprocess.Popen(
            [path, *command[1:]], cwd=place, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )
    try:
        up = holds(lambda: process.poll() is not None or ready(), START)
        assert up, f"not up in time: {output.read_text(errors='replace')}"
        assert process.poll() is None, f"it ended with {process.poll()}: {output.read_text(errors='replace')}"
        yield
    finally:
        process.send_signal(end)
        try:
            exit_code(process, START)
        finally:
            process.kill()
            process.wait()
    poll(lambda: not processes_of(os.fsencode(place)), f"the end of {path} and its children", START)


@contextlib.contextmanager
def unshared(*flags: str, script: str, words: tuple[Word, ...] = ()) -> Iterator[int]:
    """The id of a process that holds namespaces of its own, as ``unshare`` makes them with ``flags``.

    ``script`` is run in there first, by sh, with ``words`` as $1 and so on.
    """
    held = [need("unshare"), *flags, "sh", "-ec", f"{script}\necho ready; exec cat", "sh", *words]
    with subprocess.Popen(held, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"ready\n", f"no namespace: {script}"
            yield holder.pid
        finally:
            holder.kill()
