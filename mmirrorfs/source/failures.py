"""The paths of one source that could not be read, with errno and time, for the log and for ``--explain``.

Event loop's thread only; no I/O.
"""

import logging
import os
import time
from errno import EACCES, EIO, EPERM
from typing import NamedTuple

from mmirrorfs.text import fields, printable

log = logging.getLogger(__name__)

KEPT = 1000
"""Paths that are kept, the latest ones."""


class Failure(NamedTuple):
    """An errno, and its first occurrence in seconds since the epoch."""

    errno: int
    since: float


class Failures:
    """The paths below ``root`` whose last read failed."""

    def __init__(self, root: bytes) -> None:
        self._root = root
        self._found: dict[bytes, Failure] = {}

    def note(self, path: bytes, error: OSError) -> None:
        """Record that ``path`` failed; log it unless it failed with the same errno before."""
        code = error.errno or EIO
        last = self._found.get(path)
        if last is not None and last.errno == code:
            return
        self._found[path] = Failure(code, time.time())
        if len(self._found) > KEPT:
            del self._found[next(iter(self._found))]
        level = logging.INFO if code in (EACCES, EPERM) else logging.WARNING  # permissions may be meant so
        shown, why = printable(self._root + b"/" + path), os.strerror(code)
        log.log(level, "%s cannot be read: %s", shown, why, extra=fields("unreadable", path=shown, why=why))

    def clear(self, path: bytes) -> None:
        """Record that ``path`` could be read."""
        self._found.pop(path, None)

    def get(self, path: bytes) -> Failure | None:
        """The failure of ``path``, if its last read failed."""
        return self._found.get(path)
