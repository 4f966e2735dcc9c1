"""Runs of the command in processes forked from one that has imported it, because the imports take most of a start.

A server per test process, ``python -m tests.support.forked``, imports all of mmirrorfs. For each run it forks a parent,
which forks the process that runs the command, waits for it and reports its exit code.

1. A run has the words, directory, environment and standard streams that it would have when started by itself, and its
   /proc/PID/cmdline is that of ``python -m mmirrorfs``. Settings of the interpreter in its environment have no effect.
2. The server is not a child of the test process, so that tests can check that they leave none. It exits when the test
   process does.
"""

import atexit
import contextlib
import gc
import importlib
import os
import pickle
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

Streams = tuple[int, int, int]
"""Descriptors of stdin, stdout and stderr."""

LARGEST = 1 << 16
"""Bytes of a command line."""
_LARGEST_REQUEST = 1 << 18
"""Bytes of a request: words, directory and environment."""


class Process:
    """A run of the command: what is needed of subprocess.Popen, for a process that is no child of this one."""

    def __init__(self, words: Sequence[str], pid: int, report: socket.socket) -> None:
        self.args = list(words)
        self.pid = pid
        self.returncode: int | None = None
        self._report = report

    def poll(self) -> int | None:
        """The exit code, or None while it runs; negative if a signal ended it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, seconds: float | None = None) -> int:
        """Wait for its exit code. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            ready = select.poll()
            ready.register(self._report, select.POLLIN)
            if not ready.poll(None if seconds is None else seconds * 1000):
                raise subprocess.TimeoutExpired(self.args, seconds or 0)
            self.returncode = int(self._report.recv(32))
            self._report.close()
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless its exit code is known."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Send it SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def __del__(self) -> None:
        self._report.close()


_lock = threading.Lock()
_servers: list[socket.socket] = []


def start(words: Sequence[str], directory: Path, environment: dict[str, str], streams: Streams) -> Process:
    """Start the command."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        request = pickle.dumps((list(words), os.fspath(directory), environment))
        socket.send_fds(_server(), [request], [*streams, theirs.fileno()])
    return Process(words, int(ours.recv(32)), ours)


def run(
    words: Sequence[str], directory: Path, environment: dict[str, str], streams: Streams, seconds: float = 30
) -> int:
    """Run the command and return its exit code. Kills it and raises subprocess.TimeoutExpired when it takes longer."""
    process = start(words, directory, environment, streams)
    try:
        return process.wait(seconds)
    except BaseException:
        process.kill()
        raise


def _server() -> socket.socket:
    """The connection to the server of this test process."""
    with _lock:
        if not _servers:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            command = [sys.executable, "-m", "tests.support.forked", str(theirs.fileno()), " " * LARGEST]
            top, environment = Path(__file__).parents[2], {**os.environ, "LC_ALL": "C"}
            with theirs:
                null = subprocess.DEVNULL
                subprocess.run(
                    command, cwd=top, env=environment, pass_fds=[theirs.fileno()], stdin=null, stdout=null, check=True
                )
            _servers.append(ours)
    return _servers[0]


@atexit.register
def _close_all() -> None:
    for server in _servers:
        server.close()


# The server


def _serve(channel: socket.socket) -> bool:
    """Fork for each request. Returns True in a process that is to run the command, and False after the last request."""
    if os.fork():
        return False
    import mmirrorfs

    for module in pkgutil.walk_packages(mmirrorfs.__path__, "mmirrorfs."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # reaps the parents
    while True:
        request, descriptors, _, _ = socket.recv_fds(channel, _LARGEST_REQUEST, 4)
        if not request:
            return False
        if os.fork() == 0:
            channel.close()
            return _is_run(request, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _is_run(request: bytes, descriptors: list[int]) -> bool:
    """In the parent of a run: returns True in the run, and False when it has ended and its exit code is reported."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *streams, report = descriptors
    child = os.fork()
    if child == 0:
        os.close(report)
        words, directory, environment = pickle.loads(request)
        _prepare(words, directory, environment, streams)
        return True
    for descriptor in streams:
        os.close(descriptor)
    with socket.socket(fileno=report) as channel, contextlib.suppress(BrokenPipeError):
        channel.send(b"%d" % child)
        _, status = os.waitpid(child, 0)
        channel.send(b"%d" % os.waitstatus_to_exitcode(status))
    return False


def _prepare(words: list[str], directory: str, environment: dict[str, str], streams: list[int]) -> None:
    """Make this process what it would be had it been started with these."""
    _write_command_line([sys.executable, "-m", "mmirrorfs", *words])
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    sys.argv = [os.path.join(os.path.dirname(sys.modules["mmirrorfs"].__file__ or ""), "__main__.py"), *words]


def _write_command_line(words: list[str]) -> None:
    """Overwrite what /proc/PID/cmdline shows: the memory of the arguments that the server was started with."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    first, end = int(fields[45]), int(fields[46])  # arg_start and arg_end, the 48th and 49th of proc_pid_stat(5)
    text = b"".join(os.fsencode(word) + b"\0" for word in words)
    with open("/proc/self/mem", "wb", buffering=0) as memory:
        memory.seek(first)
        memory.write(text.ljust(end - first, b"\0"))


if __name__ == "__main__" and _serve(socket.socket(fileno=int(sys.argv[1]))):
    from mmirrorfs.cli.main import main

    main()
