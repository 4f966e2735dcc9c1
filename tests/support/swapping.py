"""A process that exchanges paths in a source continuously.

Each exchange is atomic (RENAME_EXCHANGE of renameat2(2)), so that the paths always exist.
"""

import contextlib
import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2

Pair = tuple[Path, Path]


def exchange(pair: tuple[str, str]) -> None:
    """Exchange two paths. Raises OSError."""
    one, other = map(os.fsencode, pair)
    if _libc.renameat2(_AT_FDCWD, one, _AT_FDCWD, other, _RENAME_EXCHANGE) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), one)


_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def swapping(pairs: Sequence[Pair]) -> Iterator[None]:
    """Exchange the paths of each pair in turn, continuously while the block runs."""
    words = [str(path) for pair in pairs for path in pair]
    top = Path(__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-m", "tests.support.swapping", *words], cwd=top)
    try:
        yield
        assert process.poll() is None, "it swapped until the end"
    finally:
        process.kill()
        process.wait()


def _main(words: Sequence[str]) -> None:
    pairs = list(zip(words[::2], words[1::2], strict=True))
    while True:
        for pair in pairs:
            exchange(pair)


if __name__ == "__main__":
    _main(sys.argv[1:])
