"""Many concurrent readers, each a thread of one other process, which may block for ever.

They open their files first, read on request, and report the results when all have finished.
"""

import contextlib
import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from tests.support.polling import holds, poll


class Readers:
    """The readers, as the test controls them. ``process`` is theirs."""

    def __init__(self, process: "subprocess.Popen[bytes]", progress: Path) -> None:
        self.process = process
        self._progress = progress

    def start(self) -> None:
        """Have all of them read."""
        _pipe(self.process.stdin).write(b"go\n")
        _pipe(self.process.stdin).flush()

    @property
    def done(self) -> int:
        """The number of readers whose read has returned."""
        return len(self._progress.read_bytes())

    @property
    def reading(self) -> int:
        """The number of readers that block in read(2), by /proc/PID/task/TID/syscall."""
        pid = self.process.pid
        tasks = [task for task in Path(f"/proc/{pid}/task").iterdir() if task.name != str(pid)]
        return sum(_call(task) == "0" for task in tasks)

    def answers(self, seconds: float) -> list[str | int]:
        """The result of each reader: the content in hexadecimal digits, or an errno. Waits for all."""
        poll(lambda: self.process.poll() is not None, "the end of the readers", seconds)
        found: list[str | int] = json.loads(_answers(self._progress).read_text())
        return found


def _call(task: Path) -> str:
    """The number of the system call that a thread is in; empty where that is unknown."""
    try:
        return (task / "syscall").read_text().split()[0]
    except OSError:
        return ""


def _answers(progress: Path) -> Path:
    return progress.with_suffix(".json")


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


@contextlib.contextmanager
def readers(paths: Sequence[Path], progress: Path) -> Iterator[Readers]:
    """Start a reader for each path. ``progress`` is a file that grows by one byte with each result."""
    progress.write_bytes(b"")
    top = Path(__file__).parents[2]
    program = [sys.executable, "-m", "tests.support.readers", str(progress), *map(str, paths)]
    process = subprocess.Popen(program, cwd=top, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert _pipe(process.stdout).readline() == b"open\n"
        yield Readers(process, progress)
    finally:
        process.kill()
        holds(lambda: process.poll() is not None, 5)
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(BrokenPipeError):
                _pipe(pipe).close()


def _main(progress: str, paths: Sequence[str]) -> None:
    files = [os.open(path, os.O_RDONLY) for path in paths]
    answers: list[str | int] = [0] * len(paths)
    count = os.open(progress, os.O_WRONLY | os.O_APPEND)

    def read(number: int) -> None:
        try:
            answers[number] = os.read(files[number], 1 << 20).hex()
        except OSError as error:
            answers[number] = error.errno or 0
        os.write(count, b".")
        while answers[number] == errno.ENOMEM:  # there was no thread for it; one becomes free later
            time.sleep(0.05)
            with contextlib.suppress(OSError):
                os.read(files[number], 1 << 20)
                return

    print("open", flush=True)
    os.read(0, 1)
    threads = [threading.Thread(target=read, args=(number,)) for number in range(len(paths))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _answers(Path(progress)).write_text(json.dumps(answers))
    os._exit(0)  # closing the files may block


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2:])
