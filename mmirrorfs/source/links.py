"""Resolving symbolic links (``--follow-symlinks``), without ever entering a view.

Rule 1: a link counts as its target, wherever that is.
Rule 2: a link to a directory above itself, a dangling one, and one after DEEPEST others are not resolved.
Rule 3: a link into a view of ours counts as dangling, unless the source itself is in that view: a daemon that calls its
own mount deadlocks. The mount is recognised by its id before anything in it is accessed.

Blocking: in any thread but the event loop's. Raises OSError.
"""

import errno
import os
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from mmirrorfs.source.beneath import PATH_ONLY
from mmirrorfs.source.filesystems import VIEW_TYPE, mount_id, mounts

DEEPEST = 40
"""Links in one resolution, as in the kernel."""

Identity = tuple[int, int]


class _Walk:
    """The resolution of a path from a root; ``chain`` has the (dev, ino) of each directory in the path itself."""

    def __init__(self, root: bytes) -> None:
        self.fd = os.open(root, PATH_ONLY | os.O_DIRECTORY)
        self.chain: list[Identity] = []
        self._home = mount_id(self.fd)
        self._links = 0

    def close(self) -> None:
        os.close(self.fd)

    def step(self, name: bytes) -> None:
        """Resolve one component of the path, through all its links."""
        st = os.fstat(self.fd)
        self.chain.append((st.st_dev, st.st_ino))
        queue = deque([name])
        while queue:
            part = queue.popleft()
            if part in (b"", b"."):
                continue
            inner = os.open(part, PATH_ONLY, dir_fd=self.fd)
            self._refuse_views(inner)
            if not stat.S_ISLNK(os.fstat(inner).st_mode):
                self._move(inner)
                continue
            target = os.readlink(b"", dir_fd=inner)
            os.close(inner)
            self._links += 1
            if self._links > DEEPEST:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
            if target.startswith(b"/"):
                self._move(os.open(b"/", PATH_ONLY | os.O_DIRECTORY))
            queue.extendleft(reversed(target.split(b"/")))

    def loops(self) -> bool:
        """Whether the current directory is in ``chain``."""
        st = os.fstat(self.fd)
        return stat.S_ISDIR(st.st_mode) and (st.st_dev, st.st_ino) in self.chain

    def _move(self, fd: int) -> None:
        os.close(self.fd)
        self.fd = fd

    def _refuse_views(self, fd: int) -> None:
        number = mount_id(fd)
        if number != self._home and any(m.id == number and m.type == VIEW_TYPE for m in mounts()):
            os.close(fd)
            raise OSError(errno.ELOOP, "leads into a view")


@contextmanager
def following(root: bytes, path: bytes) -> Iterator[tuple[int, bool]]:
    """An O_PATH descriptor of the target of ``path``, and whether that is a directory above it."""
    walk = _Walk(root)
    try:
        loops = False
        for name in path.split(b"/") if path else ():
            if loops:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            walk.step(name)
            loops = walk.loops()
        yield walk.fd, loops
    finally:
        walk.close()


def open_following(root: bytes, path: bytes, flags: int) -> int:
    """Open the target of ``path``. Raises OSError: ELOOP for a directory above it."""
    with following(root, path) as (fd, loops):
        if loops:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        return os.open(b"/proc/self/fd/%d" % fd, flags & ~os.O_NOFOLLOW)


def stat_following(root: bytes, path: bytes) -> os.stat_result | None:
    """The stat result of the target of ``path``; None if it is dangling, not permitted, or a loop."""
    try:
        with following(root, path) as (fd, loops):
            return None if loops else os.fstat(fd)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES):
            return None
        raise
