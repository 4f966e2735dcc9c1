"""The mount table: is something mounted here, is it ours, whose is it, does it answer.

Touches a mount only in a child process with a time limit, for a dead or hung one would keep whoever asks.
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
_LINKS = 40
"""Links that a path may go through, as in the kernel."""
ANSWER_TIME = 10
"""Seconds that a fresh mount has to answer its first statvfs."""


def view_at(mountpoint: bytes) -> Mount | None:
    """The view of ours that is mounted there, dead or alive."""
    mount = mount_at(mountpoint)
    return mount if mount is not None and mount.type == VIEW_TYPE else None


def start_probe(question: Callable[[], bytes], seconds: int = ANSWER_TIME) -> tuple[int, int]:
    """Ask something of a mount in a child process; returns (pid, descriptor that becomes readable).

    It has ``seconds``, and its answer may have 65,000 bytes. Fork before threads start.
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
        os.write(writable, _answer(question))
    finally:
        os._exit(0)


def _answer(question: Callable[[], bytes]) -> bytes:
    try:
        return b"1" + question()
    except OSError as error:
        return b"0%d" % (error.errno or errno.EIO)


def finish_probe(probe: tuple[int, int], seconds: float | None = None) -> bytes:
    """The answer of a probe. Raises the OSError that the question met; TimeoutError for no answer within ``seconds``.

    The kernel may hold a process that cannot even be killed: that one is left to itself.
    """
    pid, readable = probe
    ended = False
    try:
        ended = bool(select.select([readable], [], [], seconds)[0])
        said = os.read(readable, 1 << 16) if ended else b""
    finally:
        os.close(readable)
        if not ended:
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0 if ended else os.WNOHANG)
    if not said:
        raise TimeoutError
    if said[:1] == b"0":
        raise OSError(int(said[1:]), os.strerror(int(said[1:])))
    return said[1:]


def is_alive(mountpoint: bytes) -> bytes:
    """A question: non-empty where the mount answers statvfs; the kernel itself answers who may not enter it."""
    os.statvfs(mountpoint)
    return b"1"


def ask(question: Callable[[], bytes], seconds: int = 3) -> bytes:
    """Ask and wait. Never longer than ``seconds``, not even for a mount that hangs; b"" for an error or no answer."""
    with contextlib.suppress(OSError):
        return finish_probe(start_probe(question, seconds), seconds)
    return b""


def label(mountpoint: bytes, name: str) -> bytes:
    """A question: one of a view's own attributes."""
    return os.getxattr(mountpoint, f"user.mmirrorfs.{name}", follow_symlinks=False)


def owner_of(mount: Mount) -> int | None:
    """The user who mounted it, and serves it; None where it is gone."""
    with open("/proc/self/mountinfo", "rb") as file:
        line = next((line for line in file if line.startswith(b"%d " % mount.id)), b"")
    found = re.search(rb" - .*\buser_id=(\d+)", line)
    return int(found[1]) if found else None


def resolved(mountpoint: bytes) -> bytes:
    """The mountpoint without links, as the mount table has it. What is mounted there is not asked."""
    for _ in range(_LINKS):
        above, name = os.path.split(mountpoint.rstrip(b"/") or b"/")
        if name in (b"", b".", b".."):
            return os.path.realpath(mountpoint)
        mountpoint = os.path.join(os.path.realpath(above), name)
        try:
            mountpoint = os.path.join(os.path.dirname(mountpoint), os.readlink(mountpoint))
        except OSError:  # no link
            break
    return mountpoint


def fuse_descriptors() -> list[int]:
    """The descriptors of this process by which it serves a mount."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}") == "/dev/fuse":
                found.append(int(name))
    return found
