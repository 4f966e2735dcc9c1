"""Logging: to stderr or the journal in the foreground; to a file, the journal or syslog in the background.

Rule 1: logging never blocks a mount. A message that cannot be written at once is dropped.
Rule 2: each kind of message is rate-limited (``Bounds``); the number of dropped ones is logged.
Rule 3: the last warnings stay in memory for ``--status`` (``warnings``).
Rule 4: a log file is reopened when its path names another file or none, as after logrotate.

File names in messages must go through ``text.printable``. Call ``to_stderr`` once per process before threads start, and
``settle`` when the mount answers; log from any thread.
"""

import contextlib
import errno
import logging
import logging.handlers
import os
import queue
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import IO, Any

from mmirrorfs.mount import runtime
from mmirrorfs.mount.journal import Journal, Prefixed, is_stderr, listens
from mmirrorfs.source.capabilities import DAC_OVERRIDE, raised
from mmirrorfs.text import STACKS, printable

log = logging.getLogger(__name__)

IDENT = "mmirrorfs"
SYSLOG = "/dev/log"
_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)
NOISE = 3
"""The verbosity (-vvv) from which on pyfuse3's own messages are logged."""

KEPT = 50
"""Warnings kept in memory."""
WAITING = 1000
"""Messages queued for the log file; more are dropped."""
LARGEST = 1 << 20
"""Bytes after which a log in the runtime directory (a tmpfs) is rotated; one old file is kept."""
WINDOW = 60.0
"""Seconds over which messages of one kind are counted."""
MOST = ((logging.WARNING, 20), (logging.INFO, 60), (0, 2000))
"""Messages of one kind allowed per WINDOW, by lowest level."""
ENDING = 1.0
"""Seconds at exit for writing queued messages."""


class Bounds(logging.Filter):
    """Rate limit: messages with one format string are of one kind. Stack dumps are exempt."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._kinds: dict[tuple[str, int, str], list[float]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log it. The last record before a gap announces it, the first one after it has the count."""
        if getattr(record, "event", None) == STACKS:
            return True
        key, now = (record.name, record.levelno, str(record.msg)), self._clock()
        until, count, dropped = self._kinds.get(key) or (now + WINDOW, 0, 0)
        if now >= until:
            until, count = now + WINDOW, 0
        most = next(most for level, most in MOST if record.levelno >= level)
        if count >= most:
            self._kinds[key] = [until, count, dropped + 1]
            return False
        if dropped:
            _append(record, f" ({dropped:.0f} more like it were left out before)")
        elif count == most - 1:
            _append(record, f" (more like it are left out for {until - now:.0f} s)")
        self._kinds[key] = [until, count + 1, 0]
        if len(self._kinds) > 1000:
            self._kinds = {key: kind for key, kind in self._kinds.items() if kind[0] > now or kind[2]}
        return True


def _append(record: logging.LogRecord, text: str) -> None:
    record.msg, record.args = record.getMessage() + text, ()


class Recent(logging.Filter):
    """Keeps the last warnings; times are in seconds since the epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: deque[dict[str, Any]] = deque(maxlen=KEPT)

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep it if it is a warning; always True."""
        if record.levelno >= logging.WARNING and getattr(record, "event", None) != STACKS:
            error = f": {record.exc_info[1]!r}" if record.exc_info and record.exc_info[1] is not None else ""
            level = record.levelname.lower()
            self.kept.append({"when": record.created, "level": level, "text": record.getMessage() + error})
        return True


_recent = Recent()
_listener: logging.handlers.QueueListener | None = None
_out: "bytes | _Background | None" = None
"""The path of a log file, the handler of a background process, or None for stderr."""


def warnings() -> list[dict[str, Any]]:
    """The last warnings of this process, oldest first, each with ``when``, ``level`` and ``text``."""
    return list(_recent.kept)


def place() -> dict[str, str]:
    """Where messages go now: ``to`` is stderr, journal, syslog, file or nowhere; with file, ``path`` is set."""
    if isinstance(_out, bytes):
        return {"to": "file", "path": printable(_out)}
    return _out.place() if _out is not None else {"to": "journal" if _is_native() else "stderr"}


def background_place(mountpoint: bytes) -> dict[str, str]:
    """Where a view mounted there in the background would log."""
    return _Background(mountpoint).place()


def print_error(message: str) -> None:
    """Print one line on stderr, in one write(2) even with PYTHONUNBUFFERED: two processes may share stderr."""
    sys.stderr.write(f"{IDENT}: {message}\n")


def to_stderr(verbose: int) -> None:
    """Log to stderr, or to the journal if stderr is connected to it: WARNING, with -v INFO, with -vv DEBUG."""
    handler: logging.Handler = logging.StreamHandler()
    if is_stderr():
        handler.setFormatter(Prefixed("%(message)s"))
        if _is_native():
            handler = Journal(IDENT)
    else:
        handler.setFormatter(logging.Formatter(f"{IDENT}: %(message)s"))
    _install(handler)
    logging.getLogger().setLevel(_LEVELS[min(verbose, len(_LEVELS) - 1)])
    logging.getLogger("pyfuse3").setLevel(logging.NOTSET if verbose >= NOISE else logging.WARNING)
    logging.raiseExceptions = False  # a full disk or a closed terminal must not end a mount


def _is_native() -> bool:
    """Whether stderr is the journal's socket, rather than a file with the same JOURNAL_STREAM."""
    return is_stderr() and stat.S_ISSOCK(os.fstat(2).st_mode) and listens()


