"""The client of mounted views: finds them in the mount table and sends requests to their daemons.

Rule 1: every request has a time limit, and so has every look-up of a path that may be on a view.
Rule 2: a request goes through the view's socket, which answers root and the user who mounted. For other users, and from
other network namespaces, an extended attribute has the part of the answer that is for everybody who may enter the view.
Rule 3: a dead view raises Dead; one that does not answer in time raises Problem.
Rule 4: another user's record is never turned into a command that runs as this user.
"""

import contextlib
import errno
import json
import os
import pwd
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

from mmirrorfs.cli.errors import FAILED, Problem
from mmirrorfs.cli.terminal import shell_quoted
from mmirrorfs.mount import runtime, table
from mmirrorfs.mount.controlclient import NoAnswer, send_query
from mmirrorfs.mount.reference import DEAD
from mmirrorfs.source.filesystems import VIEW_TYPE, Mount, mounts, unescaped
from mmirrorfs.text import json_path, printable

Values = dict[str, Any]

STATUS: Values = {"ask": "status"}
"""The request for a view's status."""
LOST = 1
"""Exit code where a source is lost or does not answer, or the view is dead."""
REQUEST_TIME = 10
"""Seconds that a daemon has to answer: some answers need the sources."""
MOST_REQUESTS = 32
"""Views that are waited for at the same time."""
ATTRIBUTE_TIME = 5
"""Seconds that reading an extended attribute may take."""


class Dead(Exception):
    """The view's daemon is gone. ``start`` is the command that starts it again, or None if that is unknown."""

    def __init__(self, mount: Mount) -> None:
        super().__init__(mount.where)
        self.where = mount.where
        self.start = _start_command(mount)

    def document(self, path: bytes) -> Values:
        """The answer to a request about a path, for JSON."""
        return {**json_path(path), "view": json_path(self.where), "state": "dead", "start": self.start}

    def lines(self) -> list[str]:
        """The same for a person."""
        return [
            f"{printable(self.where)} is dead: nothing serves it any more, all that is asked of it is an error.",
            f"Start it again: {self.start or 'as it was started; a dead view is replaced by that'}",
        ]


def views() -> list[Mount]:
    """All views of this mount namespace, the topmost at each mountpoint, sorted by path."""
    found = {mount.where: mount for mount in mounts() if mount.type == VIEW_TYPE}
    return [found[where] for where in sorted(found)]


def view_at(path: str) -> tuple[bytes, Mount | None]:
    """The view mounted on a path, or on what it resolves to, as (mountpoint, mount or None)."""
    given = os.path.abspath(os.fsencode(path))
    paths = [given] if table.view_at(given) else [*resolved(given), given]
    mount = next(filter(None, map(table.view_at, paths)), None)
    return (paths[0] if mount is None else mount.where), mount


def not_mounted(where: bytes) -> Problem:
    """The error for a path on which no view is mounted."""
    return Problem(f"no view is mounted on {printable(where)}", FAILED)


def resolved(path: bytes) -> list[bytes]:
    """The path with links resolved in all but its last component, and in all of it. Empty if that does not answer."""
    return [one for one in table.run_probe(partial(_resolve, path)).split(b"\0") if one]


def _resolve(path: bytes) -> bytes:
    """Probe: both, separated by a NUL."""
    above = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    return b"\0".join((above, os.path.realpath(above)))


def request(mount: Mount, question: Values) -> Values | None:
    """Send a request to a view's daemon; returns None if the daemon does not know it.

    Raises ConnectionError where the socket cannot be used, and Problem where the daemon does not answer.
    """
    try:
        return send_query(mount.device, table.owner_of(mount), question, REQUEST_TIME)
    except NoAnswer as silent:
        shown = printable(mount.where)
        raise Problem(f"the view on {shown} does not answer: {_process_state(silent.pid)}", FAILED) from None


def request_all(mounts: Sequence[Mount], question: Values) -> list[Callable[[], Values | None]]:
    """Send a request to several views at once, so that those that do not answer take REQUEST_TIME together.

    Returns for each view what gives its answer, or raises, as ``request`` would.
    """
    with ThreadPoolExecutor(min(len(mounts), MOST_REQUESTS) or 1) as pool:
        return [pool.submit(request, mount, question).result for mount in mounts]


