"""The command on a terminal of a size, and what it prints there."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
from pathlib import Path

from tests.support.mounts import COMMAND


def on_a_terminal(place: Path, *words: str, rows: int = 100, environment: dict[str, str] | None = None) -> str:
    """What the command, called in ``place``, prints on a terminal of that height; what goes to stderr is not in it."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 120, 0, 0))
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "PAGER", "LINES", "COLUMNS")}
    process = subprocess.Popen(
        [*COMMAND, *words],
        cwd=place,
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env={**plain, "TERM": "xterm", **(environment or {})},
    )
    os.close(theirs)
    text = b""
    try:
        while data := os.read(ours, 4096):
            text += data
    except OSError:  # the other end was closed
        pass
    finally:
        os.close(ours)
    assert process.wait(30) == 0
    return text.decode().replace("\r\n", "\n")
