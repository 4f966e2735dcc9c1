"""sd_notify(3) without a library: a datagram to the socket in NOTIFY_SOCKET. Any thread; raises nothing."""

import contextlib
import os
import socket


def listens() -> bool:
    """Whether systemd expects notifications."""
    return bool(os.environ.get("NOTIFY_SOCKET"))


def notify(state: str) -> None:
    """Notify systemd, if it listens: READY=1, STATUS=text, STOPPING=1. Never blocks."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.connect("\0" + address[1:] if address[0] == "@" else address)
        sender.send(state.encode())


def unit() -> str | None:
    """The unit that runs this process alone: a Type=notify service, or a mount; else None."""
    with contextlib.suppress(OSError), open("/proc/self/cgroup") as file:
        name = file.read().rstrip().rpartition("/")[2]
        if name.endswith(".mount") or (name.endswith(".service") and listens()):
            return name
    return None
