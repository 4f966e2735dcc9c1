"""The merge a second time, as simply as it can be said, straight from the rules. Imports nothing of mmirrorfs.

Rule 1: a directory above the depth that any source has is merged: its names are the union over the sources.
Rule 2: a directory at the depth is taken whole from the first source in the view's order that has it; where empty ones
are skipped, from the first that has one with anything but directories in it, at any level, if any has.
Rule 3: anything else down to the depth comes from the first source that has it, and a directory beats it anywhere.
Rule 4: symbolic links are left out down to the depth, and shown as links below it.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shown:
    """What a view shows at a path: its type, and its bytes (of a file, or where a link points)."""

    kind: int
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a view must show at a path, and ``winner``, the path in a source that it comes from.

    Of a merged directory that is the first one in the view's order, which gives mode and owner.
    """

    shown: Shown
    winner: bytes
    merged: bool


def predict(order: Sequence[bytes], depth: int, skip_empty: bool = False) -> dict[bytes, Predicted]:
    """Everything that a view shows, by path relative to its root, from sources in the order in which it asks them."""
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
    """Take one path, and if it is a directory everything in it."""
    found[path] = Predicted(look(winner), winner, False)
    if found[path].shown.kind == stat.S_IFDIR:
        for name in os.listdir(winner):
            _take(found, path + b"/" + name, winner + b"/" + name)


def _without_waiting(path: str, flags: int) -> int:
    """What became a FIFO meanwhile is not waited for."""
    return os.open(path, flags | os.O_NONBLOCK)


def look(path: bytes) -> Shown:
    """What is really there."""
    kind = stat.S_IFMT(os.lstat(path).st_mode)
    if kind == stat.S_IFLNK:
        return Shown(kind, os.readlink(path))
    if kind == stat.S_IFREG:
        with open(path, "rb", opener=_without_waiting) as file:
            return Shown(kind, file.read())
    return Shown(kind)


def walk(top: bytes) -> dict[bytes, Shown]:
    """Everything that a mounted view shows, by path relative to its root.

    Raises AssertionError where a listing is out of byte order, has a name twice, or tells another type than stat.
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
