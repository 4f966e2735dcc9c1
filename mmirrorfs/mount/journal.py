"""systemd's journal, without a library: by its own protocol (JOURNAL_NATIVE_PROTOCOL), or as lines on stderr.

What a message is about goes with it as fields: ``MMIRRORFS_VIEW``, and those that ``text.fields`` gave the record, such
as ``MMIRRORFS_EVENT`` and ``MMIRRORFS_SOURCE``. Nothing here waits.
"""

import contextlib
import logging
import os
import socket
import struct

SOCKET = "/run/systemd/journal/socket"
PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.DEBUG, 7))
"""Priorities of syslog(3), by the levels from which on they hold."""
LONGEST = 48 << 10
"""Bytes of a field; a datagram may have some 200,000."""
_LENGTH = struct.Struct("<Q")


def is_stderr() -> bool:
    """Whether stderr goes to the journal: the variable names its file (systemd.exec(5)), but children inherit it."""
    with contextlib.suppress(OSError):
        st = os.fstat(2)
        return os.environ.get("JOURNAL_STREAM") == f"{st.st_dev}:{st.st_ino}"
    return False


def listens() -> bool:
    """Whether there is a journal at this moment."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
        asking.connect(SOCKET)
        return True
    return False


def priority(record: logging.LogRecord) -> int:
    """The priority of a message."""
    return next((number for level, number in PRIORITIES if record.levelno >= level), 7)


class Prefixed(logging.Formatter):
    """Lines with the priority that systemd reads from the start of a line (sd-daemon(3))."""

    def format(self, record: logging.LogRecord) -> str:
        """Each line by itself."""
        number = priority(record)
        return "\n".join(f"<{number}>{line}" for line in super().format(record).splitlines())


class Journal(logging.Handler):
    """Messages with their fields. ``view`` is the mountpoint, as it is printed."""

    def __init__(self, ident: str, view: str = "") -> None:
        super().__init__()
        self._own = {"SYSLOG_IDENTIFIER": ident, **({"MMIRRORFS_VIEW": view} if view else {})}

    def emit(self, record: logging.LogRecord) -> None:
        """Send it, or lose it."""
        about = {f"MMIRRORFS_{name.upper()}": str(value) for name, value in getattr(record, "fields", {}).items()}
        said = {"MESSAGE": self.format(record), "PRIORITY": str(priority(record)), **self._own, **about}
        whole = b"".join(_field(name.encode(), value) for name, value in said.items())
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(whole, SOCKET)


def _field(name: bytes, value: str) -> bytes:
    said = value.encode("utf-8", "backslashreplace")[:LONGEST]
    if b"\n" not in said:
        return b"%s=%s\n" % (name, said)
    return b"%s\n%s%s\n" % (name, _LENGTH.pack(len(said)), said)
