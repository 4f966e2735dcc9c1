"""What is kept of a view while it is mounted, outside of it, for when its daemon is dead: how it is started again.

In the runtime directory of the user who mounts (``/run/mmirrorfs`` for root, ``$XDG_RUNTIME_DIR/mmirrorfs`` else),
which is in memory and empty after a restart. Nobody else may read it: the words of a command may be private. Where
there is none, nothing is kept. Written when the view is mounted, taken away when it ends in order.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import stat
from typing import Any

from mmirrorfs.source.filesystems import mounts
from mmirrorfs.text import json_path, path_of

log = logging.getLogger(__name__)

Values = dict[str, Any]

LARGEST = 1 << 20
"""Bytes of a note that are read at the most."""


def directory(uid: int) -> bytes | None:
    """Where a user's notes are; None where there is no place for them."""
    if uid == 0:
        return b"/run/mmirrorfs"
    own = os.environb.get(b"XDG_RUNTIME_DIR") if uid == os.geteuid() else None
    for place in (own, b"/run/user/%d" % uid):
        with contextlib.suppress(OSError):
            if place and os.stat(place).st_uid == uid:
                return os.path.join(place, b"mmirrorfs")
    return None


def file_of(mountpoint: bytes, uid: int, kind: bytes) -> bytes | None:
    """The file of a view, by its ``kind``: one that a person recognises, and no two views at different places share."""
    place = directory(uid)
    name = re.sub(rb"[^A-Za-z0-9._-]", b"_", os.path.basename(mountpoint))[-64:]
    return place and os.path.join(place, name + b"-" + hashlib.sha256(mountpoint).hexdigest()[:12].encode() + kind)


def keep(mountpoint: bytes, values: Values) -> None:
    """Take a note of the view that this process serves."""
    path = file_of(mountpoint, os.geteuid(), b".json")
    if path is None:
        return
    try:
        place = os.path.dirname(path)
        made(place)
        _tidy(place)
        with open(path, "w", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o600)) as file:
            json.dump({**values, **json_path(mountpoint), "pid": os.getpid()}, file)
    except OSError as error:
        log.debug("no note of the view in %r: %s", path, error.strerror)


def _tidy(place: bytes) -> None:
    """Take away what is left of views that are not mounted any more, and were not ended in order."""
    there = {mount.where for mount in mounts()}
    for name in os.listdir(place):
        path = os.path.join(place, name)
        note = _read(path, os.geteuid()) if name.endswith(b".json") else None
        if note is not None and "path" in note and path_of(note) not in there and not _lives(note):
            _remove(path[: -len(b".json")])


def _lives(note: Values) -> bool:
    return os.path.exists(f"/proc/{note.get('pid')}")


def _remove(path: bytes) -> None:
    for kind in (b".json", b".log", b".log.1"):
        with contextlib.suppress(OSError):
            os.unlink(path + kind)


def made(place: bytes) -> None:
    """Have the directory, for its user alone. Raises OSError where somebody else's is there."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(place, 0o700)
    st = os.stat(place, follow_symlinks=False)
    if st.st_uid != os.geteuid() or st.st_mode & 0o022:
        raise PermissionError(None, "it is somebody else's, or others may write to it", place)


def kept(mountpoint: bytes, uid: int) -> Values | None:
    """The note of a view that user ``uid`` mounted; None where there is none, or it is nobody's business."""
    path = file_of(mountpoint, uid, b".json")
    return _read(path, uid) if path is not None else None


def _read(path: bytes, uid: int) -> Values | None:
    with contextlib.suppress(OSError, ValueError, RecursionError):
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            st = os.fstat(fd)
            if st.st_uid == uid and stat.S_ISREG(st.st_mode):
                values = json.loads(file.read(LARGEST))
                return values if isinstance(values, dict) else None
    return None


def forget(mountpoint: bytes) -> None:
    """Take the note away, and what else there is of the view, if it is this process's."""
    note = kept(mountpoint, os.geteuid())
    if note is None or note.get("pid") != os.getpid():
        return
    path = file_of(mountpoint, os.geteuid(), b"") or b""
    _remove(path)
    with contextlib.suppress(OSError):  # others may have notes in there
        os.rmdir(os.path.dirname(path))
