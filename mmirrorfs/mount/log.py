"""Where messages go: the terminal or the journal in the foreground, syslog in the background.

Called once in each process, before threads start. Names in messages must come through ``text.printable``.
"""

import contextlib
import logging
import logging.handlers
import os
from typing import Any

IDENT = "mmirrorfs"
_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)
_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.DEBUG, 7))


class _Journal(logging.Formatter):
    """Lines with the priority that systemd reads from the start of a line (sd-daemon(3))."""

    def format(self, record: logging.LogRecord) -> str:
        priority = next((number for level, number in _PRIORITIES if record.levelno >= level), 7)
        lines = super().format(record).splitlines()
        return "\n".join(f"<{priority}>{line}" for line in lines)


def to_stderr(verbose: int) -> None:
    """Log to stderr: warnings, with -v what happens, with -vv everything."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Journal("%(message)s") if _is_journal() else logging.Formatter(f"{IDENT}: %(message)s"))
    _install(handler, verbose)


def _is_journal() -> bool:
    """Whether stderr goes to the journal: the variable names its file (systemd.exec(5)), but children inherit it."""
    with contextlib.suppress(OSError):
        st = os.fstat(2)
        return os.environ.get("JOURNAL_STREAM") == f"{st.st_dev}:{st.st_ino}"
    return False


class _Syslog(logging.handlers.SysLogHandler):
    """Never waits: a syslog that is not read loses messages, and must not stop a mount."""

    socket: Any

    def _connect_unixsocket(self, address: str) -> None:
        super()._connect_unixsocket(address)  # type: ignore[misc]  # the one place where the socket is made
        self.socket.setblocking(False)


def to_syslog(verbose: int) -> None:
    """Log to syslog under the program's name; nowhere where there is no syslog."""
    try:
        handler: logging.Handler = _Syslog("/dev/log", _Syslog.LOG_DAEMON)
        handler.setFormatter(logging.Formatter(f"{IDENT}[{os.getpid()}]: %(message)s"))
    except OSError:
        handler = logging.NullHandler()
    _install(handler, verbose)


def _is_news(record: logging.LogRecord) -> bool:
    """Not that an answer was not taken: who asked was killed, or the connection was cut."""
    return "fuse_reply_* failed with No such file or directory" not in record.getMessage()


def _install(handler: logging.Handler, verbose: int) -> None:
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    logging.getLogger("pyfuse3").addFilter(_is_news)
    root.setLevel(_LEVELS[min(verbose, len(_LEVELS) - 1)])
    logging.raiseExceptions = False  # a full disk or a closed terminal must not end a mount
