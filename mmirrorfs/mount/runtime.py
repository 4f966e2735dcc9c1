"""The state file of a mounted view, in the runtime directory: how to start the view again if its daemon has died.

Rule 1: it is in the runtime directory of the mounting user (``/run/mmirrorfs`` for root, else
``$XDG_RUNTIME_DIR/mmirrorfs``), a tmpfs. Without such a directory there is no state file.
Rule 2: nobody else can read it: command lines may be private.
Rule 3: it is written when the view is mounted and removed when it ends cleanly.

Any thread; system calls on the runtime directory only.
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
"""Bytes of a state file that are read at the most."""


def directory(uid: int) -> bytes | None:
    """The runtime directory of a user; None if there is none."""
    if uid == 0:
        return b"/run/mmirrorfs"
    own = os.environb.get(b"XDG_RUNTIME_DIR") if uid == os.geteuid() else None
    for place in (own, b"/run/user/%d" % uid):
        with contextlib.suppress(OSError):
            if place and os.stat(place).st_uid == uid:
                return os.path.join(place, b"mmirrorfs")
    return None


def file_of(mountpoint: bytes, uid: int, kind: bytes) -> bytes | None:
    """The path of a view's file with suffix ``kind``: readable, and unique for the mountpoint."""
    parent = directory(uid)
    name = re.sub(rb"[^A-Za-z0-9._-]", b"_", os.path.basename(mountpoint))[-64:]
    return parent and os.path.join(parent, name + b"-" + hashlib.sha256(mountpoint).hexdigest()[:12].encode() + kind)


def keep(mountpoint: bytes, values: Values) -> None:
    """Write the state file of the view that this process serves. On failure only a debug message."""
    path = file_of(mountpoint, os.geteuid(), b".json")
    if path is None:
        return
    try:
        parent = os.path.dirname(path)
        ensure_directory(parent)
        _remove_stale(parent)
        with open(path, "w", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o600)) as file:
            json.dump({**values, **json_path(mountpoint), "pid": os.getpid()}, file)
    except OSError as error:
        log.debug("no state file of the view in %r: %s", path, error.strerror)


def _remove_stale(parent: bytes) -> None:
    """Remove the files of views that are no longer mounted and whose process is gone."""
    mounted = {mount.where for mount in mounts()}
    for name in os.listdir(parent):
        path = os.path.join(parent, name)
        state = _read(path, os.geteuid()) if name.endswith(b".json") else None
        if state is not None and "path" in state and path_of(state) not in mounted and not _is_running(state):
            _remove(path[: -len(b".json")])


def _is_running(state: Values) -> bool:
    return os.path.exists(f"/proc/{state.get('pid')}")


def _remove(path: bytes) -> None:
    for kind in (b".json", b".log", b".log.1"):
        with contextlib.suppress(OSError):
            os.unlink(path + kind)


def ensure_directory(place: bytes) -> None:
    """Create the directory with mode 0700. Raises OSError if it belongs to, or is writable by, another user."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(place, 0o700)
    st = os.stat(place, follow_symlinks=False)
    if st.st_uid != os.geteuid() or st.st_mode & 0o022:
        raise PermissionError(None, "it is somebody else's, or others may write to it", place)


def kept(mountpoint: bytes, uid: int) -> Values | None:
    """The state file of a view that user ``uid`` mounted; None if there is none that may be read."""
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
    """Remove the state file and logs of the view, if this process wrote them."""
    state = kept(mountpoint, os.geteuid())
    if state is None or state.get("pid") != os.getpid():
        return
    path = file_of(mountpoint, os.geteuid(), b"") or b""
    _remove(path)
    with contextlib.suppress(OSError):  # not empty while other views are mounted
        os.rmdir(os.path.dirname(path))
