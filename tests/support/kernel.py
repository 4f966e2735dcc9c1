"""Mounts, FUSE connections and processes, read from /proc and /sys alone, which no hung mount can block."""

import contextlib
import os
import re
import signal
import subprocess
from dataclasses import dataclass
from typing import Self

TYPE = b"fuse.mmirrorfs"
CONNECTIONS = "/sys/fs/fuse/connections"
"""A directory for each FUSE connection, where fusectl is mounted."""


@dataclass(frozen=True, slots=True)
class Mounted:
    """A line of /proc/self/mountinfo. ``connection`` names the directory below /sys/fs/fuse/connections."""

    where: bytes
    type: bytes
    options: frozenset[str]
    superblock: frozenset[str]
    connection: int


def views_under(directory: bytes) -> list[Mounted]:
    """The views mounted at or below ``directory``, hung or not, in reverse order of mounting."""
    views = [mount for mount in _mounts() if mount.type == TYPE]
    return [view for view in views if view.where == directory or view.where.startswith(directory + b"/")][::-1]


def view_at(where: bytes) -> Mounted | None:
    """The view whose mountpoint is ``where``."""
    return next((view for view in views_under(where) if view.where == where), None)


def mounted_under(directory: bytes) -> list[bytes]:
    """The mountpoints of all filesystems mounted below ``directory``, in reverse order of mounting."""
    return [mount.where for mount in _mounts() if mount.where.startswith(directory + b"/")][::-1]


def _mounts() -> list[Mounted]:
    with open("/proc/self/mountinfo", "rb") as file:
        return [_parsed(line) for line in file]


def _parsed(line: bytes) -> Mounted:
    fields, _, rest = line.partition(b" - ")
    _, _, device, _, where, options, *_ = fields.split(b" ")
    kind, _, superblock = rest.rstrip(b"\n").split(b" ", 2)
    where = re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), where)
    words = frozenset(options.decode().split(","))
    return Mounted(where, kind, words, frozenset(superblock.decode().split(",")), int(device.partition(b":")[2]))


class Abort:
    """The means to abort a connection, and no later one of the same number. Raises OSError where it is not permitted.

    An open file in /sys/fs/fuse/connections belongs to its connection; when that is gone, writing fails.
    """

    def __init__(self, connection: int) -> None:
        self._fd = os.open(f"{CONNECTIONS}/{connection}/abort", os.O_WRONLY)

    @classmethod
    def of(cls, where: bytes) -> Self:
        """The means to abort the view whose mountpoint is ``where``."""
        see_connections()
        view = view_at(where)
        assert view is not None, where
        return cls(view.connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def abort(self) -> None:
        """Fail its pending requests, and all later ones."""
        with contextlib.suppress(OSError):
            os.write(self._fd, b"1")


def see_connections() -> None:
    """Mount fusectl where it is not mounted yet. Does nothing without root."""
    if os.geteuid() == 0 and not os.path.ismount(CONNECTIONS):
        subprocess.run(["mount", "-t", "fusectl", "none", CONNECTIONS], check=False, timeout=10)


def abort_at(where: bytes) -> None:
    """Abort the view whose mountpoint is ``where``, as an administrator does."""
    with Abort.of(where) as connection:
        connection.abort()


def abort_under(directory: bytes) -> list[bytes]:
    """Abort the connection of every view below ``directory`` and detach all mounts there; returns the views' paths.

    Pending requests fail at once, also those of processes in uninterruptible sleep. Never accesses a mount.
    """
    ended = [view.where for view in views_under(directory)]
    for view in views_under(directory):
        with contextlib.suppress(OSError), Abort(view.connection) as connection:
            if view in views_under(directory):  # else another mount may have its number by now
                connection.abort()
    for where in [*mounted_under(directory), *ended]:
        if any(mount.where == where for mount in _mounts()):
            detach(where)
    return ended


def detach(where: bytes) -> None:
    """Unmount lazily (MNT_DETACH)."""
    for command in ([b"umount", b"-l", where], [b"fusermount3", b"-u", b"-z", b"-q", where]):
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            if subprocess.run(command, capture_output=True, timeout=10).returncode == 0:
                return


def processes_of(path: bytes) -> list[int]:
    """The other processes, zombies aside, with ``path`` or a path below it as an argument on their command line."""
    return [
        int(name) for name in os.listdir("/proc") if name.isdigit() and _names(int(name), path) and alive(int(name))
    ]


def _names(pid: int, path: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            arguments = file.read().split(b"\0")
    except OSError:
        return False
    return pid != os.getpid() and any(word == path or word.startswith(path + b"/") for word in arguments)


def alive(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def end_processes_of(path: bytes) -> list[int]:
    """Send SIGKILL to ``processes_of(path)``; returns their ids."""
    left = processes_of(path)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return left
