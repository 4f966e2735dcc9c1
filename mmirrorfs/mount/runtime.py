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
from typing import Any

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
        made(os.path.dirname(path))
        with open(path, "w", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o600)) as file:
            json.dump({**values, "pid": os.getpid()}, file)
    except OSError as error:
        log.debug("no note of the view in %r: %s", path, error.strerror)


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
    with contextlib.suppress(OSError, ValueError, RecursionError):
        if path is not None:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(fd, "rb") as file:
                if os.fstat(fd).st_uid == uid:
                    values = json.loads(file.read(LARGEST))
                    return values if isinstance(values, dict) else None
    return None


def forget(mountpoint: bytes) -> None:
    """Take the note away, and what else there is of the view, if it is this process's."""
    note = kept(mountpoint, os.geteuid())
    if note is None or note.get("pid") != os.getpid():
        return
    for kind in (b".json", b".log", b".log.1"):
        path = file_of(mountpoint, os.geteuid(), kind)
        with contextlib.suppress(OSError):
            os.unlink(path or b"")
    with contextlib.suppress(OSError):  # others may have notes in there
        os.rmdir(os.path.dirname(path or b""))
