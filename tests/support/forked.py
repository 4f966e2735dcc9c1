"""Runs of the command in processes forked from one that has imported it, because the imports take most of a run.

A server per test process, ``python -m tests.support.forked``, imports all of mmirrorfs and forks once for each run.

1. The child has the words, directory, environment and standard streams that it would have when started by itself.
   Its /proc/PID/cmdline is the server's, so what mounts must be started by itself (``running.called`` decides).
2. One run at a time; a second thread waits for its turn.
3. After a timeout, or any other exception, the run is killed and the next one gets a new server.
4. The server is not a child of the test process, so that tests can check that they leave none. It exits when the test
   process does.
"""

import atexit
import contextlib
import gc
import importlib
import os
import pickle
import pkgutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

Streams = tuple[int, int, int]
"""Descriptors of stdin, stdout and stderr."""

_LARGEST = 1 << 17
"""Bytes of a request: words, directory and environment."""


class _Server:
    """The forking process. ``run`` may be called by any thread."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "tests.support.forked", str(theirs.fileno())]
        top, environment = Path(__file__).parents[2], {**os.environ, "LC_ALL": "C"}
        with theirs:
            null = subprocess.DEVNULL
            subprocess.run(
                command, cwd=top, env=environment, pass_fds=[theirs.fileno()], stdin=null, stdout=null, check=True
            )

    def run(
        self, words: Sequence[str], directory: Path, environment: dict[str, str], streams: Streams, seconds: float
    ) -> int:
        """Run the command and return its exit code. Raises subprocess.TimeoutExpired."""
        child = 0
        try:
            request = pickle.dumps((list(words), os.fspath(directory), environment))
            socket.send_fds(self._channel, [request], streams)
            child = int(self._channel.recv(32))
            self._channel.settimeout(seconds)
            code = int(self._channel.recv(32))
            self._channel.settimeout(None)
        except BaseException as error:
            self.close()
            if child:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            if isinstance(error, TimeoutError):
                raise subprocess.TimeoutExpired(list(words), seconds) from None
            raise
        return code

    def close(self) -> None:
        """Have the server exit, once its present run has ended."""
        self._channel.close()


_lock = threading.Lock()
_servers: list[_Server] = []


def run(
    words: Sequence[str], directory: Path, environment: dict[str, str], streams: Streams, seconds: float = 30
) -> int:
    """Run the command and return its exit code. Raises subprocess.TimeoutExpired."""
    with _lock:
        server = _servers.pop() if _servers else _Server()
        code = server.run(words, directory, environment, streams, seconds)
        _servers.append(server)
    return code


@atexit.register
def _close_all() -> None:
    for server in _servers:
        server.close()


# The server


def _serve(channel: socket.socket) -> bool:
    """Fork for each request. Returns True in a child, which is to run the command, and False after the last request."""
    if os.fork():
        return False
    import mmirrorfs

    for module in pkgutil.walk_packages(mmirrorfs.__path__, "mmirrorfs."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    gc.freeze()
    while True:
        request, streams, _, _ = socket.recv_fds(channel, _LARGEST, 3)
        if not request:
            return False
        child = os.fork()
        if child == 0:
            channel.close()
            words, directory, environment = pickle.loads(request)
            _prepare(words, directory, environment, streams)
            return True
        for descriptor in streams:
            os.close(descriptor)
        with contextlib.suppress(BrokenPipeError):
            channel.send(b"%d" % child)
        _, status = os.waitpid(child, 0)
        with contextlib.suppress(BrokenPipeError):
            channel.send(b"%d" % os.waitstatus_to_exitcode(status))


def _prepare(words: list[str], directory: str, environment: dict[str, str], streams: list[int]) -> None:
    """Make this process what it would be had it been started with these."""
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    sys.argv = [os.path.join(os.path.dirname(sys.modules["mmirrorfs"].__file__ or ""), "__main__.py"), *words]


if __name__ == "__main__" and _serve(socket.socket(fileno=int(sys.argv[1]))):
    from mmirrorfs.cli.main import main

    main()
