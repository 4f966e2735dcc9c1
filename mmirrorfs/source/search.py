"""Searching folders at the depth for a file (``--skip-empty``).

Rule 1: a file is everything that is not a directory, at any level in the folder, as the view would show it; excluded
names do not count.
Rule 2: a folder is empty only if everything in it could be listed. A directory without permission counts as a file, and
so does one on a filesystem that is not local inside a local directory: if it hung, it would hang the scan. Any other
error proves nothing: the last result stays.
Rule 3: a search ends at the first file. Without events the next scan checks that this file still exists; an empty
folder is searched again.
Rule 4: a directory is watched before it is listed.

Blocking: in the thread of a scan. Raises OSError if the source is lost, and no other.
"""

import errno
import os
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

from mmirrorfs.attributes import DIR
from mmirrorfs.listing import Listing
from mmirrorfs.source.reader import CODEC, Reader
from mmirrorfs.tree import Directory, Evidence, Leaf, join

Progress = Callable[[int], None]
"""Called with the number of directories and folders found since the last call."""

GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
DENIED = (errno.EACCES, errno.EPERM)

UNREPORTED = (b"",)
"""In place of the keys of directories that are not all watched."""


class Search:
    """The searches of one scan.

    ``only`` limits them to these folders and new ones. ``anew`` searches even if the file found last still exists.
    ``check_root`` is called before an error is believed; it raises OSError if the source is lost.
    """

    def __init__(
        self,
        reader: Reader,
        is_local: Callable[[bytes], bool],
        check_root: Callable[[], None],
        progress: Progress | None,
        only: Collection[bytes] | None,
        anew: bool,
    ) -> None:
        self._reader = reader
        self._is_local = is_local
        self._check_root = check_root
        self._progress = progress
        self._started = time.monotonic()
        self._only = only
        self._anew = anew

    def searched(self, path: bytes, directory: Directory, old: Directory | None) -> Directory:
        """A directory with evidence for each folder in it; ``old`` is its value in the last scan."""
        entries = dict(directory.entries)
        for name, entry in directory.entries.items():
            if isinstance(entry, Leaf) and entry.kind == DIR:
                last = old.entries.get(name) if old is not None else None
                if self._progress is not None:
                    self._progress(1)
                if old is None or not isinstance(last, Leaf) or last.evidence is None:
                    entries[name] = replace(entry, evidence=self._search(path, join(path, name), None))
                else:
                    entries[name] = self._again(path, name, last, last.evidence, old.listing, directory.listing)
        if all(entries[name] is entry for name, entry in directory.entries.items()):
            return directory
        only_folders = all(isinstance(one, Leaf) and one.kind == DIR and not one.is_empty for one in entries.values())
        return replace(directory, entries=entries, only_folders=only_folders)

    def _again(self, path: bytes, name: bytes, last: Leaf, known: Evidence, old: Listing, new: Listing) -> Leaf:
        """A folder that was searched before; the same value if the result is the same."""
        folder = join(path, name)
        if self._anew:
            is_due = True
        elif self._only is not None and folder not in self._only:
            is_due = not _is_same(name, old, new)
        else:
            is_due = not known.file or not self._is_there(join(folder, known.file))
        found = self._search(path, folder, known) if is_due else known
        return last if found[:2] == known[:2] else replace(last, evidence=found)

    def _is_there(self, path: bytes) -> bool:
        self._reader.answered()
        try:
            return self._reader.stat(path).kind != DIR
        except OSError:
            return False

    def _search(self, directory: bytes, folder: bytes, last: Evidence | None) -> Evidence:
        """Search a folder, level by level; each (dev, ino) in it once."""
        keys, seen = dict[bytes, bytes](), set[tuple[int, int]]()
        waiting = [b""]
        for inner in waiting:
            path, below = join(folder, inner) if inner else folder, list[bytes]()
            if self._is_local(directory) and not self._is_local(path):
                return self._found(b"", UNREPORTED)
            try:
                file = self._listed(path, inner, keys, seen, below)
            except OSError as error:
                self._check_root()
                if error.errno in GONE:
                    continue  # removed: its parent will cause an event
                known = last if error.errno not in DENIED else None
                return self._found(known.file if known is not None else b"", UNREPORTED)
            if file is not None:
                chain = tuple([keys[above] for above in _ancestors(inner)])
                return self._found(join(inner, file), chain)
            waiting += [join(inner, name) for name in below]
        return self._found(None, tuple(keys.values()))

    def _found(self, file: bytes | None, keys: tuple[bytes, ...]) -> Evidence:
        if b"" in keys:
            return Evidence(file, UNREPORTED, self._started)
        return Evidence(file and b"", keys, self._started)  # with events the name of the file is not needed

    def _listed(
        self, path: bytes, inner: bytes, keys: dict[bytes, bytes], seen: set[tuple[int, int]], below: list[bytes]
    ) -> bytes | None:
        """The first file in a directory; if there is none, adds its subdirectories to ``below``."""
        reader = self._reader
        reader.answered()
        fd = reader.open_directory(path)
        try:
            st = os.fstat(fd)
            if (st.st_dev, st.st_ino) in seen:
                return None
            seen.add((st.st_dev, st.st_ino))
            keys[inner] = reader.mark(fd)
            with os.scandir(fd) as listing:
                for entry in listing:
                    name = entry.name.encode(CODEC, "surrogateescape")
                    if reader.excluded(name):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        below.append(name)
                    elif reader.follow and entry.is_symlink() and self._leads_to_directory(path, name, entry):
                        keys[inner] = b""  # changes of the link target cause no event
                        below.append(name)
                    else:
                        return name
        finally:
            os.close(fd)
        return None

    def _leads_to_directory(self, path: bytes, name: bytes, entry: "os.DirEntry[str]") -> bool:
        attr = self._reader.attributes_of(path, name, entry)
        return attr is not None and attr.kind == DIR


def _is_same(name: bytes, old: Listing, new: Listing) -> bool:
    """Whether a name has the same directory in both listings."""
    if old is new:
        return True
    before, after = old.get(name), new.get(name)
    if before is None or after is None or not before.is_known:
        return False
    return (before.dev, before.ino) == (after.dev, after.ino)


def _ancestors(inner: bytes) -> Iterator[bytes]:
    """A path in a folder and all directories above it; the folder itself, b"", is the last."""
    while inner:
        yield inner
        inner = inner.rpartition(b"/")[0]
    yield b""
