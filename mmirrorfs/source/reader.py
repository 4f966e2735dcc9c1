"""Reading one source: attributes, listings, contents, links, extended attributes.

Owns every system call on what lies in a source. Plain blocking functions that raise OSError: who may wait for
them, and where, is decided above (``source.Source``). Paths are bytes relative to the root; the root is b"".
``cached`` asks for what is in memory only: BlockingIOError where that would not do. No descriptor outlives a call,
but for the ones that the caller asked for. Any thread may call this.
"""

import errno
import os
import stat as _stat
import sys
from collections.abc import Callable, Iterator
from itertools import chain, islice

from mmirrorfs.source.beneath import CONTENT, DIRECTORY, PATH_ONLY, open_beneath
from mmirrorfs.source.links import open_following, stat_following
from mmirrorfs.tree import Attributes

Excluded = Callable[[bytes], bool]
"""Whether a name is left out."""

Listed = tuple[bytes, Attributes]

CODEC = sys.getfilesystemencoding()


class NotAFile(OSError):
    """Something else is there by now."""


def attributes(st: os.stat_result) -> Attributes:
    """What the kernel told of a file, as a value of ours."""
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
    return tuple.__new__(Attributes, fields)  # the class's own way takes half as long again


def nothing_excluded(name: bytes) -> bool:
    """The default: every name is shown."""
    return False


class Reader:
    """One source's files. ``root`` is absolute and free of links, and may be set anew when the source moved.

    With ``follow`` a link counts as what it points to (``source.links``). ``reshaped`` says that directories are not
    shown with all that is in them, so that their number of links would be wrong.
    """

    def __init__(self, root: bytes, excluded: Excluded = nothing_excluded, follow: bool = False) -> None:
        self.root = root
        self.excluded = excluded
        self.follow = follow
        self.reshaped = follow or excluded is not nothing_excluded

    def stat(self, path: bytes, cached: bool = False) -> Attributes:
        """The attributes of ``path``."""
        fd = self._open(path, PATH_ONLY, cached)
        try:
            found = self.shown(os.fstat(fd))
        finally:
            os.close(fd)
        return self.shown_link(path, found, cached) if self.follow and _stat.S_ISLNK(found.mode) else found

    def stat_several(self, directory: bytes, names: list[bytes], cached: bool = False) -> list[Attributes | None]:
        """The attributes of some names in one directory; None for one that is not there."""
        fd = self._open(directory, PATH_ONLY | os.O_DIRECTORY, cached)
        try:
            return [self._stat_at(fd, directory, name, cached) for name in names]
        finally:
            os.close(fd)

    def _stat_at(self, fd: int, directory: bytes, name: bytes, cached: bool) -> Attributes | None:
        try:
            found = self.shown(os.stat(name, dir_fd=fd, follow_symlinks=False))
        except (FileNotFoundError, NotADirectoryError):
            return None
        if self.follow and _stat.S_ISLNK(found.mode):
            return self.shown_link(directory + b"/" + name if directory else name, found, cached)
        return found

    def shown(self, st: os.stat_result) -> Attributes:
        """A file's attributes as a view shows them: a number of links that does not count what is shown becomes 1."""
        found = attributes(st)
        return found._replace(nlink=1) if self.reshaped and _stat.S_ISDIR(found.mode) else found

    def shown_link(self, path: bytes, own: Attributes, cached: bool = False) -> Attributes:
        """A link's attributes where links are followed: of what it points to, its ``own`` where that is nothing."""
        if cached:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        target = stat_following(self.root, path)
        return own if target is None else self.shown(target)

    def open_directory(self, path: bytes, cached: bool = False) -> int:
        """A descriptor to list ``path`` with."""
        return self._open(path, DIRECTORY, cached)

    def listing(
        self, path: bytes, most: int, cached: bool = False
    ) -> "tuple[Attributes, list[Listed], DirectoryReader | None]":
        """A directory's own attributes, taken first; up to ``most`` entries; and a reader for the rest, if any."""
        if cached and self.follow:  # what the links in it point to is anywhere
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        fd = self.open_directory(path, cached)
        own = self.shown(os.fstat(fd))
        reader = DirectoryReader(self, fd, path)
        listed, ended = reader.read(most, cached)
        return own, listed, None if ended else reader

    def listing_with(
        self, path: bytes, most: int, name: bytes, cached: bool = False
    ) -> "tuple[Attributes, frozenset[bytes], list[Listed] | None] | None":
        """The same of a directory that may hold ``name``: its own attributes, all names in it, and its entries.

        Where ``name`` is not among them there are no entries: names alone take a quarter of the time. None for a
        directory of more than ``most`` names.
        """
        if cached and self.follow:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        fd = self.open_directory(path, cached)
        own = self.shown(os.fstat(fd))
        reader = DirectoryReader(self, fd, path)
        try:
            names = reader.names(most)
            if names is None:
                return None
            return own, names, reader.read(most + 1, cached)[0] if name in names else None
        finally:
            reader.close()

    def open_content(self, path: bytes, cached: bool = False) -> tuple[int, Attributes]:
        """A descriptor to read a regular file with, and its attributes; NotAFile for anything but a regular file."""
        fd = self._open(path, CONTENT, cached)
        found = attributes(os.fstat(fd))
        if _stat.S_ISREG(found.mode):
            return fd, found
        os.close(fd)
        raise NotAFile(errno.EIO, "not a regular file any more", path)

    def readlink(self, path: bytes, cached: bool = False) -> bytes:
        """The target of a symbolic link."""
        fd = self._open(path, PATH_ONLY, cached)
        try:
            return os.readlink(b"", dir_fd=fd)
        finally:
            os.close(fd)

    def getxattr(self, path: bytes, name: bytes, cached: bool = False) -> bytes:
        """One extended attribute; ENODATA where it is not set."""
        fd = self._open_shown(path, cached)
        try:
            return os.getxattr(b"/proc/self/fd/%d" % fd, name)  # fgetxattr refuses O_PATH
        finally:
            os.close(fd)

    def listxattr(self, path: bytes, cached: bool = False) -> list[bytes]:
        """The names of the extended attributes."""
        fd = self._open_shown(path, cached)
        try:
            return [os.fsencode(name) for name in os.listxattr(b"/proc/self/fd/%d" % fd)]
        finally:
            os.close(fd)

    def statvfs(self, cached: bool = False) -> tuple[int, os.statvfs_result]:
        """The filesystem under the root: its device number and its figures."""
        return os.stat(self.root).st_dev, os.statvfs(self.root)

    def _open(self, path: bytes, flags: int, cached: bool) -> int:
        """Open without following; where links are followed and one is in the way, walk."""
        try:
            return open_beneath(self.root, path, flags, cached)
        except OSError as error:
            if not self.follow or error.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise
        if cached:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return self._open_following(path, flags)

    def _open_following(self, path: bytes, flags: int) -> int:
        """A last link that leads nowhere is itself what is opened, where an O_PATH descriptor was asked for."""
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

    def _open_shown(self, path: bytes, cached: bool) -> int:
        fd = self._open(path, PATH_ONLY, cached)
        if self.follow and _stat.S_ISLNK(os.fstat(fd).st_mode):
            os.close(fd)
            return self._open_following(path, PATH_ONLY)
        return fd


