"""Servers that a test starts for itself, on a free port or in namespaces of its own, and stops again."""

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
"""Seconds that a server may take to start or to exit."""


def free_port() -> int:
    """A free TCP port of the loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether a connection to the port of the loopback is accepted."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def serving(
    place: Path, ready: Callable[[], object], *command: Word, end: signal.Signals = signal.SIGTERM
) -> Iterator[None]:
    """Run a server in the foreground while the block runs. Yields once ``ready()`` is true; ``end`` stops the server.

    Its output goes to ``place / "output"``. ``place``, or a path in it, must be an argument of the command, so that
    its children can be found and waited for.
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
    """Create namespaces with unshare(1) and ``flags``; yields the id of the process that keeps them.

    sh runs ``script`` in them first, with ``words`` as $1 and so on.
    """
    held = [need("unshare"), *flags, "sh", "-ec", f"{script}\necho ready; exec cat", "sh", *words]
    with subprocess.Popen(held, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"ready\n", f"no namespace: {script}"
            yield holder.pid
        finally:
            holder.kill()
