"""Mounts and processes as listed by the kernel, and their removal. Nothing here accesses a path inside a mount."""

import contextlib
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass

TICK = os.sysconf("SC_CLK_TCK")
END = 10.0
"""Seconds for an unmount before it is forced."""
LINGER = 3.0
"""Seconds for the process behind it to exit: another mount namespace may keep it alive for long."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """The processes that serve one mount, including short-lived children; those that have exited count 0."""

    pids: tuple[int, ...]

    def cpu(self) -> float:
        """CPU time in seconds, user and system, of all threads and reaped children."""
        return sum(_cpu(pid) for pid in self.pids)

    def memory(self, field: str) -> int:
        """Memory in bytes; ``field`` is VmRSS (resident now) or VmHWM (peak)."""
        return sum(_status(pid, field) for pid in self.pids)


def _cpu(pid: int) -> float:
    """Live threads by the process's CPU clock, in ns; reaped children from /proc, in ticks of 10 ms."""
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return time.clock_gettime((~pid << 3) | 2) + (int(fields[13]) + int(fields[14])) / TICK
    return 0


def _status(pid: int, field: str) -> int:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as file:
        return next((int(line.split()[1]) * 1024 for line in file if line.startswith(field + ":")), 0)
    return 0


def daemon_of(mountpoint: str) -> Daemon:
    """The processes with this mountpoint in their command line: it is unique in a benchmark."""
    return Daemon(tuple(pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _names(pid, mountpoint)))


def _names(pid: int, mountpoint: str) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return os.fsencode(mountpoint) in file.read().split(b"\0")
    except OSError:
        return False


def mounts_under(directory: str) -> list[str]:
    """The mountpoints below a directory, latest first."""
    return [where for where, _, _ in reversed(_mounts()) if where.startswith(directory + "/")]


def device_at(mountpoint: str) -> str:
    """The device number (MAJOR:MINOR) of the topmost mount there, without accessing it."""
    return next(device for where, device, _ in reversed(_mounts()) if where == mountpoint)


def filesystem_of(path: str) -> str:
    """The filesystem type of a path."""
    device = os.stat(path).st_dev
    types = {device: kind for _, device, kind in _mounts()}
    return types.get(f"{os.major(device)}:{os.minor(device)}", "unknown")


def _mounts() -> list[tuple[str, str, str]]:
    """Mountpoint, device number and filesystem type of all mounts."""
    with open("/proc/self/mountinfo", errors="surrogateescape") as file:
        return [_mount(line) for line in file]


def _mount(line: str) -> tuple[str, str, str]:
    fields, _, rest = line.partition(" - ")
    _, _, device, _, where, *_ = fields.split(" ")
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), where), device, rest.split(" ")[0]


def take_down(mountpoint: str) -> None:
    """Unmount, lazily if it is busy, and wait for the daemon to exit; kill it if it does not."""
    daemon = daemon_of(mountpoint)
    if not _unmounted(mountpoint, [["umount"], ["fusermount3", "-u"], ["fusermount", "-u"]], END):
        _kill(daemon.pids)
        _unmounted(mountpoint, [["umount", "-l"], ["fusermount3", "-uz"], ["fusermount", "-uz"]], END)
    deadline = time.monotonic() + LINGER
    while (left := daemon_of(mountpoint).pids) and time.monotonic() < deadline:
        time.sleep(0.005)
    _kill(left)


def _unmounted(mountpoint: str, commands: list[list[str]], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while mountpoint in mounts_under(os.path.dirname(mountpoint)):
        if time.monotonic() > deadline:
            return False
        for command in commands:
            if _succeeds([*command, mountpoint]):
                break
        else:
            time.sleep(0.05)
    return True


def _succeeds(command: list[str]) -> bool:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(command, capture_output=True, timeout=END).returncode == 0
    return False


def _kill(pids: tuple[int, ...]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def drop_caches(what: int) -> None:
    """Drop the kernel's caches, 1: pages, 2: dentries and inodes, 3: both. Root only; raises OSError."""
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write(str(what))
