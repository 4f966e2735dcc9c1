"""One mount, told apart from any other that takes its place: it alone is ever detached.

Device numbers and mount ids are given out again at once, the unique mount id never (Linux 6.8). On older kernels device
and mount id must be the same, and besides either this process serves a connection that lives, so that the device number
is still its own, or the mount must be dead.

Nothing here waits for the process that serves a mount.
"""

import contextlib
import ctypes
import errno
import os
import select
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mmirrorfs.mount.table import fuse_descriptors, view_at
from mmirrorfs.source.filesystems import unique_id

DEAD = frozenset((errno.ENOTCONN, errno.ECONNABORTED))
"""What a mount says that nobody serves any more. One that is only silent is not dead."""

PATIENCE = 1.0
"""Seconds that a dead mount has to say so; it takes no time."""
_FUSERMOUNT = 5.0
"""Seconds that fusermount3 has."""

_MNT_FORCE, _MNT_DETACH = 1, 2
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Reference:
    """The mount on ``where``. ``unique`` is 0 on kernels that have no unique id."""

    where: bytes
    device: str
    id: int
    unique: int

    def detach(self, force: bool = False) -> bool:
        """Unmount it lazily, if it is there; ``force`` ends its connection too, as root. False where it stays."""
        with _opened(self.where) as found:
            if found is None or not self._is(found):
                return True
            flags = _MNT_DETACH | (_MNT_FORCE if force else 0)
            if _libc.umount2(b"/proc/self/fd/%d" % found, flags) == 0:
                return True
        return _without_descriptors(lambda: _fusermount(self.where))

    def _is(self, found: int) -> bool:
        if self.unique:
            return unique_id(found) == self.unique
        now = view_at(self.where)
        same = now is not None and (now.device, now.id) == (self.device, self.id)
        return same and (_is_connected() or _is_dead(found))


def reference(where: bytes) -> Reference | None:
    """The view that is mounted on ``where`` now."""
    mount = view_at(where)
    with _opened(where) as found:
        if mount is None or found is None:
            return None
        return Reference(where, mount.device, mount.id, unique_id(found))


@contextlib.contextmanager
def _opened(where: bytes) -> Iterator[int | None]:
    """A descriptor of what is mounted there, which no request is sent for (O_PATH); None where nothing can be found."""
    try:
        descriptor = os.open(where, os.O_PATH | os.O_NOFOLLOW)
    except OSError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_connected() -> bool:
    """Whether this process serves a mount whose superblock lives: its end hangs up the descriptor."""
    poller, descriptors = select.poll(), fuse_descriptors()
    for descriptor in descriptors:
        poller.register(descriptor, 0)
    return bool(descriptors) and not poller.poll(0)


def _is_dead(descriptor: int) -> bool:
    """Asked in a thread: a mount that lives may never answer."""

    def ask() -> None:
        try:
            os.fstatvfs(descriptor)
        except OSError as error:
            said.append(error.errno in DEAD)

    said: list[bool] = []
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return any(said)


def _fusermount(where: bytes) -> bool:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        command = [b"fusermount3", b"-u", b"-z", b"-q", b"--", where]
        return subprocess.run(command, check=False, timeout=_FUSERMOUNT).returncode == 0
    return False


def _without_descriptors(run: Callable[[], bool]) -> bool:
    """Run it in a thread that has no descriptors above 2.

    A program that is started closes those that it inherits, and that waits for a FUSE source that hangs. The kernel
    leaves them out of the thread's table, without closing any, since Linux 5.9 (CLOSE_RANGE_UNSHARE).
    """

    def call() -> None:
        with contextlib.suppress(AttributeError):
            _libc.close_range(3, 0xFFFFFFFF, 2)
        result.append(run())

    result: list[bool] = []
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(2 * _FUSERMOUNT)
    return any(result)
