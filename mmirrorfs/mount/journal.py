"""systemd's journal without a library: by its native protocol (JOURNAL_NATIVE_PROTOCOL), or as lines on stderr.

Each message carries structured fields: ``MMIRRORFS_VIEW``, and those set by ``text.fields``, such as
``MMIRRORFS_EVENT`` and ``MMIRRORFS_SOURCE``. Any thread; never blocks, a message that cannot be sent is dropped.
"""

import contextlib
import logging
import os
import socket
import struct

SOCKET = "/run/systemd/journal/socket"
PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.DEBUG, 7))
"""syslog(3) priorities by lowest logging level."""
LONGEST = 48 << 10
"""Bytes of a field; longer ones are cut. A datagram may have some 200,000 bytes."""
_LENGTH = struct.Struct("<Q")


def is_stderr() -> bool:
    """Whether stderr goes to the journal. JOURNAL_STREAM (systemd.exec(5)) is inherited, so its inode is compared."""
    with contextlib.suppress(OSError):
        st = os.fstat(2)
        return os.environ.get("JOURNAL_STREAM") == f"{st.st_dev}:{st.st_ino}"
    return False


def listens() -> bool:
    """Whether a journal accepts connections now."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.connect(SOCKET)
        return True
    return False


def priority(record: logging.LogRecord) -> int:
    """The syslog(3) priority of a record."""
    return next((number for level, number in PRIORITIES if record.levelno >= level), 7)


class Prefixed(logging.Formatter):
    """Prefixes each line with its priority, as systemd expects it on stderr (sd-daemon(3))."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one or more prefixed lines."""
        number = priority(record)
        return "\n".join(f"<{number}>{line}" for line in super().format(record).splitlines())


class Journal(logging.Handler):
    """Sends records with their fields. ``view`` is the printable mountpoint."""

    def __init__(self, ident: str, view: str = "") -> None:
        super().__init__()
        self._own = {"SYSLOG_IDENTIFIER": ident, **({"MMIRRORFS_VIEW": view} if view else {})}

    def emit(self, record: logging.LogRecord) -> None:
        """Send the record; drop it if the journal does not take it at once."""
        extra = {f"MMIRRORFS_{name.upper()}": str(value) for name, value in getattr(record, "fields", {}).items()}
        values = {"MESSAGE": self.format(record), "PRIORITY": str(priority(record)), **self._own, **extra}
        datagram = b"".join(_field(name.encode(), value) for name, value in values.items())
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(datagram, SOCKET)


def _field(name: bytes, value: str) -> bytes:
    encoded = value.encode("utf-8", "backslashreplace")[:LONGEST]
    if b"\n" not in encoded:
        return b"%s=%s\n" % (name, encoded)
    return b"%s\n%s%s\n" % (name, _LENGTH.pack(len(encoded)), encoded)
