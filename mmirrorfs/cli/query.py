"""Asking live views: by their sockets, else by extended attributes. Always with a time limit.

Where the socket may not be used, by a user who is neither root nor the one who mounted, or is not to be had, from
another network namespace, an attribute has the part of the answer that everybody may have who may enter the view.
"""

import contextlib
import errno
import json
import os
import pwd
import shlex
from functools import partial
from typing import Any, NamedTuple

from mmirrorfs.cli.problem import FAILED, Problem
from mmirrorfs.mount import runtime, table
from mmirrorfs.mount.control import Silent, ask
from mmirrorfs.mount.reference import DEAD
from mmirrorfs.source.filesystems import VIEW_TYPE, Mount, mounts, unescaped
from mmirrorfs.text import json_path, printable

Values = dict[str, Any]

LOST = 1
"""Exit code where a source is lost or does not answer, or nothing serves the view any more."""
SECONDS = 10
"""That a daemon has to answer: it asks its sources for some of them."""
LABEL = 5
"""Seconds that an extended attribute may take."""


class Dead(Exception):
    """Nothing serves the view any more. ``start`` is the line that starts it again, where that is known."""

    def __init__(self, mount: Mount) -> None:
        super().__init__(mount.where)
        self.where = mount.where
        self.start = _start(mount)

    def document(self, path: bytes) -> Values:
        """The answer to a question about a path."""
        return {**json_path(path), "view": json_path(self.where), "state": "dead", "start": self.start}

    def words(self) -> list[str]:
        """The same for a person."""
        return [
            f"{printable(self.where)} is dead: nothing serves it any more, all that is asked of it is an error.",
            f"Start it again: {self.start or 'as it was started; a dead view is replaced by that'}",
        ]


def views() -> list[Mount]:
    """All views of this mount namespace, the topmost at each mountpoint, by their paths."""
    found = {mount.where: mount for mount in mounts() if mount.type == VIEW_TYPE}
    return [found[where] for where in sorted(found)]


def put(mount: Mount, question: Values) -> Values | None:
    """Put a question to a view's daemon; None where it makes no sense to it. ConnectionError where that cannot be done.

    Raises Problem where it does not answer.
    """
    try:
        return ask(mount.device, table.owner_of(mount), question, SECONDS)
    except Silent as silent:
        raise Problem(f"the view on {printable(mount.where)} does not answer: {_state(silent.pid)}", FAILED) from None


def put_or_read(mount: Mount, question: Values, path: bytes) -> Values:
    """The same; where that cannot be done, an attribute of ``path`` with the name of the question.

    Raises Problem for no answer, and Dead.
    """
    try:
        found = put(mount, question)
    except ConnectionError:
        found = _label(mount, path, question["ask"])
    if found is None:
        raise Problem(f"the view on {printable(mount.where)} is of another version, and cannot be asked", FAILED)
    return found


def _label(mount: Mount, path: bytes, name: str) -> Values:
    shown, user = printable(mount.where), _user(mount)
    try:
        probe = table.start_probe(partial(table.label, path, name), LABEL)
        found: Values = json.loads(table.finish_probe(probe, LABEL))
        return found
    except TimeoutError:
        raise Problem(f"the view on {shown} does not answer", FAILED) from None
    except OSError as error:
        if error.errno in DEAD or (error.errno == errno.EACCES and _has_ended(mount)):
            raise Dead(mount) from None
        if error.errno == errno.EACCES:
            what = f"the view on {shown} lets nobody in but {user}, who mounted it without allow_other: ask as {user}"
        elif error.errno == errno.ENODATA:
            what = f"the view on {shown} is of an earlier version, and cannot be asked that: mount it again"
        elif os.geteuid() in (0, table.owner_of(mount)):
            what = f"the view on {shown} cannot be asked: {error.strerror}"
        else:
            what = f"{printable(path)} is not there, or no file or directory: only root and {user} may ask why"
        raise Problem(what, FAILED) from None


def _user(mount: Mount) -> str:
    owner = table.owner_of(mount)
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(owner).pw_name if owner is not None else "nobody"
    return f"user {owner}"


def _state(pid: int) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        if file.read().rpartition(b") ")[2].startswith((b"T", b"t")):
            return f"process {pid} is stopped (kill -CONT {pid})"
    return f"process {pid} is busy, or waits for something"


def _note(mount: Mount) -> Values:
    owner = table.owner_of(mount)
    return (runtime.kept(mount.where, owner) if owner is not None else None) or {}


def _has_ended(mount: Mount) -> bool:
    """Whether the process that was noted is gone: the kernel tells a stranger no more than that he may not enter."""
    pid = _note(mount).get("pid")
    return isinstance(pid, int) and not os.path.exists(f"/proc/{pid}")


def _start(mount: Mount) -> str | None:
    """The line that mounts a view again, as the one who mounted it."""
    note, owner = _note(mount), table.owner_of(mount)
    words, unit = note.get("line"), note.get("unit")
    if isinstance(unit, str):
        found = ["systemctl", "restart", unit]
    elif mount.where in [line.mountpoint for line in fstab_lines()]:
        found = ["mount", os.fsdecode(mount.where)]
    elif isinstance(words, list) and all(isinstance(word, str) for word in words):
        found = words
    else:
        return None
    if owner != os.geteuid():  # he may have written the note himself: nobody else is to run what it says
        found = ["sudo", *([] if owner == 0 else ["-u", f"#{owner}"]), *found]
    return " ".join(map(quoted, found))


def quoted(word: str) -> str:
    """A word for a shell, with nothing in it that could do anything to a terminal."""
    if word.isprintable():
        return shlex.quote(word)
    plain = [char if char.isprintable() and char not in "\\'" else _bytes(char) for char in word]
    return f"$'{''.join(plain)}'"


def _bytes(char: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(char))


class Line(NamedTuple):
    """A line of fstab: the sources as one field, the mountpoint without links, the options."""

    sources: bytes
    mountpoint: bytes
    options: bytes


def fstab_lines() -> list[Line]:
    """The views in /etc/fstab."""
    with contextlib.suppress(OSError), open("/etc/fstab", "rb") as file:
        lines = [line.split() for line in file if not line.lstrip().startswith(b"#")]
        own = [words for words in lines if len(words) > 2 and words[2] in (VIEW_TYPE, b"mmirrorfs")]
        fields = [[unescaped(word) for word in words] for words in own]
        return [Line(what, table.resolved(where), b"".join(rest[:1])) for what, where, _, *rest in fields]
    return []
