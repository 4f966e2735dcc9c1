"""Following symbolic links, for those who asked for it, without ever walking into a view.

Rule 1: a link counts as what it points to, wherever that is.
Rule 2: a link back to a directory that it lies in is no directory; nor is a dangling link, or one of more than
DEEPEST links in a row.
Rule 3: a link into a view of ours (but for one that the source itself lies in) is as good as dangling: a daemon that
asks its own mount waits for itself. The mount is recognised before anything in it is touched.

Blocking: never called on the event loop, any thread will do. Raises OSError.
"""

import errno
import os
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from mmirrorfs.source.beneath import PATH_ONLY
from mmirrorfs.source.filesystems import VIEW_TYPE, mounts

DEEPEST = 40
"""Links in a row, as in the kernel."""

Identity = tuple[int, int]


class _Walk:
    """A walk from a root along a path; ``chain`` holds (dev, ino) of each directory of the path itself."""

    def __init__(self, root: bytes) -> None:
        self.fd = os.open(root, PATH_ONLY | os.O_DIRECTORY)
        self.chain: list[Identity] = []
        self._home = mount_id(self.fd)
        self._links = 0

    def close(self) -> None:
        os.close(self.fd)

    def step(self, name: bytes) -> None:
        """Go on by one component of the path, through all the links that it stands for."""
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
        """Whether this is one of the directories that the path leads through."""
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


def mount_id(fd: int) -> int:
    """The number of the mount that a descriptor is on: asks the kernel, never the filesystem."""
    with open(f"/proc/self/fdinfo/{fd}") as info:
        return next(int(line.split()[1]) for line in info if line.startswith("mnt_id"))


@contextmanager
def following(root: bytes, path: bytes) -> Iterator[tuple[int, bool]]:
    """An O_PATH descriptor of what ``path`` leads to, and whether that is a directory that the path lies in."""
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
    """Open what ``path`` leads to. ELOOP for a directory that the path lies in."""
    with following(root, path) as (fd, loops):
        if loops:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        return os.open(b"/proc/self/fd/%d" % fd, flags & ~os.O_NOFOLLOW)


def stat_following(root: bytes, path: bytes) -> os.stat_result | None:
    """What ``path`` leads to; None where that is nothing, nothing that may be asked, or a loop."""
    try:
        with following(root, path) as (fd, loops):
            return None if loops else os.fstat(fd)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES):
            return None
        raise
