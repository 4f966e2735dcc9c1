"""One command at a time for each mountpoint, by a lock that writes nothing: an abstract socket named after the path.

Rule 1: whoever binds the name has the lock; who comes later connects, and waits for the end of the connection.
Rule 2: forked processes share the lock. It is free when one of them releases it, or when the last of them has closed
it or ended, however that comes.
Rule 3: only a process of root's, or of the same user's, is waited for. A name that somebody else took, and one that
a forgotten child still has, cost the exclusion and nothing more.

Names are per network namespace. Waiting is interrupted by signals, and has no end of its own: a scan may take long.
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
"""Seconds for which a name is tried that is taken, but by nobody who can be waited for."""


class Lock:
    """The locks of all mountpoints of a command, in the order of their paths: two never wait for each other."""

    def __init__(self, mountpoints: Sequence[bytes]) -> None:
        self._held: list[socket.socket] = []
        for mountpoint in sorted(set(mountpoints)):
            self._take(mountpoint)

    def descriptors(self) -> list[int]:
        """What a forked process must keep open to share the lock."""
        return [held.fileno() for held in self._held]

    def drop(self) -> None:
        """Close it here; the processes that share it go on holding it."""
        while self._held:
            self._held.pop().close()

    def release(self) -> None:
        """End it for all who share it, and wake who waits."""
        for held in self._held:
            with contextlib.suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)  # no new ones from now on
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
            if _waited(name, mountpoint):
                deadline = time.monotonic() + PATIENCE
            else:
                time.sleep(PATIENCE / 100)
        log.debug("no lock for %s: its name cannot be had", printable(mountpoint))


@contextlib.contextmanager
def locked(mountpoints: Sequence[bytes]) -> Iterator[Lock]:
    """Wait until no other command mounts there, and keep others from it for as long as the block takes."""
    lock = Lock(mountpoints)
    try:
        yield lock
    finally:
        lock.release()


def _waited(name: str, mountpoint: bytes) -> bool:
    """Wait for the end of whoever has the name; False where nobody is to be waited for, or not yet."""
    other = connected(name)
    if other is None:
        return False
    with other:
        pid, uid = peer(other)
        if uid not in (0, os.geteuid()):
            return False
        log.info("process %d is mounting on %s: waiting for it", pid, printable(mountpoint))
        with contextlib.suppress(ConnectionError):
            other.recv(1)
    return True
