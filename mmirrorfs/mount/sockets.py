"""Abstract Unix sockets: names that exist while a process holds them, leave no file, and have a known owner.

The kernel accepts connections itself (up to the backlog), so the owner is known even if that process is stopped. Names
are per network namespace. Any user can bind any name: check ``peer``, which cannot be forged.
Any thread; never blocks.
"""

import contextlib
import socket
import struct

BACKLOG = 4096
"""Unaccepted connections per socket; the default of net.core.somaxconn."""
_CREDENTIALS = struct.Struct("3i")


def listening(name: str) -> socket.socket | None:
    """A socket that listens on the name; None if it cannot be bound."""
    made = socket.socket(socket.AF_UNIX)
    try:
        made.bind(_address(name))
        made.listen(BACKLOG)
    except OSError:
        made.close()
        return None
    return made


def connected(name: str) -> socket.socket | None:
    """A blocking-mode connection to the name; None if nobody listens or the backlog is full."""
    made = socket.socket(socket.AF_UNIX)
    made.setblocking(False)
    with contextlib.suppress(OSError):
        made.connect(_address(name))
        made.setblocking(True)
        return made
    made.close()
    return None


def peer(connection: socket.socket) -> tuple[int, int]:
    """The process id and user id at the other end, at the time of its listen(2)."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(credentials)
    return pid, uid


def _address(name: str) -> bytes:
    return f"\0mmirrorfs/{name}".encode()
