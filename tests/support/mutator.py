"""Seeded random changes to trees: what people, taggers and rippers do to a library, and worse.

As a program it changes trees, or reads everything in views, for some seconds. A reader exits with 1, and prints the
error, for one that a plain directory under concurrent changes would not give.
"""

import errno
import mmap
import os
import random
import stat
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

NAMES = ((b"A", b"B", b"C"), (b"x", b"y", b"z"), (b"1", b"2", b"sub"), (b"deep", b"er"))
"""The names by level: few, so that changes collide."""
MODES = (0o755, 0o700, 0o555, 0o644) if os.geteuid() == 0 else (0o755, 0o700, 0o750, 0o711)
"""Modes that do not deny further changes."""
FINE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ESTALE, errno.ELOOP, errno.EINVAL, errno.ENXIO))
"""Errors that also occur in a plain directory under concurrent changes: a name is removed or has another type."""


class Mutator:
    """Changes one of several trees at each ``step``. The same seed and the same trees: the same changes."""

    def __init__(self, roots: Sequence[bytes], seed: int) -> None:
        self._roots = list(roots)
        self._random = random.Random(seed)
        self._counter = 0

    def step(self) -> str:
        """Make one change that succeeds; returns its description."""
        for _ in range(100):
            change = self._random.choice(_CHANGES)
            path, other = self._path(), self._path()
            with suppress(OSError):
                change(self, path, other)
                return f"{change.__name__} {path!r} {other!r}"
        return "nothing"

    def _path(self) -> bytes:
        level = self._random.choices((1, 2, 3, 4), (2, 4, 6, 2))[0]
        return b"/".join([self._random.choice(self._roots), *[self._random.choice(names) for names in NAMES[:level]]])

    def content(self) -> bytes:
        """Content that was never written before."""
        self._counter += 1
        return b"%d %d " % (self._counter, self._random.getrandbits(32)) * self._random.choice((1, 10, 1000))

    def write(self, path: bytes, other: bytes) -> None:
        """Write a file in place, or create it and its parent directories."""
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(self.content())

    def replace(self, path: bytes, other: bytes) -> None:
        """Replace a file by rename."""
        self.write(path + b".new", other)
        os.rename(path + b".new", path)

    def edit(self, path: bytes, other: bytes) -> None:
        """Overwrite a file with as many bytes, and restore its mtime half of the time."""
        before = os.lstat(path)
        if not stat.S_ISREG(before.st_mode):
            raise OSError(errno.EINVAL, "no file")
        with open(path, "r+b") as file:
            file.write((self.content() * 1000)[: before.st_size])
        if self._random.random() < 0.5:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def resize(self, path: bytes, other: bytes) -> None:
        """Truncate a file, or append to it."""
        if self._random.random() < 0.5:
            os.truncate(path, self._random.randrange(10))
            return
        with open(os.open(path, os.O_WRONLY | os.O_APPEND), "ab") as file:
            file.write(self.content())

    def make(self, path: bytes, other: bytes) -> None:
        """Make a directory."""
        os.makedirs(path, exist_ok=True)

    def rename(self, path: bytes, other: bytes) -> None:
        """Move something, within its tree or to another."""
        os.rename(path, other)

    def remove(self, path: bytes, other: bytes) -> None:
        """Remove a file, or a tree."""
        if stat.S_ISDIR(os.lstat(path).st_mode):
            for name in os.listdir(path):
                self.remove(path + b"/" + name, other)
            os.rmdir(path)
        else:
            os.unlink(path)

    def link(self, path: bytes, other: bytes) -> None:
        """Make a symbolic link to a name in the same directory."""
        os.symlink(os.path.basename(other), path)

    def mode(self, path: bytes, other: bytes) -> None:
        """Change a mode."""
        if not os.path.islink(path):
            os.chmod(path, self._random.choice(MODES))

    def date(self, path: bytes, other: bytes) -> None:
        """Set a file's or directory's times to the past or the future."""
        moment = self._random.choice((1, 10**18, 1 << 61))
        os.utime(path, ns=(moment, moment), follow_symlinks=False)


_CHANGES: tuple[Callable[[Mutator, bytes, bytes], None], ...] = (
    Mutator.write, Mutator.write, Mutator.write, Mutator.replace, Mutator.replace, Mutator.edit, Mutator.resize,
    Mutator.make, Mutator.rename, Mutator.rename, Mutator.remove, Mutator.remove, Mutator.link, Mutator.mode,
    Mutator.date,
)  # fmt: skip


def _change(until: float, seed: int, roots: list[bytes]) -> int:
    mutator = Mutator(roots, seed)
    while time.monotonic() < until:
        mutator.step()
        time.sleep(0.0005)
    return 0


def _read(until: float, seed: int, views: list[bytes]) -> int:
    """Read everything, repeatedly, by all system calls."""
    chance, rounds = random.Random(seed), 0
    while time.monotonic() < until:
        waiting = list(views)
        while waiting and time.monotonic() < until:
            try:
                look(waiting.pop(), waiting, chance)
            except OSError as error:
                if error.errno not in FINE:
                    print(f"{error!r} {error.filename!r}", flush=True)
                    return 1
        rounds += 1
    return 0 if rounds else 1


def look(path: bytes, waiting: list[bytes], chance: random.Random) -> None:
    """Visit one path: add the entries of a directory to ``waiting``; read a file, and sometimes map it."""
    kind = stat.S_IFMT(os.lstat(path).st_mode)
    if kind == stat.S_IFDIR:
        waiting += [path + b"/" + name for name in os.listdir(path)]
    elif kind == stat.S_IFLNK:
        os.readlink(path)
    elif kind == stat.S_IFREG:
        with open(path, "rb") as file:
            file.read()
            if chance.random() < 0.3:
                # ValueError: an empty file cannot be mapped
                with suppress(ValueError), mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ):
                    file.seek(0)
                    file.read()


def _main(what: str, seconds: str, seed: str, *paths: str) -> int:
    run = {"change": _change, "read": _read}[what]
    return run(time.monotonic() + float(seconds), int(seed), [os.fsencode(path) for path in paths])


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
