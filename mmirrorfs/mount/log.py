"""Where messages go: stderr or the journal in the foreground; a file, the journal or syslog in the background.

Rule 1: a message is never waited for. One that is not taken is lost, and no mount stops for it.
Rule 2: rates are bounded, for each kind of message, in one place (``Bounds``): what is left out is counted and said.
Rule 3: the last warnings are kept in memory, for those who ask a view how it is (``warnings``).
Rule 4: a file is opened again when another one, or none, has its name: it may be renamed at any time.

Names in messages must come through ``text.printable``. ``to_stderr`` is called once in each process, before threads
start, and ``settle`` when the mount answers.
"""

import contextlib
import errno
import logging
import logging.handlers
import os
import queue
import stat
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
"""The verbosity from which on pyfuse3 says what it does, too."""

KEPT = 50
"""Warnings that are kept."""
WAITING = 1000
"""Messages that wait for a file; more are lost."""
LARGEST = 1 << 20
"""Bytes from which on a file in the runtime directory, which is in memory, is put aside: one is kept."""
WINDOW = 60.0
"""Seconds for which a message is counted with those like it."""
MOST = ((logging.WARNING, 20), (logging.INFO, 60), (0, 2000))
"""How many of a kind there may be in that time, by level."""
ENDING = 1.0
"""Seconds that what waits for a file has to be written at the end."""


class Bounds(logging.Filter):
    """Leaves out what comes too often: messages made from one text are of one kind. What was asked for is not."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._kinds: dict[tuple[str, int, str], list[float]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is said; the last before some are left out says so, and the next one after these."""
        if getattr(record, "event", None) == STACKS:
            return True
        key, now = (record.name, record.levelno, str(record.msg)), self._clock()
        until, count, left = self._kinds.get(key) or (now + WINDOW, 0, 0)
        if now >= until:
            until, count = now + WINDOW, 0
        most = next(most for level, most in MOST if record.levelno >= level)
        if count >= most:
            self._kinds[key] = [until, count, left + 1]
            return False
        if left:
            _append(record, f" ({left:.0f} more like it were left out before)")
        elif count == most - 1:
            _append(record, f" (more like it are left out for {until - now:.0f} s)")
        self._kinds[key] = [until, count + 1, 0]
        if len(self._kinds) > 1000:
            self._kinds = {key: kind for key, kind in self._kinds.items() if kind[0] > now or kind[2]}
        return True


def _append(record: logging.LogRecord, text: str) -> None:
    record.msg, record.args = record.getMessage() + text, ()


