"""An exclusive lock per mountpoint, without a lock file: an abstract socket named after the path.

Rule 1: the process that binds the name holds the lock. Others connect to it and wait for the connection to close.
Rule 2: forked processes share the lock. It is free when one of them releases it, or the last has closed it or exited.
Rule 3: only processes of root or of the same user are waited for. If another user holds the name, or a stale child
does, the command goes on without the lock.

Names are per network namespace. The wait has no timeout, as a scan may take long; signals interrupt it.
"""

import contextlib
import hashlib
import logging
import os
import socket
import time
from collections.abc import Iterator, Sequence

from mmirrorfs.mount.sockets import connected, listening, peer
from mmirrorfs.text import printable

log = logging.getLogger(__name__)

PATIENCE = 1.0
"""Seconds for which binding is retried while the holder of the name cannot be waited for."""


class Lock:
    """The locks of all mountpoints of a command, taken in sorted order: no deadlock between two commands."""

    def __init__(self, mountpoints: Sequence[bytes]) -> None:
        self._held: list[socket.socket] = []
        for mountpoint in sorted(set(mountpoints)):
            self._take(mountpoint)

    def descriptors(self) -> list[int]:
        """Descriptors that a forked process must keep open to share the lock."""
        return [held.fileno() for held in self._held]

    def drop(self) -> None:
        """Close it in this process; the processes that share it still hold it."""
        while self._held:
            self._held.pop().close()

    def release(self) -> None:
        """Release it for all processes that share it, and wake the waiting ones."""
        for held in self._held:
            with contextlib.suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)  # refuses new connections
                held.setblocking(False)
                while True:
                    held.accept()[0].close()
        self.drop()

    def _take(self, mountpoint: bytes) -> None:
        name = hashlib.sha256(mountpoint).hexdigest()
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if (held := listening(name)) is not None:
                self._held.append(held)
                return
            if _wait_for_holder(name, mountpoint):
                deadline = time.monotonic() + PATIENCE
            else:
                time.sleep(PATIENCE / 100)
        log.debug("no lock for %s: its name cannot be bound", printable(mountpoint))


@contextlib.contextmanager
def locked(mountpoints: Sequence[bytes]) -> Iterator[Lock]:
    """Take the locks, waiting for commands that hold them, and release them after the block."""
    lock = Lock(mountpoints)
    try:
        yield lock
    finally:
        lock.release()


def _wait_for_holder(name: str, mountpoint: bytes) -> bool:
    """Wait until the holder of the name releases it; False if there is none, or it must not be waited for (rule 3)."""
    holder = connected(name)
    if holder is None:
        return False
    with holder:
        pid, uid = peer(holder)
        if uid not in (0, os.geteuid()):
            return False
        log.info("process %d is mounting on %s: waiting for it", pid, printable(mountpoint))
        with contextlib.suppress(ConnectionError):
            holder.recv(1)
    return True
