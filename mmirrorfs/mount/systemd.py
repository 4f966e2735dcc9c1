"""sd_notify(3) without a library: a datagram to the socket that systemd names in NOTIFY_SOCKET."""

import contextlib
import os
import socket


def listens() -> bool:
    """Whether systemd wants to be told."""
    return bool(os.environ.get("NOTIFY_SOCKET"))


def notify(state: str) -> None:
    """Tell systemd, if it listens: READY=1, STATUS=text, STOPPING=1. Never raises."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.connect("\0" + address[1:] if address[0] == "@" else address)
        sender.send(state.encode())


def unit() -> str | None:
    """The unit that starts this process, and nothing else: a service that waits to be told, or a mount."""
    with contextlib.suppress(OSError), open("/proc/self/cgroup") as file:
        name = file.read().rstrip().rpartition("/")[2]
        if name.endswith(".mount") or (name.endswith(".service") and listens()):
            return name
    return None