class Recent(logging.Filter):
    """Keeps the last warnings, with their times in seconds since the epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: deque[dict[str, Any]] = deque(maxlen=KEPT)

    def filter(self, record: logging.LogRecord) -> bool:
        """Everything is said."""
        if record.levelno >= logging.WARNING and getattr(record, "event", None) != STACKS:
            error = f": {record.exc_info[1]!r}" if record.exc_info and record.exc_info[1] is not None else ""
            level = record.levelname.lower()
            self.kept.append({"when": record.created, "level": level, "text": record.getMessage() + error})
        return True


_recent = Recent()
_listener: logging.handlers.QueueListener | None = None
_out: "bytes | _Background | None" = None
"""A file, what the background has, or stderr."""


def warnings() -> list[dict[str, Any]]:
    """The last warnings of this process, the oldest first: ``when``, ``level`` and ``text``."""
    return list(_recent.kept)


def place() -> dict[str, str]:
    """Where messages go now: ``to`` is stderr, journal, syslog, file or nowhere; a file has its ``path``."""
    if isinstance(_out, bytes):
        return {"to": "file", "path": printable(_out)}
    return _out.place() if _out is not None else {"to": "journal" if _is_native() else "stderr"}


def background_place(mountpoint: bytes) -> dict[str, str]:
    """The same for a view in the background, if one was mounted there."""
    return _Background(mountpoint).place()


def to_stderr(verbose: int) -> None:
    """Log to stderr, or to the journal where that is stderr: warnings, with -v what happens, with -vv everything."""
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
    """Whether stderr is the journal itself, and not a file that only says so."""
    return is_stderr() and stat.S_ISSOCK(os.fstat(2).st_mode) and listens()


def settle(mountpoint: bytes, file: bytes | None, background: bool) -> None:
    """The mount answers: log to the file, if one was given, and in the background to what there is."""
    global _out, _listener
    if file is not None:
        waiting: queue.Queue[logging.LogRecord] = queue.Queue(WAITING)
        try:
            out = _File(os.fsdecode(file))
        except OSError as error:
            log.error("--log %s cannot be written: %s", printable(file), error.strerror)
            return settle(mountpoint, None, background)
        _listener = logging.handlers.QueueListener(waiting, _formatted(out, mountpoint))
        _listener.start()
        _install(logging.handlers.QueueHandler(waiting))
        _out = file
    elif background:
        _out = _Background(mountpoint)
        _install(_out)
    elif _is_native():
        _install(Journal(IDENT, printable(mountpoint)))


def finish() -> None:
    """What waits for a file is written, if that takes no time: the file may be on a disk that hangs."""
    global _listener
    if _listener is not None:
        end, _listener = threading.Thread(target=_stop, args=[_listener], daemon=True), None
        end.start()
        end.join(ENDING)


def _stop(listener: logging.handlers.QueueListener) -> None:
    with contextlib.suppress(queue.Full):  # nothing is written any more
        listener.stop()
    for handler in listener.handlers:
        with contextlib.suppress(OSError):  # what it still has does not fit: Python would say so for itself
            handler.close()


def open_log(path: str, flags: int = os.O_WRONLY | os.O_APPEND | os.O_CREAT) -> int:
    """A file to log to, which others may not read. Raises OSError where that cannot be had, or is no regular file."""
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

    def _open(self) -> IO[str]:  # type: ignore[override]
        with raised(DAC_OVERRIDE):
            return open(self.baseFilename, "a", encoding="utf-8", errors=self.errors, opener=open_log)


class _Kept(logging.handlers.RotatingFileHandler):
    """A file in the runtime directory, and the one before it."""

    def __init__(self, path: str) -> None:
        super().__init__(path, maxBytes=LARGEST, backupCount=1, encoding="utf-8", delay=True, errors="backslashreplace")

    def _open(self) -> IO[str]:  # type: ignore[override]
        runtime.made(os.fsencode(os.path.dirname(self.baseFilename)))
        return open(self.baseFilename, "a", encoding="utf-8", errors=self.errors, opener=open_log)


class _Syslog(logging.handlers.SysLogHandler):
    """Never waits: a syslog that is not read loses messages, and must not stop a mount."""

    socket: Any

    def __init__(self) -> None:
        super().__init__(SYSLOG, self.LOG_DAEMON)
        self.setFormatter(logging.Formatter(f"{IDENT}[{os.getpid()}]: %(message)s"))

    def _connect_unixsocket(self, address: str) -> None:
        super()._connect_unixsocket(address)  # type: ignore[misc]  # the one place where the socket is made
        self.socket.setblocking(False)


class _Background(logging.Handler):
    """The journal, syslog, or a file in the runtime directory: whatever is there at the moment, in this order."""

    def __init__(self, mountpoint: bytes) -> None:
        super().__init__()
        self._journal = Journal(IDENT, printable(mountpoint))
        self._syslog: _Syslog | None = None
        path = runtime.file_of(mountpoint, os.geteuid(), b".log")
        self._file = _formatted(_Kept(os.fsdecode(path)), mountpoint) if path is not None else None

    def emit(self, record: logging.LogRecord) -> None:
        """Hand it on."""
        out = self._out()
        if out is not None:
            out.emit(record)

    def place(self) -> dict[str, str]:
        """See ``place``."""
        out = self._out()
        if isinstance(out, _Kept):
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
    """For a file, which may be that of several views."""
    where = printable(mountpoint).replace("%", "%%")
    handler.setFormatter(logging.Formatter(f"%(asctime)s {where} %(levelname)s: %(message)s", "%Y-%m-%d %H:%M:%S"))
    return handler


def _is_news(record: logging.LogRecord) -> bool:
    """Not that an answer was not taken: who asked was killed, or the connection was cut."""
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
    logging.getLogger("pyfuse3").addFilter(_is_news)
