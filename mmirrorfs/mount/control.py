"""The control socket of a mounted view: an abstract socket (``mount.sockets``), one query per connection.

Extended attributes of the view do not suffice: there are none on a missing path, root cannot read them without
allow_other, and the kernel blocks them behind an unanswered request in the same directory.

Rule 1: query and answer are JSON, the query on one line. No client can block the daemon.
Rule 2: the daemon answers only root and the user who mounted the view (SO_PEERCRED). So does the client.
Rule 3: the socket is named after the view's device number, which is the same for every bind mount and readable without
access to the view. The kernel reuses it after unmount: the next daemon retries until the last one has exited.

Event loop only. The client's side is ``mount.controlclient``.
"""

import base64
import contextlib
import json
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable

import trio

from mmirrorfs.mount.controlclient import Values, socket_name
from mmirrorfs.mount.sockets import listening

log = logging.getLogger(__name__)

Answer = Callable[[Values], Awaitable[Values | None]]
"""Answers a query; None for an unknown one."""

LONGEST = 1 << 17
"""Bytes of a query at the most: several paths of PATH_MAX in base64."""
PATIENCE = 30.0
"""Seconds after which the daemon closes a connection."""
PAUSE = 1.0
"""Most seconds between retries while the name is taken, or no descriptor is free."""
FIRST = 0.02
"""Seconds until the first retry: the last daemon is usually about to exit."""
_PEER = struct.Struct("3i")


async def serve_queries(device: str, answer: Answer) -> None:
    """Answer queries about the view with that device number. Until cancelled."""
    pause = FIRST
    while (listener := listening(socket_name(device))) is None:
        await trio.sleep(pause)
        pause = min(2 * pause, PAUSE)
    with trio.socket.from_stdlib_socket(listener) as server:
        async with trio.open_nursery() as nursery:
            await _accept(server, nursery, answer)


async def _accept(server: trio.socket.SocketType, nursery: trio.Nursery, answer: Answer) -> None:
    while True:
        try:
            connection, _ = await server.accept()
        except OSError:
            await trio.sleep(PAUSE)
            continue
        if _is_allowed(connection):
            nursery.start_soon(_serve_client, connection, answer)
        else:
            connection.close()


def _is_allowed(connection: trio.socket.SocketType) -> bool:
    _, uid, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return uid in (0, os.geteuid())


async def _serve_client(connection: trio.socket.SocketType, answer: Answer) -> None:
    with connection, trio.move_on_after(PATIENCE), contextlib.suppress(OSError):
        query = await _read_query(connection)
        if query is None:
            return
        try:
            reply = json.dumps(await answer(query)).encode()
        except Exception:
            log.exception("internal error in the answer to %s", query.get("ask"))
            return
        left = memoryview(reply)
        while left:
            left = left[await connection.send(left) :]


async def _read_query(connection: trio.socket.SocketType) -> Values | None:
    """The query; None if it is too long, incomplete or not a JSON object."""
    received = b""
    while not received.endswith(b"\n"):
        part = await connection.recv(LONGEST)
        received += part
        if not part or len(received) > LONGEST:
            return None
    with contextlib.suppress(ValueError, RecursionError):
        query = json.loads(received)
        return query if isinstance(query, dict) else None
    return None


def paths_in(query: Values) -> list[bytes]:
    """The paths of a query, normalized; invalid and relative ones are left out."""
    found, paths = [], query.get("paths")
    for path in paths if isinstance(paths, list) else ():
        with contextlib.suppress(ValueError, TypeError):
            found.append(base64.b64decode(path))
    return [os.path.normpath(path) for path in found if path.startswith(b"/") and b"\0" not in path]