def request_with_fallback(
    mount: Mount, question: Values, path: bytes, sent: Callable[[], Values | None] | None = None
) -> Values:
    """Send a request; where the socket cannot be used, read the attribute of ``path`` that is named like the request.

    ``sent`` gives the answer to one that was sent already. Raises Dead, and Problem for no answer.
    """
    try:
        answer = request(mount, question) if sent is None else sent()
    except ConnectionError:
        answer = _attribute(mount, path, question["ask"])
    if answer is None:
        raise Problem(f"the view on {printable(mount.where)} is of another version, and cannot be asked", FAILED)
    return answer


def _attribute(mount: Mount, path: bytes, name: str) -> Values:
    shown, user = printable(mount.where), _owner_name(mount)
    try:
        probe = table.start_probe(partial(table.label, path, name), ATTRIBUTE_TIME)
        answer: Values = json.loads(table.finish_probe(probe, ATTRIBUTE_TIME))
        return answer
    except TimeoutError:
        raise Problem(f"the view on {shown} does not answer", FAILED) from None
    except OSError as error:
        if error.errno in DEAD or (error.errno == errno.EACCES and _has_ended(mount)):
            raise Dead(mount) from None
        if error.errno == errno.EACCES:
            message = (
                f"the view on {shown} lets nobody in but {user}, who mounted it without allow_other: ask as {user}"
            )
        elif error.errno == errno.ENODATA:
            message = f"the view on {shown} is of an earlier version, and cannot be asked that: mount it again"
        elif os.geteuid() in (0, table.owner_of(mount)):
            message = f"the view on {shown} cannot be asked: {error.strerror}"
        else:
            message = f"{printable(path)} is not there, or no file or directory: only root and {user} may ask why"
        raise Problem(message, FAILED) from None


def _owner_name(mount: Mount) -> str:
    owner = table.owner_of(mount)
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(owner).pw_name if owner is not None else "nobody"
    return f"user {owner}"


def _process_state(pid: int) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        if file.read().rpartition(b") ")[2].startswith((b"T", b"t")):
            return f"process {pid} is stopped (kill -CONT {pid})"
    return f"process {pid} is busy, or waits for something"


def _record(mount: Mount) -> Values:
    """What the daemon recorded at its start; empty if nothing is there."""
    owner = table.owner_of(mount)
    return (runtime.kept(mount.where, owner) if owner is not None else None) or {}


def _has_ended(mount: Mount) -> bool:
    """Whether the recorded process is gone. From a user who may not enter, the kernel hides that a view is dead."""
    pid = _record(mount).get("pid")
    return isinstance(pid, int) and not os.path.exists(f"/proc/{pid}")


def _start_command(mount: Mount) -> str | None:
    """The shell command that mounts a view again, as the user who mounted it; None if nothing was recorded."""
    record, owner = _record(mount), table.owner_of(mount)
    words, unit = record.get("line"), record.get("unit")
    if isinstance(unit, str):
        command = ["systemctl", "restart", unit]
    elif mount.where in [line.mountpoint for line in fstab_lines()]:
        command = ["mount", os.fsdecode(mount.where)]
    elif isinstance(words, list) and all(isinstance(word, str) for word in words):
        command = words
    else:
        return None
    if owner != os.geteuid():  # who may have written the record himself
        command = ["sudo", *([] if owner == 0 else ["-u", f"#{owner}"]), *command]
    return " ".join(map(shell_quoted, command))


class FstabLine(NamedTuple):
    """A line of fstab: the source field, the mountpoint with links resolved, the options."""

    sources: bytes
    mountpoint: bytes
    options: bytes


def fstab_lines() -> list[FstabLine]:
    """The views in /etc/fstab."""
    with contextlib.suppress(OSError), open("/etc/fstab", "rb") as file:
        lines = [line.split() for line in file if not line.lstrip().startswith(b"#")]
        own = [words for words in lines if len(words) > 2 and words[2] in (VIEW_TYPE, b"mmirrorfs")]
        fields = [[unescaped(word) for word in words] for words in own]
        return [FstabLine(sources, table.resolved(where), b"".join(rest[:1])) for sources, where, _, *rest in fields]
    return []
