"""Worker processes of the soak: each changes sources, or reads views in one way, until SIGTERM.

1. A worker counts its operations, and records each error that a plain directory under concurrent changes would not
   give: the time (time.monotonic(), common to all processes), the errno and the path. The soak decides what is a fault.
2. On SIGTERM it prints both as one line of JSON, and exits.
"""

import contextlib
import json
import os
import random
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from tests.support.handles import handle_of, opened
from tests.support.mutator import FINE, Mutator, look
from tests.support.polling import holds

KEPT = 20
"""Files that ``pieces`` keeps open at a time."""
MOST = 1000
"""Most errors that are recorded."""


class Noted(NamedTuple):
    """An error of a worker."""

    when: float
    code: int
    path: str


@dataclass
class Report:
    """A worker's report: the number of operations, and the errors."""

    done: int
    errors: list[Noted]


class Worker:
    """A worker process, as the soak controls it."""

    def __init__(self, kind: str, seed: int, roots: Sequence[bytes | Path]) -> None:
        program = [sys.executable, "-m", "tests.support.workers", kind, str(seed), *map(os.fsdecode, roots)]
        top = Path(__file__).parents[2]
        self.kind = kind
        self.process = subprocess.Popen(program, cwd=top, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)

    def end(self) -> Report:
        """Stop it; returns its report. Raises AssertionError where it has exited by itself."""
        assert self.process.poll() is None, f"{self.kind} ended with {self.process.returncode}"
        self.process.terminate()
        said, _ = self.process.communicate(timeout=30)
        done, errors = json.loads(said)
        return Report(done, [Noted(*error) for error in errors])

    def kill(self) -> None:
        """Kill it, if it has not exited yet."""
        self.process.kill()
        if holds(lambda: self.process.poll() is not None, 10):
            self.process.communicate()


# The process


@dataclass
class _Work:
    """The state of a worker: directories to visit, and descriptors kept open."""

    roots: list[bytes]
    chance: random.Random
    waiting: list[bytes] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)

    def next(self) -> bytes:
        """A random path of those to visit; starts again at the roots when none is left."""
        if not self.waiting:
            self.waiting = list(self.roots)
        return self.waiting.pop(self.chance.randrange(len(self.waiting)))

    def descend(self, path: bytes) -> int:
        """Add the entries of a directory to the paths to visit; returns the file type."""
        kind = stat.S_IFMT(os.lstat(path).st_mode)
        if kind == stat.S_IFDIR:
            self.waiting += [path + b"/" + name for name in os.listdir(path)]
        return kind


def whole(work: _Work) -> None:
    """Read whole files, by read(2) and mmap(2)."""
    look(work.next(), work.waiting, work.chance)


def figures(work: _Work) -> None:
    """Read attributes of all kinds."""
    path = work.next()
    kind = work.descend(path)
    os.listxattr(path, follow_symlinks=False)
    if kind == stat.S_IFLNK:
        os.readlink(path)
    else:
        os.access(path, os.R_OK)
        os.statvfs(path)
        os.getxattr(path, "user.mmirrorfs.path")


def pieces(work: _Work) -> None:
    """Read parts of files that are kept open for long."""
    path = work.next()
    if work.descend(path) == stat.S_IFREG:
        work.kept.append(os.open(path, os.O_RDONLY))
    if len(work.kept) > KEPT:
        os.close(work.kept.pop(work.chance.randrange(KEPT)))
    for fd in work.kept[-3:]:
        os.pread(fd, 5000, work.chance.randrange(20000))
        os.fstat(fd)


def listings(work: _Work) -> None:
    """Open directories, and read them not at all, in part, or repeatedly."""
    path = work.next()
    if work.descend(path) == stat.S_IFDIR:
        with os.scandir(path) as entries:
            next(entries, None)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for _ in range(work.chance.randrange(3)):
                os.listdir(fd)
        finally:
            os.close(fd)


def handles(work: _Work) -> None:
    """Open by file handle, as an NFS server does."""
    path = work.next()
    if work.descend(path) in (stat.S_IFREG, stat.S_IFDIR):
        view = next(root for root in work.roots if path.startswith(root))
        with opened(Path(os.fsdecode(view)), handle_of(Path(os.fsdecode(path)))) as fd:
            os.fstat(fd)


READERS: dict[str, Callable[[_Work], None]] = {
    work.__name__: work for work in (whole, figures, pieces, listings, handles)
}
"""The kinds of readers by name; ``handles`` is for root only."""


def _reading(kind: str, seed: int, roots: list[bytes]) -> Callable[[], None]:
    work = _Work(roots, random.Random(seed))
    return lambda: READERS[kind](work)


def _changing(seed: int, roots: list[bytes]) -> Callable[[], None]:
    mutator = Mutator(roots, seed)

    def change() -> None:
        mutator.step()
        time.sleep(0.001)

    return change


def _main(kind: str, seed: str, *words: str) -> None:
    ended: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        ended.append(number)

    signal.signal(signal.SIGTERM, end)
    roots = [os.fsencode(word) for word in words]
    step = _changing(int(seed), roots) if kind == "change" else _reading(kind, int(seed), roots)
    done, errors = 0, list[Noted]()
    while not ended:
        try:
            step()
            done += 1
        except OSError as error:
            if error.errno not in FINE and len(errors) < MOST:
                errors.append(Noted(time.monotonic(), error.errno or 0, f"{kind} {error.filename!r}"))
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps([done, errors]))


if __name__ == "__main__":
    _main(*sys.argv[1:])
