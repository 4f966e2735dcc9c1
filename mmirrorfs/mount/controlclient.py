"""The client's side of the control socket (``mount.control``): one query to the daemon of a mounted view.

Rule 1: an answer is accepted only from root and the user who mounted the view (SO_PEERCRED).

Blocking: never on the event loop. Does not import trio, which would double the time of every query.
"""

import base64
import json
import socket
import time
from functools import partial
from typing import Any

from mmirrorfs.mount.sockets import connected, peer

Values = dict[str, Any]
"""A query, or an answer: a JSON object."""


class NoAnswer(Exception):
    """Process ``pid`` serves the view but did not answer in time."""

    def __init__(self, pid: int) -> None:
        super().__init__(f"process {pid} does not answer")
        self.pid = pid


def about(*paths: bytes) -> Values:
    """The fields of a query about absolute paths."""
    return {"paths": [base64.b64encode(path).decode() for path in paths]}


def send_query(device: str, owner: int | None, query: Values, seconds: float) -> Values | None:
    """Query the daemon of a view that user ``owner`` mounted; None if it does not know the query.

    Raises ConnectionError if no daemon listens or it refuses this user, and Silent for no answer within ``seconds``.
    """
    connection = connected(socket_name(device))
    if connection is None:
        raise ConnectionRefusedError
    with connection:
        pid, uid = peer(connection)
        if uid not in (0, owner):
            raise ConnectionRefusedError
        try:
            reply = _exchange(connection, json.dumps(query).encode() + b"\n", time.monotonic() + seconds)
        except TimeoutError:
            raise NoAnswer(pid) from None
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


def socket_name(device: str) -> str:
    """Name of the control socket of the view with that device number."""
    return f"{device}/questions"
