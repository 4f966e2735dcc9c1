"""Whether the folders at the depth hold a file: what ``--skip-empty`` goes by.

Rule 1: a file is what is no directory, at any level in the folder, as the view would show it. What is excluded is none.
Rule 2: a folder is empty only if all that is in it could be listed. What may not be read counts as a file, and so does
what is not on a local filesystem, where the directory that the folder is in is: one that hangs would hang the scan. Any
other error is no news: what was found last stands.
Rule 3: a search ends with the first file that it finds. Where changes are not reported that one is asked for the next
time; what holds none is searched again.
Rule 4: a directory has its changes reported from before it is listed on.

Blocking: in the thread of a scan. Raises OSError where the source is lost, and no other.
"""

import errno
import os
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

from mmirrorfs.attributes import DIR
from mmirrorfs.listing import Listing
from mmirrorfs.source.reader import CODEC, Reader
from mmirrorfs.source.walks import join
from mmirrorfs.tree import Directory, Evidence, Leaf

Progress = Callable[[int], None]
"""Called now and then with the number of directories and folders found since the last call."""

GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
DENIED = (errno.EACCES, errno.EPERM)

UNREPORTED = (b"",)
"""In place of the keys of directories not all of whose changes are reported."""


class Search:
    """The searches of one scan.

    With ``only`` these folders are searched, and those that are new; else all, with ``anew`` also where the file that
    was found last is there still. ``checked`` is called before an error is believed: it raises OSError where the source
    is lost.
    """

    def __init__(
        self,
        reader: Reader,
        is_local: Callable[[bytes], bool],
        checked: Callable[[], None],
        progress: Progress | None,
        only: Collection[bytes] | None,
        anew: bool,
    ) -> None:
        self._reader = reader
        self._is_local = is_local
        self._checked = checked
        self._progress = progress
        self._started = time.monotonic()
        self._only = only
        self._anew = anew

    def searched(self, path: bytes, directory: Directory, old: Directory | None) -> Directory:
        """A directory of folders, with evidence of whether they hold files; ``old`` is what it was."""
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
        """A folder that was searched before: the same value where nothing else is found."""
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
        """Search a folder, level by level; each directory in it once, by (dev, ino)."""
        keys, seen = dict[bytes, bytes](), set[tuple[int, int]]()
        waiting = [b""]
        for inner in waiting:
            path, below = join(folder, inner) if inner else folder, list[bytes]()
            if self._is_local(directory) and not self._is_local(path):
                return self._found(b"", UNREPORTED)
            try:
                file = self._listed(path, inner, keys, seen, below)
            except OSError as error:
                self._checked()
                if error.errno in GONE:
                    continue  # what it is in has changed, then
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
        return Evidence(file and b"", keys, self._started)  # which one it was is of no use, then

    def _listed(
        self, path: bytes, inner: bytes, keys: dict[bytes, bytes], seen: set[tuple[int, int]], below: list[bytes]
    ) -> bytes | None:
        """The first file in a directory; where there is none, the directories in it are added to ``below``."""
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
                        keys[inner] = b""  # what it leads to may become another unseen
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
    """Whether a name has the directory that it had."""
    if old is new:
        return True
    before, after = old.get(name), new.get(name)
    if before is None or after is None or not before.is_known:
        return False
    return (before.dev, before.ino) == (after.dev, after.ino)


def _ancestors(inner: bytes) -> Iterator[bytes]:
    """A path in a folder, and those of all directories that it lies in: the folder itself, b"", is the last."""
    while inner:
        yield inner
        inner = inner.rpartition(b"/")[0]
    yield b""
