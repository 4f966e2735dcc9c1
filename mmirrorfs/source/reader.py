"""Every system call on files inside one source: attributes, directories, contents, links, extended attributes.

Rule 1: paths are bytes relative to the root, which is b"".
Rule 2: functions block; with ``cached`` they never do on a local filesystem, and raise BlockingIOError on a cache miss:
they open with RESOLVE_CACHED.
Rule 3: no descriptor outlives a call, except those that are returned.

Any thread may call it; ``source.Source`` decides which one. Raises OSError.
"""

import errno
import logging
import os
import stat as _stat
import sys
from collections.abc import Callable

from mmirrorfs.attributes import DIR, FILE, LINK, Attributes, Kind, bare
from mmirrorfs.source.beneath import CONTENT, DIRECTORY, PATH_ONLY, open_at, open_beneath
from mmirrorfs.source.exclude import Excluded, nothing_excluded
from mmirrorfs.source.freshness import WallClock
from mmirrorfs.source.links import open_following, stat_following
from mmirrorfs.text import printable

log = logging.getLogger(__name__)

CODEC = sys.getfilesystemencoding()


class NotAFile(OSError):
    """Not a regular file."""


def attributes(st: os.stat_result) -> Attributes:
    """A stat result as our value."""
    fields = (
        st.st_mode,
        st.st_nlink,
        st.st_uid,
        st.st_gid,
        st.st_rdev,
        st.st_size,
        st.st_blocks,
        st.st_atime_ns,
        st.st_mtime_ns,
        st.st_ctime_ns,
        st.st_dev,
        st.st_ino,
    )
    return tuple.__new__(Attributes, fields)  # the constructor takes 50 % longer


