"""Processes that change sources or look at views in one way each, until they are told to end.

Rule 1: each counts what it does and notes every error that a plain directory, changed by others, would not have given:
when it came (time.monotonic, which all processes share), its errno and its path. Whether that is a fault, who started
them knows.
Rule 2: SIGTERM ends them, and they tell both as one line of JSON.
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
"""Files that a reader of pieces holds open at a time."""
MOST = 1000
"""Errors that are noted; more are no news."""


class Noted(NamedTuple):
    """An error that a worker met."""

    when: float
    code: int
    path: str


@dataclass
class Told:
    """What a worker tells in the end."""

    done: int
    errors: list[Noted]


class Worker:
    """One of them, seen from who started it."""

    def __init__(self, kind: str, seed: int, roots: Sequence[bytes | Path]) -> None:
        program = [sys.executable, "-m", "tests.support.workers", kind, str(seed), *map(os.fsdecode, roots)]
        top = Path(__file__).parents[2]
        self.kind = kind
        self.process = subprocess.Popen(program, cwd=top, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)

    def end(self) -> Told:
        """Tell it to end; returns what it tells. Raises AssertionError where it ended by itself."""
        assert self.process.poll() is None, f"{self.kind} ended with {self.process.returncode}"
        self.process.terminate()
        said, _ = self.process.communicate(timeout=30)
        done, errors = json.loads(said)
        return Told(done, [Noted(*error) for error in errors])

    def kill(self) -> None:
        """End it however it can be ended; harmless when it has ended."""
        self.process.kill()
        if holds(lambda: self.process.poll() is not None, 10):
            self.process.communicate()


# The process


@dataclass
class _Work:
    """What a worker has, and has done."""

    roots: list[bytes]
    chance: random.Random
    waiting: list[bytes] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)

    def next(self) -> bytes:
        """The next path, everything in the views in turn; directories that are done are asked for their names."""
        if not self.waiting:
            self.waiting = list(self.roots)
        return self.waiting.pop(self.chance.randrange(len(self.waiting)))

    def descend(self, path: bytes) -> int:
        """Put the names of a directory on the list; returns the file type."""
        kind = stat.S_IFMT(os.lstat(path).st_mode)
        if kind == stat.S_IFDIR:
            self.waiting += [path + b"/" + name for name in os.listdir(path)]
        return kind


def whole(work: _Work) -> None:
    """Read all there is, mapped and not."""
    look(work.next(), work.waiting, work.chance)


def figures(work: _Work) -> None:
    """Ask for attributes of every kind."""
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
    """Read here and there, in files that are held open for long."""
    path = work.next()
    if work.descend(path) == stat.S_IFREG:
        work.kept.append(os.open(path, os.O_RDONLY))
    if len(work.kept) > KEPT:
        os.close(work.kept.pop(work.chance.randrange(KEPT)))
    for fd in work.kept[-3:]:
        os.pread(fd, 5000, work.chance.randrange(20000))
        os.fstat(fd)


def listings(work: _Work) -> None:
    """Open directories: read them not at all, in part, or from the beginning again."""
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
    """Open by handle, as an NFS server does; the view has to be a whole mount for that."""
    path = work.next()
    if work.descend(path) in (stat.S_IFREG, stat.S_IFDIR):
        view = next(root for root in work.roots if path.startswith(root))
        with opened(Path(os.fsdecode(view)), handle_of(Path(os.fsdecode(path)))) as fd:
            os.fstat(fd)


READERS: dict[str, Callable[[_Work], None]] = {
    work.__name__: work for work in (whole, figures, pieces, listings, handles)
}
"""Every kind of reader, by name; handles are for root alone."""


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
