"""Command lines run by forking a process that has imported mmirrorfs: 20 ms of CPU each, not 190 ms (CPython 3.11).

Rule 1: for commands that query, print or are refused. A command that mounts needs a process of its own, because tests
find daemons by their command line.
Rule 2: a command that leaves a process behind fails the test: the server is the subreaper of all that it forks.
Rule 3: one command at a time, from the main thread; the server ends with the test process.
"""

import atexit
import ctypes
import functools
import gc
import importlib
import io
import math
import os
import pickle
import pkgutil
import signal
import subprocess
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import mmirrorfs
from tests.support.users import Word

PACKAGE = Path(mmirrorfs.__file__).parent
PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class _Request:
    directory: str
    words: list[bytes]
    environment: dict[str, str]
    seconds: float


@dataclass(frozen=True, slots=True)
class _Answer:
    code: int
    stdout: bytes
    stderr: bytes
    left: int
    """Processes that the command left behind."""


def queried(place: Path, *words: Word, seconds: float = 30) -> "subprocess.CompletedProcess[bytes]":
    """Run ``mmirrorfs`` in ``place``, in the C locale; returns its exit code (-SIGALRM after ``seconds``) and output.

    Raises AssertionError when it left a process behind.
    """
    environment = {**os.environ, "LC_ALL": "C"}
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        pickle.dump(_Request(os.fspath(place), [*map(os.fsencode, words)], environment, seconds), server.stdin)
        server.stdin.flush()
        answer: _Answer = pickle.load(server.stdout)
    except BaseException:  # out of step with the server: the next command starts another one
        _stop(server)
        _server.cache_clear()
        raise
    assert answer.left == 0, f"{words} left {answer.left} processes behind"
    return subprocess.CompletedProcess(words, answer.code, answer.stdout, answer.stderr)


@functools.cache
def _server() -> "subprocess.Popen[bytes]":
    """The server of this test process, started by the first command."""
    environment = {**os.environ, "LC_ALL": "C", "PYTHONPATH": str(PACKAGE.parent)}
    command = [sys.executable, "-m", "tests.support.prestarted"]
    server = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    atexit.register(_stop, server)
    return server


def _stop(server: "subprocess.Popen[bytes]") -> None:
    server.kill()
    server.communicate()


def _serve() -> None:
    """Answer requests from stdin on stdout until stdin ends."""
    # _Request and _Answer are pickled by the name of this module, not as those of __main__
    own = importlib.import_module("tests.support.prestarted")
    for module in pkgutil.walk_packages(mmirrorfs.__path__, "mmirrorfs."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    gc.freeze()
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    while True:
        try:
            request = pickle.load(requests)
        except EOFError:
            return
        with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            pid = os.fork()
            if pid == 0:
                _become(request, stdout.fileno(), stderr.fileno())
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            pickle.dump(own._Answer(code, _whole(stdout), _whole(stderr), _left()), answers)
        answers.flush()


def _whole(file: io.BufferedRandom) -> bytes:
    file.seek(0)
    return file.read()


def _left() -> int:
    """Kill and reap the children; returns how many of them were alive."""
    alive = 0
    for child in map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()):
        if os.waitpid(child, os.WNOHANG)[0] == 0:
            alive += 1
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return alive


def _become(request: _Request, stdout: int, stderr: int) -> NoReturn:
    """Be the command, as ``python -m mmirrorfs`` is."""
    signal.alarm(math.ceil(request.seconds))
    os.chdir(request.directory)
    os.environ.clear()
    os.environ.update(request.environment)
    stdin = os.open(os.devnull, os.O_RDONLY)
    for number, fd in enumerate((stdin, stdout, stderr)):
        os.dup2(fd, number)
    sys.argv = [str(PACKAGE / "__main__.py"), *map(os.fsdecode, request.words)]
    code = 1
    try:
        importlib.import_module("mmirrorfs.cli.main").main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # what the interpreter tidies up at its end costs another 80 ms


if __name__ == "__main__":
    _serve()
