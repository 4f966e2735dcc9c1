"""How long a change in a source may take to show, and a second process that observes it in a view.

1. The maximum staleness is one second (``--refresh=1``); MARGIN is added for busy machines.
2. The observer has read, listed, mapped and looked up the same paths before, so that the kernel has them cached.
3. Names, contents and attributes are compared with ``model``.

``python -m tests.support.fresh`` is the observer.
"""

import mmap
import os
import pickle
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from tests.support.model import predict, walk
from tests.support.polling import holds, poll
from tests.support.trees import Tree, grow

MAX_STALENESS = 1.0
"""Seconds: the value of ``--refresh``."""
MARGIN = 40.0
"""Additional seconds for a busy machine."""
REFRESH = f"--refresh={MAX_STALENESS:g}"


def trees(place: Path, high: Tree, low: Tree) -> tuple[Path, Path, Path]:
    """Make two sources with these trees; returns them and the mountpoint to use."""
    return grow(place / "high", high), grow(place / "low", low), place / "view"


Figures = tuple[int, int, int, int, int]
"""(mode, owner, group, size, mtime)."""


def shows(condition: Callable[[], object], what: str) -> None:
    """Wait until a change shows, for at most PROMISE + MARGIN."""
    poll(condition, what, MAX_STALENESS + MARGIN)


def stays(condition: Callable[[], object], what: str, seconds: float = 1.2 * MAX_STALENESS) -> None:
    """Assert that a condition stays true for ``seconds``."""
    assert not holds(lambda: not condition(), seconds), f"it did not stay: {what}"


def differences(view: Path, order: Sequence[Path], depth: int, skip_empty: bool = False) -> list[str]:
    """The differences between a view, read by this process, and the model of its sources as they are now."""
    expected = predict([os.fsencode(source) for source in order], depth, skip_empty)
    found = walk(os.fsencode(view))
    wrong = [f"missing: {path!r}" for path in expected.keys() - found.keys()]
    if figures(view)[:3] != figures(order[0])[:3]:
        wrong.append(f"the root has {figures(view)}, not {figures(order[0])}")
    wrong += [f"too much: {path!r}" for path in found.keys() - expected.keys()]
    for path in expected.keys() & found.keys():
        if found[path] != expected[path].shown:
            wrong.append(f"{path!r} is {str(found[path])[:60]}, not {str(expected[path].shown)[:60]}")
        here, there = figures(os.fsencode(view) + b"/" + path), figures(expected[path].winner)
        is_directory = stat.S_ISDIR(there[0])
        if here[:3] != there[:3] or (not is_directory and here != there) or (is_directory and here[4] < there[4]):
            wrong.append(f"{path!r} has {here}, not {there}")
    return wrong


def figures(path: bytes | Path) -> Figures:
    """The attributes of a path by lstat(2)."""
    st = os.lstat(path)
    return st.st_mode, st.st_uid, st.st_gid, st.st_size, st.st_mtime_ns