def names_in(path: bytes) -> list[bytes]:
    """The names in a directory outside any source, without moving its access time where permitted."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOATIME)
    except PermissionError:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return [os.fsencode(name) for name in os.listdir(fd)]
    finally:
        os.close(fd)


class Reader:
    """The files of one source. ``root`` is absolute and free of links.

    With ``follow`` links are resolved (``source.links``). ``reshaped``: directories are shown without some of their
    entries or with others, so st_nlink would be wrong. ``moves_atime`` is set once a file was opened without O_NOATIME,
    which only the owner may use (open(2)). ``answered`` is called for each response in a call that makes many requests.
    ``mark`` is called with each open directory before it is listed, and returns its event key, b"" if it has none.
    """

    def __init__(
        self,
        root: bytes,
        excluded: Excluded = nothing_excluded,
        follow: bool = False,
        answered: Callable[[], None] = lambda: None,
        mark: Callable[[int], bytes] = lambda fd: b"",
    ) -> None:
        self.root = root
        self.mark = mark
        self.answered = answered
        self.excluded = excluded
        self.follow = follow
        self.reshaped = follow or excluded is not nothing_excluded
        self.moves_atime = False
        self.wall_clock = WallClock()

    def stat(self, path: bytes, cached: bool = False) -> Attributes:
        """The attributes of ``path``."""
        fd = self._open(path, PATH_ONLY, cached)
        try:
            found = self.shown(os.fstat(fd))
        finally:
            os.close(fd)
        return self.shown_link(path, found, cached) if self.follow and _stat.S_ISLNK(found.mode) else found

    def stat_several(self, directory: bytes, names: list[bytes], cached: bool = False) -> list[Attributes | OSError]:
        """The attributes of some names in one directory, or the error of each."""
        fd = self._open(directory, PATH_ONLY | os.O_DIRECTORY, cached)
        try:
            return [self.stat_at(fd, directory, name, cached) for name in names]
        finally:
            os.close(fd)

    def stat_at(self, directory_fd: int, directory: bytes, name: bytes, cached: bool = False) -> Attributes | OSError:
        """The attributes of a name in an open directory, whose path is ``directory``; or the error."""
        self.answered()
        try:
            found = self.shown(self._stat_cached(directory_fd, name) if cached else _stat_of(directory_fd, name))
            if self.follow and _stat.S_ISLNK(found.mode):
                return self.shown_link(directory + b"/" + name if directory else name, found, cached)
        except OSError as error:
            return error
        return found

    @staticmethod
    def _stat_cached(directory_fd: int, name: bytes) -> os.stat_result:
        fd = open_at(directory_fd, name, PATH_ONLY, True)
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def shown(self, st: os.stat_result) -> Attributes:
        """Attributes as a view shows them: with an st_nlink of 1 for a ``reshaped`` directory."""
        found = attributes(st)
        return found._replace(nlink=1) if self.reshaped and _stat.S_ISDIR(found.mode) else found

    def shown_link(self, path: bytes, own: Attributes, cached: bool = False) -> Attributes:
        """The attributes of a link if links are followed: those of its target, its ``own`` if it is dangling."""
        if cached:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        target = stat_following(self.root, path)
        return own if target is None else self.shown(target)

    def attributes_of(self, directory: bytes, name: bytes, entry: "os.DirEntry[str]") -> Attributes | None:
        """The attributes of an entry; bare ones if they cannot be read.

        None if it was removed, or if its attributes cannot be read and it is neither directory, file nor link.
        """
        self.answered()
        try:
            found = attributes(entry.stat(follow_symlinks=False))
        except FileNotFoundError:
            return None
        except OSError:
            kind = _kind(entry)
            return bare(kind) if kind is not None else None
        if not self.reshaped:
            return found
        if _stat.S_ISDIR(found.mode):
            return found._replace(nlink=1)
        if self.follow and _stat.S_ISLNK(found.mode):
            return self.shown_link(directory + b"/" + name if directory else name, found)
        return found

    def open_directory(self, path: bytes) -> int:
        """A descriptor to list ``path`` with."""
        return self._open_quietly(path, DIRECTORY, False)

    def open_content(self, path: bytes, cached: bool = False) -> tuple[int, Attributes]:
        """A descriptor to read a regular file with, and its attributes. Raises NotAFile for any other type."""
        fd = self._open_quietly(path, CONTENT, cached)
        found = attributes(_fstat(fd))
        if _stat.S_ISREG(found.mode):
            return fd, found
        os.close(fd)
        raise NotAFile(errno.EIO, "not a regular file any more", path)

    def first_missing(self, path: bytes, kind: Kind) -> bytes | None:
        """The shortest prefix of ``path`` that is no directory, or ``path`` if not of that ``kind``; else None."""
        ends = [at for at, letter in enumerate(path) if letter == 0x2F] + [len(path)]
        for end in ends:
            try:
                if self.stat(path[:end]).kind != (DIR if end < len(path) else kind):
                    return path[:end]
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    raise
                return path[:end]
        return None

    def readlink(self, path: bytes) -> bytes:
        """The target of a symbolic link."""
        fd = self._open(path, PATH_ONLY, False)
        try:
            return os.readlink(b"", dir_fd=fd)
        finally:
            os.close(fd)

    def getxattr(self, path: bytes, name: bytes) -> bytes:
        """One extended attribute; ENODATA where it is not set."""
        fd = self._open_shown(path)
        try:
            return os.getxattr(b"/proc/self/fd/%d" % fd, name)  # fgetxattr refuses O_PATH
        finally:
            os.close(fd)

    def listxattr(self, path: bytes) -> list[bytes]:
        """The names of the extended attributes."""
        fd = self._open_shown(path)
        try:
            return [os.fsencode(name) for name in os.listxattr(b"/proc/self/fd/%d" % fd)]
        finally:
            os.close(fd)

    def statvfs(self) -> tuple[int, os.statvfs_result]:
        """The filesystem of the root: its device number and its statistics."""
        fd = self._open(b"", PATH_ONLY | os.O_DIRECTORY, False)
        try:
            return os.fstat(fd).st_dev, os.fstatvfs(fd)
        finally:
            os.close(fd)

    def _open_quietly(self, path: bytes, flags: int, cached: bool) -> int:
        """Open for reading, with O_NOATIME where permitted."""
        try:
            return self._open(path, flags | os.O_NOATIME, cached)
        except PermissionError as error:
            if error.errno != errno.EPERM:
                raise
        fd = self._open(path, flags, cached)
        if not self.moves_atime:
            self.moves_atime = True
            log.info(
                "access times in %s move when its files are read: only their owner may prevent it", printable(self.root)
            )
        return fd

    def _open(self, path: bytes, flags: int, cached: bool) -> int:
        """Open without following links; if links are to be followed and there is one, resolve it."""
        try:
            return open_beneath(self.root, path, flags, cached)
        except OSError as error:
            if not self.follow or error.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise
        if cached:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return self._open_following(path, flags)

    def _open_following(self, path: bytes, flags: int) -> int:
        """Open through links; a dangling last one itself, if ``flags`` have O_PATH."""
        try:
            return open_following(self.root, path, flags)
        except OSError:
            above, _, name = path.rpartition(b"/")
            if not flags & os.O_PATH or flags & os.O_DIRECTORY or not above:
                raise
            fd = open_following(self.root, above, PATH_ONLY | os.O_DIRECTORY)
            try:
                return os.open(name, flags, dir_fd=fd)
            finally:
                os.close(fd)

    def _open_shown(self, path: bytes) -> int:
        fd = self._open(path, PATH_ONLY, False)
        if not self.follow or not _stat.S_ISLNK(_fstat(fd).st_mode):
            return fd
        os.close(fd)
        return self._open_following(path, PATH_ONLY)


def _stat_of(directory_fd: int, name: bytes) -> os.stat_result:
    return os.stat(name, dir_fd=directory_fd, follow_symlinks=False)


def _fstat(fd: int) -> os.stat_result:
    """fstat(2); closes the descriptor if it fails, as it may on a network filesystem."""
    try:
        return os.fstat(fd)
    except BaseException:
        os.close(fd)
        raise


def _kind(entry: "os.DirEntry[str]") -> Kind | None:
    """The type that the directory entry has, if it is one of these three."""
    if entry.is_symlink():
        return LINK
    if entry.is_dir(follow_symlinks=False):
        return DIR
    return FILE if entry.is_file(follow_symlinks=False) else None
