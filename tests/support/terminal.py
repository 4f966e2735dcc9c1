"""What the command prints on a terminal of a given size."""

import fcntl
import os
import pty
import struct
import termios
from pathlib import Path

from tests.support import forked
from tests.support.waiting import Asked

_CLEARED = ("NO_COLOR", "PAGER", "LINES", "COLUMNS")


def on_a_terminal(place: Path, *words: str, rows: int = 100, environment: dict[str, str] | None = None) -> str:
    """What the command, run in ``place``, prints on a terminal of ``rows`` lines and 120 columns, without stderr."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 120, 0, 0))
    inherited = {name: value for name, value in os.environ.items() if name not in _CLEARED}
    whole = {**inherited, "TERM": "xterm", **(environment or {})}
    try:
        printed = Asked(lambda: _read_to_the_end(ours))
        try:
            with open(os.devnull, "wb") as stderr:
                code = forked.run(words, place, whole, (theirs, theirs, stderr.fileno()))
        finally:
            os.close(theirs)
        text = printed.answer(30)
    finally:
        os.close(ours)
    assert code == 0
    return text.decode().replace("\r\n", "\n")


def _read_to_the_end(terminal: int) -> bytes:
    """All that is written to the other end until that is closed, which is an EIO here."""
    text = b""
    try:
        while data := os.read(terminal, 4096):
            text += data
    except OSError:
        pass
    return text
