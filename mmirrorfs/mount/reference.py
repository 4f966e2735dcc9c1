"""Identifies one mount, so that ``detach`` never unmounts another one that has taken its place.

Device numbers and mount ids are reused at once, the unique mount id never (Linux 6.8). On older kernels device and
mount id must match, and either this process holds a live FUSE connection, so that the device number is still its own,
or the mount must be dead.

Any thread. Nothing here blocks on the process that serves the mount.
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
"""Errors of a mount without a daemon. A mount that only does not answer is not dead."""

PATIENCE = 1.0
"""Seconds to wait for such an error; a dead mount returns it at once."""
_FUSERMOUNT = 5.0
"""Timeout of fusermount3 in seconds."""

_MNT_FORCE, _MNT_DETACH = 1, 2
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Reference:
    """The mount on ``where``. ``unique`` is 0 on kernels without unique mount ids."""

    where: bytes
    device: str
    id: int
    unique: int

    def detach(self, force: bool = False) -> bool:
        """Unmount it lazily, if it is still there; ``force`` aborts its connection too (root). False on failure."""
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
    """The view that is mounted on ``where`` now; None if there is none."""
    mount = view_at(where)
    with _opened(where) as found:
        if mount is None or found is None:
            return None
        return Reference(where, mount.device, mount.id, unique_id(found))


@contextlib.contextmanager
def _opened(where: bytes) -> Iterator[int | None]:
    """An O_PATH descriptor of the mounted root, opened without a request to it; None if the path cannot be opened."""
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
    """Whether this process serves a live mount: its end raises POLLERR on the descriptor."""
    poller, descriptors = select.poll(), fuse_descriptors()
    for descriptor in descriptors:
        poller.register(descriptor, 0)
    return bool(descriptors) and not poller.poll(0)


def _is_dead(descriptor: int) -> bool:
    """Whether statfs fails with a DEAD error. In a thread: a live mount may never answer."""

    def probe() -> None:
        try:
            os.fstatvfs(descriptor)
        except OSError as error:
            dead.append(error.errno in DEAD)

    dead: list[bool] = []
    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return any(dead)


def _fusermount(where: bytes) -> bool:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        command = [b"fusermount3", b"-u", b"-z", b"-q", b"--", where]
        return subprocess.run(command, check=False, timeout=_FUSERMOUNT).returncode == 0
    return False


def _without_descriptors(run: Callable[[], bool]) -> bool:
    """Run it in a thread whose descriptor table ends at 2 (CLOSE_RANGE_UNSHARE, Linux 5.9).

    Else the exec of a child would close inherited descriptors, and that blocks if they belong to a hung FUSE source.
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
