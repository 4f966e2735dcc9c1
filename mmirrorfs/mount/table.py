"""The mount table: is something mounted here, is it ours, does it answer, take it away.

Touches a mount only in a child process with a time limit, for a dead or hung one would keep whoever asks.
"""

import ctypes
import logging
import os
import signal
import subprocess
import time

from mmirrorfs.source.filesystems import VIEW_TYPE, Mount, mount_at
from mmirrorfs.text import printable

log = logging.getLogger(__name__)

_MNT_DETACH = 2
ANSWER_TIME = 10
"""Seconds that a fresh mount has to answer its first statvfs."""


def view_at(mountpoint: bytes) -> Mount | None:
    """The view of ours that is mounted there, dead or alive."""
    mount = mount_at(mountpoint)
    return mount if mount is not None and mount.type == VIEW_TYPE else None


def start_probe(mountpoint: bytes, seconds: int = ANSWER_TIME) -> tuple[int, int]:
    """Ask in a child process whether the mount answers; returns (pid, descriptor that becomes readable).

    One byte can be read from the descriptor when it answered, nothing when it did not. Fork before threads start.
    """
    readable, writable = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writable)
        return pid, readable
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds)
        _close_fuse_descriptors()
        os.statvfs(mountpoint)
        os.write(writable, b"1")
    except OSError:
        pass
    finally:
        os._exit(0)


def answers(mountpoint: bytes, seconds: int = 3) -> bool:
    """Whether a mount answers statvfs within ``seconds``. Never waits longer, not even for one that hangs."""
    pid, readable = start_probe(mountpoint, seconds)
    try:
        return os.read(readable, 1) == b"1"
    finally:
        os.close(readable)
        os.waitpid(pid, 0)


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


def _close_fuse_descriptors() -> None:
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}") == "/dev/fuse":
                os.close(int(name))
        except OSError:
            continue