class Observer:
    """A second process that makes system calls on request, and keeps files, mappings and directories open."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def _ask(self, what: str, *words: object) -> Any:  # noqa: ANN401  # what the other process returns
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump((what, words), self._process.stdin)
        self._process.stdin.flush()
        answer = pickle.load(self._process.stdout)
        if isinstance(answer, OSError | AssertionError):
            raise answer
        return answer

    def stat(self, path: Path) -> os.stat_result:
        """lstat(2)."""
        return cast(os.stat_result, self._ask("stat", os.fspath(path)))

    def exists(self, path: Path) -> bool:
        """Whether lstat(2) succeeds. Raises any OSError but FileNotFoundError."""
        try:
            return bool(self.stat(path))
        except FileNotFoundError:
            return False

    def names(self, path: Path) -> list[str]:
        """The names in a directory, in the order of readdir."""
        return cast(list[str], self._ask("names", os.fspath(path)))

    def lists(self, path: Path, names: list[str]) -> bool:
        """Whether a directory has these names; while it is replaced it may be missing for a moment."""
        try:
            return self.names(path) == names
        except FileNotFoundError:
            return False

    def read(self, path: Path) -> bytes:
        """Open, read to the end, close."""
        return cast(bytes, self._ask("read", os.fspath(path)))

    def holds(self, path: Path, data: bytes) -> bool:
        """Whether a file has this content; while its winner changes it may be missing for a moment."""
        try:
            return self.read(path) == data
        except FileNotFoundError:
            return False

    def open(self, path: Path) -> int:
        """Open a file and keep it open; returns the observer's descriptor."""
        return cast(int, self._ask("open", os.fspath(path)))

    def pread(self, fd: int, size: int = 1 << 20, offset: int = 0) -> bytes:
        """Read from an open file."""
        return cast(bytes, self._ask("pread", fd, size, offset))

    def fstat(self, fd: int) -> os.stat_result:
        """fstat(2)."""
        return cast(os.stat_result, self._ask("fstat", fd))

    def map(self, path: Path) -> int:
        """Map a whole file and close its descriptor; returns a key for ``mapped``."""
        return cast(int, self._ask("map", os.fspath(path)))

    def mapped(self, key: int) -> bytes:
        """The content of the mapping now."""
        return cast(bytes, self._ask("mapped", key))

    def close(self, number: int) -> None:
        """Close a descriptor, a mapping or a directory."""
        self._ask("close", number)

    def opendir(self, path: Path) -> int:
        """Open a directory, without reading it yet."""
        return cast(int, self._ask("opendir", os.fspath(path)))

    def readdir(self, key: int) -> list[str]:
        """Read the rest of an open directory."""
        return cast(list[str], self._ask("readdir", key))

    def differences(self, view: Path, order: Sequence[Path], depth: int, skip_empty: bool = False) -> list[str]:
        """``differences`` as the observer sees the view; an error as a difference."""
        try:
            return cast(list[str], self._ask("differences", view, list(order), depth, skip_empty))
        except (OSError, AssertionError) as error:
            return [repr(error)]


def becomes(eyes: Observer, view: Path, order: Sequence[Path], depth: int, what: str, skip_empty: bool = False) -> None:
    """Wait until the view agrees with the model of its sources, for at most PROMISE + MARGIN."""
    if not holds(lambda: not eyes.differences(view, order, depth, skip_empty), MAX_STALENESS + MARGIN):
        left = eyes.differences(view, order, depth, skip_empty)
        raise AssertionError(f"{what}: after {MAX_STALENESS + MARGIN} s still {left}")


@contextmanager
def observer(*prefix: str) -> Iterator[Observer]:
    """Run an observer while the block runs. ``prefix`` goes before its command."""
    top = Path(__file__).parents[2]
    words, environment = [*prefix, sys.executable, "-m", "tests.support.fresh"], {**os.environ, "PYTHONPATH": str(top)}
    process = subprocess.Popen(words, cwd=top, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield Observer(process)
    finally:
        process.kill()
        process.communicate()


class _Eyes:
    """The requests, in the observer's process: one method each."""

    def __init__(self) -> None:
        self._kept: dict[int, Any] = {}
        self._last = 0

    def stat(self, path: str) -> os.stat_result:
        return os.lstat(path)

    def names(self, path: str) -> list[str]:
        return os.listdir(path)

    def read(self, path: str) -> bytes:
        return Path(path).read_bytes()

    def open(self, path: str) -> int:
        return os.open(path, os.O_RDONLY)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        return os.pread(fd, size, offset)

    def fstat(self, fd: int) -> os.stat_result:
        return os.fstat(fd)

    def map(self, path: str) -> int:
        fd = os.open(path, os.O_RDONLY)
        try:
            return self._keep(mmap.mmap(fd, 0, mmap.MAP_SHARED, mmap.PROT_READ))
        finally:
            os.close(fd)

    def mapped(self, key: int) -> bytes:
        return bytes(self._kept[key])

    def opendir(self, path: str) -> int:
        return self._keep(os.scandir(path))

    def readdir(self, key: int) -> list[str]:
        return [entry.name for entry in self._kept[key]]

    def close(self, number: int) -> None:
        if number in self._kept:
            self._kept.pop(number).close()
        else:
            os.close(number)

    def differences(self, view: Path, order: list[Path], depth: int, skip_empty: bool) -> list[str]:
        return differences(view, order, depth, skip_empty)

    def _keep(self, thing: object) -> int:
        self._last -= 1
        self._kept[self._last] = thing
        return self._last


def _serve() -> None:
    eyes = _Eyes()
    while True:
        try:
            what, words = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = getattr(eyes, what)(*words)
        except (OSError, AssertionError) as error:
            answer = error
        pickle.dump(answer, sys.stdout.buffer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve()
