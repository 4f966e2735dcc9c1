"""The mount table: is something mounted here, is it ours, does it answer, take it away.

Touches a mount only in a child process with a time limit, for a dead or hung one would keep whoever asks.
"""

import contextlib
import ctypes
import logging
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable

from mmirrorfs.source.filesystems import VIEW_TYPE, Mount, mount_at
from mmirrorfs.text import printable

log = logging.getLogger(__name__)

_MNT_DETACH = 2
_PR_SET_PDEATHSIG = 1
ANSWER_TIME = 10
"""Seconds that a fresh mount has to answer its first statvfs."""


def view_at(mountpoint: bytes) -> Mount | None:
    """The view of ours that is mounted there, dead or alive."""
    mount = mount_at(mountpoint)
    return mount if mount is not None and mount.type == VIEW_TYPE else None


def start_probe(question: Callable[[], bytes], seconds: int = ANSWER_TIME) -> tuple[int, int]:
    """Ask something of a mount in a child process; returns (pid, descriptor that becomes readable).

    What ``question`` returned can be read from the descriptor, up to 64 KiB, and nothing when it failed or took too
    long. Fork before threads start.
    """
    readable, writable = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writable)
        return pid, readable
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.alarm(seconds)
        for descriptor in fuse_descriptors():
            os.close(descriptor)
        os.write(writable, question())
    except OSError:
        pass
    finally:
        os._exit(0)


def finish_probe(probe: tuple[int, int], seconds: float | None = None) -> bytes:
    """The answer of a probe; b"" where there was none within ``seconds``.

    The kernel may hold a process that cannot even be killed: that one is left to itself.
    """
    pid, readable = probe
    ended = False
    try:
        ended = bool(select.select([readable], [], [], seconds)[0])
        return os.read(readable, 1 << 16) if ended else b""
    finally:
        os.close(readable)
        if not ended:
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0 if ended else os.WNOHANG)


def is_alive(mountpoint: bytes) -> bytes:
    """A question: non-empty where the mount answers statvfs; the kernel itself answers who may not enter it."""
    os.statvfs(mountpoint)
    return b"1"


def ask(question: Callable[[], bytes], seconds: int = 3) -> bytes:
    """Ask and wait. Never longer than ``seconds``, not even for a mount that hangs; b"" for no answer."""
    return finish_probe(start_probe(question, seconds), seconds)


def label(mountpoint: bytes, name: str) -> bytes:
    """A question: one of a view's own attributes."""
    return os.getxattr(mountpoint, f"user.mmirrorfs.{name}", follow_symlinks=False)


def detach(mountpoint: bytes) -> bool:
    """Unmount lazily, by umount2(2) or, as a plain user, with fusermount3."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(mountpoint, _MNT_DETACH) == 0:
        return True
    try:
        command = [b"fusermount3", b"-u", b"-z", b"-q", mountpoint]
        return subprocess.run(command, check=False, timeout=5).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def remove_if_left(mount: Mount | None) -> None:
    """Detach a mount that its session could not take away: after an abort, or ``umount -f``."""
    if mount is None:
        return
    deadline = time.monotonic() + 1
    while (left := view_at(mount.where)) is not None and left.device == mount.device:
        detach(mount.where)
        if time.monotonic() > deadline:
            log.error("%s could not be unmounted", printable(mount.where))
            return


def fuse_descriptors() -> list[int]:
    """The descriptors of this process by which it serves a mount."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}") == "/dev/fuse":
                found.append(int(name))
    return found
