"""Reading one source: attributes, listings, contents, links, extended attributes.

Owns every system call on what lies in a source. Plain blocking functions that raise OSError: who may wait for
them, and where, is decided above (``source.Source``). Paths are bytes relative to the root; the root is b"".
No descriptor outlives a call, but for the ones that the caller asked for. Any thread may call this.
"""

import os
import stat as _stat
from collections.abc import Callable, Iterator

from mmirrorfs.source.beneath import CONTENT, DIRECTORY, PATH_ONLY, open_beneath
from mmirrorfs.tree import Attributes

Excluded = Callable[[bytes], bool]
"""Whether a name is left out."""

Listed = tuple[bytes, Attributes]


def attributes(st: os.stat_result) -> Attributes:
    """What the kernel told of a file, as a value of ours."""
    return Attributes(
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


def nothing_excluded(name: bytes) -> bool:
    """The default: every name is shown."""
    return False


class DirectoryReader:
    """The rest of a directory that is read in pieces; owns a descriptor until it is exhausted or closed."""

    def __init__(self, fd: int, excluded: Excluded) -> None:
        self._fd = fd
        self._excluded = excluded
        try:
            self._entries: Iterator[os.DirEntry[str]] = os.scandir(fd)
        except BaseException:
            os.close(fd)
            raise

    def read(self, most: int, cached: bool = False) -> tuple[list[Listed], bool]:
        """Up to ``most`` entries with their attributes, and whether that was the end (it is closed then)."""
        listed: list[Listed] = []
        try:
            for entry in self._entries:
                name = os.fsencode(entry.name)
                if self._excluded is nothing_excluded or not self._excluded(name):
                    found = _entry_attributes(entry)
                    if found is not None:
                        listed.append((name, found))
                        if len(listed) >= most:
                            return listed, False
        except BaseException:
            self.close()
            raise
        self.close()
        return listed, True

    def close(self) -> None:
        """Give the descriptor back; harmless when that was done."""
        if self._fd >= 0:
            self._entries.close()  # type: ignore[attr-defined]
            fd, self._fd = self._fd, -1
            os.close(fd)


def _entry_attributes(entry: "os.DirEntry[str]") -> Attributes | None:
    """An entry's attributes; None when it went away meanwhile; its bare type where it cannot be looked at."""
    try:
        return attributes(entry.stat(follow_symlinks=False))
    except FileNotFoundError:
        return None
    except OSError:
        kind = _stat.S_IFDIR if entry.is_dir(follow_symlinks=False) else _stat.S_IFREG
        kind = _stat.S_IFLNK if entry.is_symlink() else kind
        return Attributes(kind, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, entry.inode())


def _stat_at(directory: int, name: bytes) -> Attributes | None:
    try:
        return attributes(os.stat(name, dir_fd=directory, follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return None


class Reader:
    """One source's files. ``root`` is absolute and free of links, and may be set anew when the source moved."""

    def __init__(self, root: bytes, excluded: Excluded = nothing_excluded) -> None:
        self.root = root
        self.excluded = excluded

    def stat(self, path: bytes, cached: bool = False) -> Attributes:
        """The attributes of ``path``; a link is not followed."""
        fd = open_beneath(self.root, path, PATH_ONLY, cached)
        try:
            return attributes(os.fstat(fd))
        finally:
            os.close(fd)

    def stat_several(self, directory: bytes, names: list[bytes], cached: bool = False) -> "list[Attributes | None]":
        """The attributes of some names in one directory; None for one that is not there."""
        fd = open_beneath(self.root, directory, PATH_ONLY | os.O_DIRECTORY, cached)
        try:
            return [_stat_at(fd, name) for name in names]
        finally:
            os.close(fd)

    def open_directory(self, path: bytes, cached: bool = False) -> int:
        """A descriptor to list ``path`` with."""
        return open_beneath(self.root, path, DIRECTORY, cached)

    def listing(
        self, path: bytes, most: int, cached: bool = False
    ) -> tuple[Attributes, list[Listed], DirectoryReader | None]:
        """A directory's own attributes, taken first; up to ``most`` entries; and a reader for the rest, if any."""
        fd = self.open_directory(path, cached)
        own = attributes(os.fstat(fd))
        reader = DirectoryReader(fd, self.excluded)
        listed, ended = reader.read(most)
        return own, listed, None if ended else reader

    def open_content(self, path: bytes, cached: bool = False) -> tuple[int, Attributes]:
        """A descriptor to read a regular file with, and its attributes; EIO for anything but a regular file."""
        fd = open_beneath(self.root, path, CONTENT, cached)
        found = attributes(os.fstat(fd))
        if _stat.S_ISREG(found.mode):
            return fd, found
        os.close(fd)
        raise OSError(5, "not a regular file any more", path)

    def readlink(self, path: bytes, cached: bool = False) -> bytes:
        """The target of a symbolic link."""
        fd = open_beneath(self.root, path, PATH_ONLY, cached)
        try:
            return os.readlink(b"", dir_fd=fd)
        finally:
            os.close(fd)

    def getxattr(self, path: bytes, name: bytes, cached: bool = False) -> bytes:
        """One extended attribute; ENODATA where it is not set."""
        fd = open_beneath(self.root, path, PATH_ONLY, cached)
        try:
            return os.getxattr(b"/proc/self/fd/%d" % fd, name)  # fgetxattr refuses O_PATH
        finally:
            os.close(fd)

    def listxattr(self, path: bytes, cached: bool = False) -> list[bytes]:
        """The names of the extended attributes."""
        fd = open_beneath(self.root, path, PATH_ONLY, cached)
        try:
            return [os.fsencode(name) for name in os.listxattr(b"/proc/self/fd/%d" % fd)]
        finally:
            os.close(fd)

    def statvfs(self, cached: bool = False) -> tuple[int, os.statvfs_result]:
        """The filesystem under the root: its device number and its figures."""
        return os.stat(self.root).st_dev, os.statvfs(self.root)
