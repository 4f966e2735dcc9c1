"""Questions to a live view, over a socket that its daemon listens on (``mount.sockets``): one question a connection.

The view itself could be asked by extended attributes alone: not of what is not there, not by root where the user who
mounted it did not allow others, and not while the kernel holds a directory for a request that is not answered.

Rule 1: a question and its answer are JSON, a question in one line. Nobody who asks can hold up the daemon.
Rule 2: only root and the user who mounted the view may ask, and only the answer of these is believed: the kernel says
who is at the other end.
Rule 3: the socket is called after the device number, which is the view's wherever it is mounted besides, and which the
kernel tells those too who may not enter it. It is given out anew when the view is gone: who comes next waits for the
name until the last daemon has ended.
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
"""Answers a question; None for one that makes no sense to it."""

LONGEST = 1 << 17
"""Bytes that a question may have: some paths of the longest, in base64."""
PATIENCE = 30.0
"""Seconds after which the daemon ends a connection."""
PAUSE = 1.0
"""Seconds until it is tried again where there are no descriptors, or the name is taken."""
_PEER = struct.Struct("3i")


class Silent(Exception):
    """Process ``pid`` serves the view and gives no answer."""

    def __init__(self, pid: int) -> None:
        super().__init__(f"process {pid} does not answer")
        self.pid = pid


async def answering(device: str, answer: Answer) -> None:
    """Answer who may ask the view with that device number. Until cancelled."""
    while (listener := listening(_name(device))) is None:
        await trio.sleep(PAUSE)
    accepting = trio.socket.from_stdlib_socket(listener)
    with accepting:
        async with trio.open_nursery() as nursery:
            await _accept(accepting, nursery, answer)


async def _accept(accepting: trio.socket.SocketType, nursery: trio.Nursery, answer: Answer) -> None:
    while True:
        try:
            connection, _ = await accepting.accept()
        except OSError:
            await trio.sleep(PAUSE)
            continue
        if _may_ask(connection):
            nursery.start_soon(_answered, connection, answer)
        else:
            connection.close()


def _may_ask(connection: trio.socket.SocketType) -> bool:
    _, uid, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return uid in (0, os.geteuid())


async def _answered(connection: trio.socket.SocketType, answer: Answer) -> None:
    with connection, trio.move_on_after(PATIENCE), contextlib.suppress(OSError):
        question = await _question(connection)
        if question is None:
            return
        try:
            said = json.dumps(await answer(question)).encode()
        except Exception:
            log.exception("internal error in the answer to %s", question.get("ask"))
            return
        left = memoryview(said)
        while left:
            left = left[await connection.send(left) :]


async def _question(connection: trio.socket.SocketType) -> Values | None:
    said = b""
    while not said.endswith(b"\n"):
        part = await connection.recv(LONGEST)
        said += part
        if not part or len(said) > LONGEST:
            return None
    with contextlib.suppress(ValueError, RecursionError):
        question = json.loads(said)
        return question if isinstance(question, dict) else None
    return None


def about(*paths: bytes) -> Values:
    """What a question has that is about absolute paths."""
    return {"paths": [base64.b64encode(path).decode() for path in paths]}


def paths_in(question: Values) -> list[bytes]:
    """The paths that a question is about; those that can be none are left out."""
    found, paths = [], question.get("paths")
    for path in paths if isinstance(paths, list) else ():
        with contextlib.suppress(ValueError, TypeError):
            found.append(base64.b64decode(path))
    return [os.path.normpath(path) for path in found if path.startswith(b"/") and b"\0" not in path]


def ask(device: str, owner: int | None, question: Values, seconds: float) -> Values | None:
    """Put a question to the daemon of a view that user ``owner`` mounted; None where it makes no sense to it.

    Raises ConnectionError where nobody is there to be asked by this user, and Silent for no answer within ``seconds``.
    """
    connection = connected(_name(device))
    if connection is None:
        raise ConnectionRefusedError
    with connection:
        pid, uid = peer(connection)
        if uid not in (0, owner):
            raise ConnectionRefusedError
        try:
            said = _said(connection, json.dumps(question).encode() + b"\n", time.monotonic() + seconds)
        except TimeoutError:
            raise Silent(pid) from None
    if not said:
        raise ConnectionResetError
    found: Values | None = json.loads(said)
    return found


def _said(connection: socket.socket, question: bytes, deadline: float) -> bytes:
    """All that comes in return. Raises TimeoutError, and ConnectionError."""
    connection.settimeout(max(0.01, deadline - time.monotonic()))
    connection.sendall(question)
    pieces: list[bytes] = []
    for piece in iter(partial(connection.recv, 1 << 16), b""):
        pieces.append(piece)
        connection.settimeout(max(0.01, deadline - time.monotonic()))
    return b"".join(pieces)


def _name(device: str) -> str:
    return f"{device}/questions"
