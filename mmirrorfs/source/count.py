"""Counting the files in a folder: everything that is not a directory, at any level, as a view would show it.

Blocking: not on the event loop. Raises OSError if a directory could not be listed.
"""

import os
import stat
from collections.abc import Callable

from mmirrorfs.source.reader import CODEC, Reader
from mmirrorfs.tree import join

MOST = 10_000
"""Files that are counted in a folder at most."""


class Elsewhere(OSError):
    """Part of a local source is on a filesystem that is not local, and may hang."""


def count_files(reader: Reader, folder: bytes, is_local: Callable[[bytes], bool]) -> int:
    """The number of files in a folder, up to MOST; each (dev, ino) is counted once."""
    count, seen, waiting = 0, set[tuple[int, int]](), [folder]
    local = is_local(b"")
    for path in waiting:
        if local and not is_local(path):
            raise Elsewhere
        fd = reader.open_directory(path)
        try:
            st = os.fstat(fd)
            if (st.st_dev, st.st_ino) in seen:
                continue
            seen.add((st.st_dev, st.st_ino))
            files, below = _listed(reader, path, fd)
        finally:
            os.close(fd)
        count += files
        if count >= MOST:
            return MOST
        waiting += below
    return count


def _listed(reader: Reader, path: bytes, fd: int) -> tuple[int, list[bytes]]:
    """The number of files in an open directory, and the paths of its subdirectories."""
    files, below = 0, list[bytes]()
    with os.scandir(fd) as listing:
        for entry in listing:
            name = entry.name.encode(CODEC, "surrogateescape")
            if reader.excluded(name):
                continue
            is_directory = entry.is_dir(follow_symlinks=False)
            if not is_directory and reader.follow and entry.is_symlink():
                attr = reader.attributes_of(path, name, entry)
                is_directory = attr is not None and stat.S_ISDIR(attr.mode)
            if is_directory:
                below.append(join(path, name))
            else:
                files += 1
    return files, below
