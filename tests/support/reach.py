"""Access for a plain user to the interpreter and the checkout, where they are below a directory such as /root.

1. It is limited to a mount namespace of the test's own.
2. The directory is covered there by one that everybody may enter, in which only the interpreter and the checkout are
   bind mounts, under their own paths.
"""

import os
import shlex
import stat
import sys
from pathlib import Path

import mmirrorfs

IMPORTS = (sys.executable, "-c", "import mmirrorfs, pyfuse3, trio, click")
"""A command that succeeds for users who can run mmirrorfs."""


def opening() -> str:
    """Shell commands that give access, to be run as root in a mount namespace."""
    # --no-canonicalize: the working directory is the one that was covered, which no absolute path leads to any more.
    lines = []
    for closed, paths in _closed().items():
        lines += [f"cd {_quoted(closed)}", f"mount -t tmpfs -o mode=755 none {_quoted(closed)}"]
        for path in paths:
            inner = path.relative_to(closed)
            lines += [f"mkdir -p {_quoted(path)}", f"mount --no-canonicalize --bind {_quoted(inner)} {_quoted(path)}"]
    return "; ".join([*lines, "cd /"])


def _closed() -> dict[Path, list[Path]]:
    """The directories without access for others, and the paths below each that are needed."""
    found: dict[Path, list[Path]] = {}
    for path in sorted(
        {Path(path).resolve() for path in (sys.prefix, sys.base_prefix, Path(mmirrorfs.__file__).parents[1])}
    ):
        closed = next((above for above in reversed(path.parents) if not above.stat().st_mode & stat.S_IXOTH), None)
        if closed is not None and not any(path.is_relative_to(other) for other in found.get(closed, ())):
            found.setdefault(closed, []).append(path)
    return found


def _quoted(path: Path) -> str:
    return shlex.quote(os.fspath(path))
