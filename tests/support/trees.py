"""Directory trees on disk, made from nested mappings, and their attributes."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Union

Tree = Mapping[bytes, Union["Tree", bytes, "Link", "Fifo"]]
"""A directory: its entries by name, each a directory, the content of a file, a link, or a FIFO."""
TextTree = Mapping[str, Union["TextTree", str, bytes, "Link", "Fifo"]]
"""A directory whose names are text; contents may be."""

Stamp = tuple[int, int, int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    target: bytes | str


class Fifo:
    """A FIFO."""


def grow(where: Path | bytes, tree: Tree | TextTree) -> Path:
    """Make the directory ``where``, if it is missing, and all entries; returns its path."""
    top = os.fsencode(where)
    os.makedirs(top, exist_ok=True)
    for name, what in tree.items():
        path = top + b"/" + os.fsencode(name)
        if isinstance(what, bytes | str):
            with open(path, "xb") as file:
                file.write(os.fsencode(what))
        elif isinstance(what, Link):
            os.symlink(what.target, path)
        elif isinstance(what, Fifo):
            os.mkfifo(path)
        else:
            grow(path, what)
    return Path(os.fsdecode(top))


def folders(prefix: str, *names: str) -> Tree:
    """Folders with a file ``track`` each, whose content is ``prefix`` and the folder's name."""
    return {name.encode(): {b"track": (prefix + name).encode()} for name in names}


def stamps(top: Path) -> dict[bytes, Stamp]:
    """(mode, links, owner, group, size, mtime, ctime) of everything in a tree, to prove that nothing was changed."""
    found: dict[bytes, Stamp] = {}
    for above, directories, files in os.walk(os.fsencode(top)):
        for path in [above, *[above + b"/" + name for name in directories + files]]:
            st = os.lstat(path)
            found[path] = (st.st_mode, st.st_nlink, st.st_uid, st.st_gid, st.st_size, st.st_mtime_ns, st.st_ctime_ns)
    return found
