"""Abstract sockets: names that exist for as long as a process has them, are written nowhere, and say whose they are.

The kernel itself lets in who connects, so it is known who has a name even when that process is stopped. Names are per
network namespace, and anybody may take any: what counts is the user who listens, which nobody can forge.
"""

import contextlib
import socket
import struct

BACKLOG = 4096
"""Connections that nobody accepts at a time; the kernel's own limit is as high (net.core.somaxconn)."""
_CREDENTIALS = struct.Struct("3i")


def listening(name: str) -> socket.socket | None:
    """A socket that has the name; None where it cannot be had."""
    made = socket.socket(socket.AF_UNIX)
    try:
        made.bind(_address(name))
        made.listen(BACKLOG)
    except OSError:
        made.close()
        return None
    return made


def connected(name: str) -> socket.socket | None:
    """A connection to whoever has the name; None where nobody listens, or more than BACKLOG are connected. No wait."""
    made = socket.socket(socket.AF_UNIX)
    made.setblocking(False)
    with contextlib.suppress(OSError):
        made.connect(_address(name))
        made.setblocking(True)
        return made
    made.close()
    return None


def peer(connection: socket.socket) -> tuple[int, int]:
    """Process and user that listened."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(credentials)
    return pid, uid


def _address(name: str) -> bytes:
    return f"\0mmirrorfs/{name}".encode()
