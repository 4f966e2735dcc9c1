"""The mount table: what is mounted where, whether it is a view, who owns it, and whether it answers.

Rule 1: a mount is accessed only in a child process with a timeout: a hung one would block the caller.

Before threads start, where it forks (``start_probe``, ``run_probe``); anything else from any thread.
"""

import contextlib
import ctypes
import errno
import os
import re
import select
import signal
from collections.abc import Callable

from mmirrorfs.source.filesystems import VIEW_TYPE, Mount, mount_at
from mmirrorfs.source.process import close_others

_PR_SET_PDEATHSIG = 1
_FUSE = os.makedev(10, 229)
"""The device number of /dev/fuse (Linux, Documentation/admin-guide/devices.txt)."""
_LINKS = 40
"""Symbolic links followed in a path, as in the kernel (MAXSYMLINKS)."""
ANSWER_TIME = 10
"""Timeout in seconds of the first statvfs on a new mount."""


def view_at(mountpoint: bytes) -> Mount | None:
    """The mmirrorfs view mounted there, dead or alive; None if there is none."""
    mount = mount_at(mountpoint)
    return mount if mount is not None and mount.type == VIEW_TYPE else None


def start_probe(query: Callable[[], bytes], seconds: int = ANSWER_TIME) -> tuple[int, int]:
    """Call ``query`` in a child process for up to ``seconds``; returns (pid, descriptor that becomes readable).

    The result may have 65,000 bytes. Before threads start: it forks.
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
        close_others([2, writable])
        os.write(writable, _result(query))
    finally:
        os._exit(0)


def _result(query: Callable[[], bytes]) -> bytes:
    try:
        return b"1" + query()
    except OSError as error:
        return b"0%d" % (error.errno or errno.EIO)


def finish_probe(probe: tuple[int, int], seconds: float | None = None) -> bytes:
    """The result of a probe. Raises the OSError that the query raised; TimeoutError after ``seconds``.

    A child in uninterruptible sleep cannot be killed; it is not waited for.
    """
    pid, readable = probe
    ended = False
    try:
        ended = bool(select.select([readable], [], [], seconds)[0])
        result = os.read(readable, 1 << 16) if ended else b""
    finally:
        os.close(readable)
        if not ended:
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0 if ended else os.WNOHANG)
    if not result:
        raise TimeoutError
    if result[:1] == b"0":
        raise OSError(int(result[1:]), os.strerror(int(result[1:])))
    return result[1:]


def is_alive(mountpoint: bytes) -> bytes:
    """A query: non-empty if the mount answers statvfs. Without allow_other the kernel answers other users itself."""
    os.statvfs(mountpoint)
    return b"1"


def run_probe(query: Callable[[], bytes], seconds: int = 3) -> bytes:
    """Probe and wait for up to ``seconds``, even if the mount hangs; b"" for an error or no answer."""
    with contextlib.suppress(OSError):
        return finish_probe(start_probe(query, seconds), seconds)
    return b""


def label(mountpoint: bytes, name: str) -> bytes:
    """A query: the value of the extended attribute user.mmirrorfs.``name``."""
    return os.getxattr(mountpoint, f"user.mmirrorfs.{name}", follow_symlinks=False)


def owner_of(mount: Mount) -> int | None:
    """The user who mounted and serves it; None if it is no longer mounted."""
    with open("/proc/self/mountinfo", "rb") as file:
        line = next((line for line in file if line.startswith(b"%d " % mount.id)), b"")
    found = re.search(rb" - .*\buser_id=(\d+)", line)
    return int(found[1]) if found else None


def resolved(mountpoint: bytes) -> bytes:
    """The mountpoint without symbolic links, as in the mount table. Sends no request to what is mounted there."""
    for _ in range(_LINKS):
        above, name = os.path.split(mountpoint.rstrip(b"/") or b"/")
        if name in (b"", b".", b".."):
            return os.path.realpath(mountpoint)
        mountpoint = os.path.join(os.path.realpath(above), name)
        try:
            mountpoint = os.path.join(os.path.dirname(mountpoint), os.readlink(mountpoint))
        except OSError:  # not a link
            break
    return mountpoint


def fuse_descriptors() -> list[int]:
    """This process's /dev/fuse descriptors, also where that has another path (in a container)."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            is_named_so = os.readlink(f"/proc/self/fd/{name}").endswith("/fuse")  # others are left alone: they may hang
            if is_named_so and os.fstat(int(name)).st_rdev == _FUSE:
                found.append(int(name))
    return found
