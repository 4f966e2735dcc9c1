"""The control socket of a mounted view: an abstract socket (``mount.sockets``), one query per connection.

Extended attributes of the view do not suffice: there are none on a missing path, root cannot read them without
allow_other, and the kernel blocks them behind an unanswered request in the same directory.

Rule 1: query and answer are JSON, the query on one line. No client can block the daemon.
Rule 2: the daemon answers only root and the user who mounted the view, and a client accepts an answer only from these:
SO_PEERCRED tells.
Rule 3: the socket is named after the view's device number, which is the same for every bind mount and readable without
access to the view. The kernel reuses it after unmount: the next daemon retries until the last one has exited.

``serve_queries`` runs on the event loop; ``ask`` blocks, in any other thread or process.
"""

import base64
import contextlib
import json
import logging
import os
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio

from mmirrorfs.mount.sockets import connected, listening, peer

log = logging.getLogger(__name__)

Values = dict[str, Any]
Answer = Callable[[Values], Awaitable[Values | None]]
"""Answers a query; None for an unknown one."""

LONGEST = 1 << 17
"""Bytes of a query at the most: several paths of PATH_MAX in base64."""
PATIENCE = 30.0
"""Seconds after which the daemon closes a connection."""
PAUSE = 1.0
"""Seconds between retries while the name is taken, or no descriptor is free."""
_PEER = struct.Struct("3i")


class Silent(Exception):
    """Process ``pid`` serves the view but did not answer in time."""

    def __init__(self, pid: int) -> None:
        super().__init__(f"process {pid} does not answer")
        self.pid = pid


async def serve_queries(device: str, answer: Answer) -> None:
    """Answer queries about the view with that device number. Until cancelled."""
    while (listener := listening(_name(device))) is None:
        await trio.sleep(PAUSE)
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


def about(*paths: bytes) -> Values:
    """The fields of a query about absolute paths."""
    return {"paths": [base64.b64encode(path).decode() for path in paths]}


def paths_in(query: Values) -> list[bytes]:
    """The paths of a query, normalized; invalid and relative ones are left out."""
    found, paths = [], query.get("paths")
    for path in paths if isinstance(paths, list) else ():
        with contextlib.suppress(ValueError, TypeError):
            found.append(base64.b64decode(path))
    return [os.path.normpath(path) for path in found if path.startswith(b"/") and b"\0" not in path]


def ask(device: str, owner: int | None, query: Values, seconds: float) -> Values | None:
    """Query the daemon of a view that user ``owner`` mounted; None if it does not know the query.

    Raises ConnectionError if no daemon listens or it refuses this user, and Silent for no answer within ``seconds``.
    """
    connection = connected(_name(device))
    if connection is None:
        raise ConnectionRefusedError
    with connection:
        pid, uid = peer(connection)
        if uid not in (0, owner):
            raise ConnectionRefusedError
        try:
            reply = _exchange(connection, json.dumps(query).encode() + b"\n", time.monotonic() + seconds)
        except TimeoutError:
            raise Silent(pid) from None
    if not reply:
        raise ConnectionResetError
    answer: Values | None = json.loads(reply)
    return answer


def _exchange(connection: socket.socket, query: bytes, deadline: float) -> bytes:
    """Send a query and read the reply. Raises TimeoutError and ConnectionError."""
    connection.settimeout(max(0.01, deadline - time.monotonic()))
    connection.sendall(query)
    pieces: list[bytes] = []
    for piece in iter(partial(connection.recv, 1 << 16), b""):
        pieces.append(piece)
        connection.settimeout(max(0.01, deadline - time.monotonic()))
    return b"".join(pieces)


def _name(device: str) -> str:
    return f"{device}/questions"