class DirectoryReader:
    """The rest of a directory that is read in pieces; owns a descriptor until it is exhausted or closed."""

    def __init__(self, reader: Reader, fd: int, path: bytes) -> None:
        self._reader = reader
        self._fd = -1
        self._prefix = path + b"/" if path else b""
        try:
            self._listing = os.scandir(fd)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        self._entries: Iterator[os.DirEntry[str]] = self._listing

    def __del__(self) -> None:
        """Nobody waited any longer when a hung source gave the listing at last."""
        self.close()

    def names(self, most: int) -> frozenset[bytes] | None:
        """The names of what is to be read still, and stays so; None where these are more than ``most``."""
        ahead = list(islice(self._listing, most + 1))
        self._entries = chain(ahead, self._listing)
        if len(ahead) > most:
            return None
        return frozenset([entry.name.encode(CODEC, "surrogateescape") for entry in ahead])

    def read(self, most: int, cached: bool = False) -> tuple[list[Listed], bool]:
        """Up to ``most`` entries with their attributes, and whether that was the end (it is closed then)."""
        if cached and self._reader.follow:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        listed: list[Listed] = []
        excluded = None if self._reader.excluded is nothing_excluded else self._reader.excluded
        try:
            for entry in self._entries:
                name = entry.name.encode(CODEC, "surrogateescape")  # os.fsencode, without its checks
                if excluded is None or not excluded(name):
                    found = self._attributes(name, entry)
                    if found is not None:
                        listed.append((name, found))
                        if len(listed) >= most:
                            return listed, False
        except BaseException:
            self.close()
            raise
        self.close()
        return listed, True

    def _attributes(self, name: bytes, entry: "os.DirEntry[str]") -> Attributes | None:
        """An entry's attributes; None when it went away meanwhile; its bare type where it cannot be looked at."""
        try:
            found = attributes(entry.stat(follow_symlinks=False))
        except FileNotFoundError:
            return None
        except OSError:
            return Attributes(_bare_kind(entry), 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, entry.inode())
        if not self._reader.reshaped:
            return found
        if _stat.S_ISDIR(found.mode):
            return found._replace(nlink=1)
        if self._reader.follow and _stat.S_ISLNK(found.mode):
            return self._reader.shown_link(self._prefix + name, found)
        return found

    def close(self) -> None:
        """Give the descriptor back; harmless when that was done."""
        if self._fd >= 0:
            self._listing.close()
            fd, self._fd = self._fd, -1
            os.close(fd)


def _bare_kind(entry: "os.DirEntry[str]") -> int:
    if entry.is_symlink():
        return _stat.S_IFLNK
    return _stat.S_IFDIR if entry.is_dir(follow_symlinks=False) else _stat.S_IFREG
