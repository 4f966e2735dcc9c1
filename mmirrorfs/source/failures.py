"""What of one source could not be read, by which error, and since when.

The daemon's memory of it, for those who ask why: whoever met the error has had it. Event loop's thread only; no I/O.
"""

import logging
import os
import time
from errno import EACCES, EIO, EPERM
from typing import NamedTuple

from mmirrorfs.text import fields, printable

log = logging.getLogger(__name__)

KEPT = 1000
"""Paths that are kept; the one that failed first goes first."""


class Failure(NamedTuple):
    """An errno, and when it was first met, in seconds since the epoch."""

    errno: int
    since: float


class Failures:
    """The paths of the source at ``root`` that could not be read when they were asked for last."""

    def __init__(self, root: bytes) -> None:
        self._root = root
        self._found: dict[bytes, Failure] = {}

    def note(self, path: bytes, error: OSError) -> None:
        """Asking for ``path`` gave that error."""
        code = error.errno or EIO
        last = self._found.get(path)
        if last is not None and last.errno == code:
            return
        self._found[path] = Failure(code, time.time())
        if len(self._found) > KEPT:
            del self._found[next(iter(self._found))]
        level = logging.INFO if code in (EACCES, EPERM) else logging.WARNING  # whoever asks may be one who may not
        shown, why = printable(self._root + b"/" + path), os.strerror(code)
        log.log(level, "%s cannot be read: %s", shown, why, extra=fields("unreadable", path=shown, why=why))

    def clear(self, path: bytes) -> None:
        """It could be read."""
        self._found.pop(path, None)

    def get(self, path: bytes) -> Failure | None:
        """Why it could not be read, and since when."""
        return self._found.get(path)
