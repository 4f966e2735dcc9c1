"""The worker processes: prepared before any clock starts, and always awaited with a timeout."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import TracebackType

Job = dict[str, object]
Answer = dict[str, float]

HERE = os.path.dirname(os.path.abspath(__file__))
WORKER = (sys.executable, "-I", "-S", os.path.join(HERE, "worker.py"))
PROBE = (sys.executable, "-m", "benchmark.probe")

PATIENCE = 600.0
"""Timeout of a run in seconds."""


class BenchmarkError(Exception):
    """The figures cannot be measured; the message says why."""


class Crew:
    """One prepared process per job. A context manager that ends all of them."""

    def __init__(self, jobs: Sequence[Job], command: Sequence[str] = WORKER) -> None:
        """Raises BenchmarkError if one of them cannot prepare."""
        environment = {**os.environ, "PYTHONPATH": os.path.dirname(HERE)}
        self._told = 0
        self._members: list[subprocess.Popen[bytes]] = []
        try:
            for job in jobs:
                self._members.append(_started(command, environment))
                self._tell(self._members[-1], json.dumps(job))
            self._answers(time.monotonic() + PATIENCE)
        except BaseException:
            self.dismiss()
            raise

    def __enter__(self) -> "Crew":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.dismiss()

    @property
    def pids(self) -> list[int]:
        """The process ids."""
        return [member.pid for member in self._members]

    def start(self) -> None:
        """Start the clock and all workers."""
        self._told = time.monotonic_ns()
        for member in self._members:
            self._tell(member, "go")

    def finish(self, seconds: float = PATIENCE) -> tuple[float, list[Answer]]:
        """Wait for all; returns the seconds from the start to the last one's end, and their answers."""
        answers = self._answers(time.monotonic() + seconds)
        return (max(answer["end"] for answer in answers) - self._told) / 1e9, answers

    def run(self) -> tuple[float, float]:
        """Run once; returns the seconds taken (or those reported by a worker) and the total amount of work."""
        self.start()
        seconds, answers = self.finish()
        return answers[0].get("seconds", seconds), sum(answer["amount"] for answer in answers)

    def dismiss(self) -> None:
        """Kill all of them and their children, even if they hang."""
        for member in self._members:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(member.pid, signal.SIGKILL)
        for member in self._members:
            with contextlib.suppress(subprocess.TimeoutExpired):
                member.wait(10)
            for pipe in (member.stdin, member.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def _answers(self, deadline: float) -> list[Answer]:
        return [_answer(member, deadline) for member in self._members]

    @staticmethod
    def _tell(member: "subprocess.Popen[bytes]", line: str) -> None:
        assert member.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # its answer says why
            member.stdin.write(line.encode() + b"\n")
            member.stdin.flush()


def _started(command: Sequence[str], environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Start a worker in a session of its own: Ctrl-C reaches only the benchmark, which ends its workers."""
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0, env=environment, start_new_session=True)


def _answer(member: "subprocess.Popen[bytes]", deadline: float) -> Answer:
    assert member.stdout is not None
    poller, line = select.poll(), b""
    poller.register(member.stdout, select.POLLIN)
    while not line.endswith(b"\n"):
        if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise BenchmarkError("a worker does not answer")
        piece = os.read(member.stdout.fileno(), 65536)
        if not piece:
            raise BenchmarkError("a worker has died")
        line += piece
    said = json.loads(line)
    if "error" in said:
        raise BenchmarkError(f"a worker failed: {said['error']}")
    return {key: float(value) for key, value in said.items()}
