"""A reference implementation of the merge, as simple as possible. Imports nothing of mmirrorfs.

1. A directory above the depth that any source has is merged: its names are the union over the sources.
2. A directory at the depth is taken whole from the first source in the view's order that has it. With ``skip_empty`` it
   comes from the first source whose directory contains anything but directories, at any level, if there is one.
3. Anything else down to the depth comes from the first source that has it; a directory of any source beats it.
4. Symbolic links are left out down to the depth, and shown as links below it.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shown:
    """What a view shows at a path: the file type, and the content of a file or the target of a link."""

    kind: int
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a view must show at a path, and ``winner``, the path in the source that it comes from.

    The winner of a merged directory is the first source's directory: it determines mode and owner.
    """

    shown: Shown
    winner: bytes
    merged: bool


def predict(order: Sequence[bytes], depth: int, skip_empty: bool = False) -> dict[bytes, Predicted]:
    """All that a view must show, by path relative to its root. ``order`` has the sources, the preferred one first."""
    found: dict[bytes, Predicted] = {}
    _merge(found, b"", list(order), 1, depth, skip_empty)
    return found


def _merge(
    found: dict[bytes, Predicted], prefix: bytes, directories: list[bytes], level: int, depth: int, skip_empty: bool
) -> None:
    for name in {name for directory in directories for name in os.listdir(directory)}:
        paths = [directory + b"/" + name for directory in directories]
        paths = [path for path in paths if os.path.lexists(path) and not os.path.islink(path)]
        below = [path for path in paths if os.path.isdir(path)]
        if below and level < depth:
            found[prefix + name] = Predicted(Shown(stat.S_IFDIR), below[0], True)
            _merge(found, prefix + name + b"/", below, level + 1, depth, skip_empty)
        elif below:
            full = [path for path in below if not skip_empty or _holds_a_file(path)]
            _take(found, prefix + name, (full or below)[0])
        elif paths:
            _take(found, prefix + name, paths[0])


def _holds_a_file(directory: bytes) -> bool:
    for name in os.listdir(directory):
        path = directory + b"/" + name
        if os.path.islink(path) or not os.path.isdir(path) or _holds_a_file(path):
            return True
    return False


def _take(found: dict[bytes, Predicted], path: bytes, winner: bytes) -> None:
    """Take one path, and everything below it."""
    found[path] = Predicted(look(winner), winner, False)
    if found[path].shown.kind == stat.S_IFDIR:
        for name in os.listdir(winner):
            _take(found, path + b"/" + name, winner + b"/" + name)


def _without_waiting(path: str, flags: int) -> int:
    """An opener that does not block on a FIFO that has replaced the file."""
    return os.open(path, flags | os.O_NONBLOCK)


def look(path: bytes) -> Shown:
    """What is at a path on disk."""
    kind = stat.S_IFMT(os.lstat(path).st_mode)
    if kind == stat.S_IFLNK:
        return Shown(kind, os.readlink(path))
    if kind == stat.S_IFREG:
        with open(path, "rb", opener=_without_waiting) as file:
            return Shown(kind, file.read())
    return Shown(kind)


def walk(top: bytes) -> dict[bytes, Shown]:
    """All that a mounted view shows, by path relative to its root.

    Raises AssertionError where a listing is not in byte order, has a duplicate, or d_type differs from stat(2).
    """
    found: dict[bytes, Shown] = {}
    waiting = [b""]
    while waiting:
        prefix = waiting.pop()
        with os.scandir(top + b"/" + prefix) as entries:
            listed = [(entry.name, entry.is_dir(follow_symlinks=False), entry.is_symlink()) for entry in entries]
        names = [name for name, _, _ in listed]
        assert names == sorted(set(names)), f"not in byte order, or twice: {names}"
        for name, is_directory, is_link in listed:
            shown = found[prefix + name] = look(top + b"/" + prefix + name)
            assert (shown.kind == stat.S_IFDIR, shown.kind == stat.S_IFLNK) == (is_directory, is_link), prefix + name
            if is_directory:
                waiting.append(prefix + name + b"/")
    return found
