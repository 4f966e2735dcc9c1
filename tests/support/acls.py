"""POSIX ACLs (acl(5)) in the form of extended attributes, and a plain user's resulting permissions."""

import errno
import os
import struct
from pathlib import Path

import pytest

from tests.support.users import NOBODY, as_nobody

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
_USER_OBJ, _USER, _GROUP_OBJ, _MASK, _OTHER = 1, 2, 4, 16, 32
_NO_ID = 0xFFFFFFFF

Lists = dict[str, bytes | int]
"""Both ACLs of a file, or the errno of getxattr(2)."""


def access_list(rights: int, user: int = NOBODY) -> bytes:
    """An ACL that gives these rights to a user, all to the owner, and none to others."""
    rows = [(_USER_OBJ, 7, _NO_ID), (_USER, rights, user), (_GROUP_OBJ, 0, _NO_ID), (_MASK, 7, _NO_ID)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in [*rows, (_OTHER, 0, _NO_ID)])


def give(path: Path, rights: int, user: int = NOBODY, which: str = ACCESS) -> None:
    """Set an ACL; the test is skipped where the filesystem has none."""
    try:
        os.setxattr(path, which, access_list(rights, user))
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        pytest.skip(f"the filesystem under {path} has no POSIX ACLs")


def lists_of(path: Path) -> Lists:
    """The ACLs of a file; links are not followed."""
    return {which: _list_of(path, which) for which in (ACCESS, DEFAULT)}


def _list_of(path: Path, which: str) -> bytes | int:
    try:
        return os.getxattr(path, which, follow_symlinks=False)
    except OSError as error:
        return error.errno or 0


def allowed(paths: list[Path]) -> list[str]:
    """A plain user's permissions for each path: "r", "x", both or none."""
    script = 'for it; do r=; x=; test -r "$it" && r=r; test -x "$it" && x=x; echo "$r$x"; done'
    done = as_nobody("/bin/sh", "-c", script, "sh", *paths)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().splitlines()
