"""Whether the sources and mountpoints are what they must be. Looks at the disk, changes nothing.

Each check raises Problem with one line: what is wrong and what to do.
"""

import errno
import os
import stat

from mmirrorfs.cli.problem import FAILED, USAGE, Problem
from mmirrorfs.cli.settings import Named, Settings
from mmirrorfs.text import printable


def check(settings: Settings) -> Settings:
    """All checks; returns the settings with absolute mountpoints."""
    if len(settings.sources) < 2:
        raise Problem("at least two sources are needed: mmirrorfs SOURCE SOURCE MOUNTPOINT")
    roots = [_check_source(source) for source in settings.sources]
    _check_distinct(settings.sources, roots)
    for view in settings.views:
        _check_mountpoint(view.mountpoint, settings.sources, roots)
    return settings


def _check_source(source: Named) -> bytes:
    shown = printable(source.path)
    try:
        root = os.path.realpath(source.path, strict=True)
        if not stat.S_ISDIR(os.stat(root).st_mode):
            raise Problem(f"source {shown} is not a directory", FAILED)
        os.listdir(root)
    except FileNotFoundError:
        raise Problem(f"source {shown} does not exist: check the path, or mount it first", FAILED) from None
    except OSError as error:
        raise Problem(f"source {shown} cannot be read: {_reason(error)}", FAILED) from None
    return root


def _check_distinct(sources: tuple[Named, ...], roots: list[bytes]) -> None:
    seen: dict[tuple[int, int], Named] = {}
    for source, root in zip(sources, roots, strict=True):
        st = os.stat(root)
        other = seen.setdefault((st.st_dev, st.st_ino), source)
        if other is not source:
            raise Problem(
                f"{printable(other.path)} and {printable(source.path)} are the same directory: "
                "a source can be given only once",
                USAGE,
            )


def _check_mountpoint(mountpoint: bytes, sources: tuple[Named, ...], roots: list[bytes]) -> None:
    shown = printable(mountpoint)
    try:
        where = os.path.realpath(mountpoint, strict=True)
        if not stat.S_ISDIR(os.stat(where).st_mode):
            raise Problem(f"mountpoint {shown} is not a directory", FAILED)
        _check_apart(where, shown, sources, roots)
        if os.listdir(where):
            raise Problem(f"mountpoint {shown} is not empty: choose another, or give --overwritesymlinks", FAILED)
    except FileNotFoundError:
        raise Problem(f"mountpoint {shown} does not exist: make it first (mkdir {shown})", FAILED) from None
    except OSError as error:
        raise Problem(f"mountpoint {shown} cannot be used: {_reason(error)}", FAILED) from None


def _check_apart(where: bytes, shown: str, sources: tuple[Named, ...], roots: list[bytes]) -> None:
    """The daemon must never meet its own mount in a source, or it waits for itself."""
    for source, root in zip(sources, roots, strict=True):
        if _is_inside(where, root):
            raise Problem(f"mountpoint {shown} is inside the source {printable(source.path)}: choose another", FAILED)
        if _is_inside(root, where):
            raise Problem(f"mountpoint {shown} would hide the source {printable(source.path)}: choose another", FAILED)


def _is_inside(path: bytes, directory: bytes) -> bool:
    return os.path.commonpath([path, directory]) == directory


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOTCONN:
        return "a dead mount is in its place; unmount it first (umount -l)"
    return os.strerror(error.errno or errno.EIO)