def settle(mountpoint: bytes, file: bytes | None, background: bool) -> None:
    """Switch over when the mount answers: to ``file`` if given, else in the background to what is available."""
    global _out, _listener
    if file is not None:
        records: queue.Queue[logging.LogRecord] = queue.Queue(WAITING)
        try:
            out = _File(os.fsdecode(file))
        except OSError as error:
            log.error("--log %s cannot be written: %s", printable(file), error.strerror)
            return settle(mountpoint, None, background)
        _listener = logging.handlers.QueueListener(records, _formatted(out, mountpoint))
        _listener.start()
        _install(logging.handlers.QueueHandler(records))
        _out = file
    elif background:
        _out = _Background(mountpoint)
        _install(_out)
    elif _is_native():
        _install(Journal(IDENT, printable(mountpoint)))


def finish() -> None:
    """Write what is queued, for up to ENDING seconds: the log file may be on a disk that hangs."""
    global _listener
    if _listener is not None:
        end, _listener = threading.Thread(target=_stop, args=[_listener], daemon=True), None
        end.start()
        end.join(ENDING)


def _stop(listener: logging.handlers.QueueListener) -> None:
    with contextlib.suppress(queue.Full):  # the file hangs
        listener.stop()
    for handler in listener.handlers:
        with contextlib.suppress(OSError):  # flushing fails on a full disk; Python would print a traceback
            handler.close()


def open_log(path: str, flags: int = os.O_WRONLY | os.O_APPEND | os.O_CREAT) -> int:
    """Open a log file, mode 0640. Raises OSError if that fails or it is not a regular file."""
    fd = os.open(path, flags | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.ENODEV, "it is no regular file")
    return fd


class _File(logging.handlers.WatchedFileHandler):
    """The file of ``--log`` (rule 4)."""

    def __init__(self, path: str) -> None:
        """Raises OSError where it cannot be written."""
        super().__init__(path, encoding="utf-8", errors="backslashreplace")

    def emit(self, record: logging.LogRecord) -> None:
        """Write it, or drop it where the file cannot be opened again: an exception would end the listener's thread."""
        with contextlib.suppress(OSError):
            super().emit(record)

    def _open(self) -> IO[str]:  # type: ignore[override]
        with raised(DAC_OVERRIDE):
            return open(self.baseFilename, "a", encoding="utf-8", errors=self.errors, opener=open_log)


class _RuntimeFile(logging.handlers.RotatingFileHandler):
    """A rotated log in the runtime directory."""

    def __init__(self, path: str) -> None:
        super().__init__(path, maxBytes=LARGEST, backupCount=1, encoding="utf-8", delay=True, errors="backslashreplace")

    def _open(self) -> IO[str]:  # type: ignore[override]
        runtime.ensure_directory(os.fsencode(os.path.dirname(self.baseFilename)))
        return open(self.baseFilename, "a", encoding="utf-8", errors=self.errors, opener=open_log)


class _Syslog(logging.handlers.SysLogHandler):
    """Non-blocking: messages to a syslog that does not read are dropped (rule 1)."""

    socket: Any

    def __init__(self) -> None:
        super().__init__(SYSLOG, self.LOG_DAEMON)
        self.setFormatter(logging.Formatter(f"{IDENT}[{os.getpid()}]: %(message)s"))

    def _connect_unixsocket(self, address: str) -> None:
        super()._connect_unixsocket(address)  # type: ignore[misc]  # the only place that creates the socket
        self.socket.setblocking(False)


class _Background(logging.Handler):
    """Logs to the first available of journal, syslog and a file in the runtime directory, checked per message."""

    def __init__(self, mountpoint: bytes) -> None:
        super().__init__()
        self._journal = Journal(IDENT, printable(mountpoint))
        self._syslog: _Syslog | None = None
        path = runtime.file_of(mountpoint, os.geteuid(), b".log")
        self._file = _formatted(_RuntimeFile(os.fsdecode(path)), mountpoint) if path is not None else None

    def emit(self, record: logging.LogRecord) -> None:
        """Pass it to the first available handler."""
        out = self._out()
        if out is not None:
            out.emit(record)

    def place(self) -> dict[str, str]:
        """See the function ``place``."""
        out = self._out()
        if isinstance(out, _RuntimeFile):
            return {"to": "file", "path": printable(out.baseFilename)}
        return {"to": "nowhere" if out is None else "journal" if out is self._journal else "syslog"}

    def _out(self) -> logging.Handler | None:
        if listens():
            return self._journal
        if os.path.exists(SYSLOG):
            with contextlib.suppress(OSError):
                self._syslog = self._syslog or _Syslog()
                return self._syslog
        return self._file


def _formatted(handler: logging.Handler, mountpoint: bytes) -> logging.Handler:
    """Set the format of a log file, which several views may share."""
    where = printable(mountpoint).replace("%", "%%")
    handler.setFormatter(logging.Formatter(f"%(asctime)s {where} %(levelname)s: %(message)s", "%Y-%m-%d %H:%M:%S"))
    return handler


def _is_relevant(record: logging.LogRecord) -> bool:
    """False for a reply that failed with ENOENT: the request was interrupted, or the connection aborted."""
    return "fuse_reply_* failed with No such file or directory" not in record.getMessage()


_bounds = Bounds()


def _install(handler: logging.Handler) -> None:
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    handler.addFilter(_bounds)
    handler.addFilter(_recent)
    root.addHandler(handler)
    logging.getLogger("pyfuse3").addFilter(_is_relevant)
