"""A table of system calls on names and attributes: stat, listings, links, extended attributes, access."""

import ctypes
import os
import stat

from tests.support.handles import AT_FDCWD
from tests.support.parity import Call, Calls, Where
from tests.support.parity_contents import on
from tests.support.syscalls import (
    AT_EACCESS,
    AT_EMPTY_PATH,
    AT_SYMLINK_NOFOLLOW,
    FACCESSAT2,
    Directory,
    libc,
    statx,
    syscall,
)

ALL, BASIC, BTIME = 0xFFF, 0x7FF, 0x800
FORCE_SYNC, DONT_SYNC = 0x2000, 0x4000
SHOWN = ("mode", "uid", "gid", "size", "blocks", "atime")


def _stat(path: str, *fields: str) -> Call:
    """Some fields of lstat(2), of the path with a suffix."""

    def call(where: Where) -> object:
        st = os.lstat(where.path + path)
        return [getattr(st, f"st_{field}") for field in fields]

    return call


def _field(field: str) -> Call:
    return _stat("", field)


def _statx(flags: int, mask: int, *fields: str) -> Call:
    return lambda where: statx(where.path, flags | AT_SYMLINK_NOFOLLOW, mask, *fields)


ATTRIBUTES: Calls = {
    "lstat": _stat("", "mode", "uid", "gid", "rdev", "atime_ns"),
    **{f"lstat's st_{field}": _field(field) for field in ("nlink", "size", "blocks", "mtime_ns", "ctime_ns")},
    **{f"lstat's st_{field}": _field(field) for field in ("dev", "ino", "blksize")},
    "stat through links": lambda where: stat.S_IFMT(os.stat(where.path).st_mode),
    "stat with a slash after it": _stat("/", "mode"),
    "stat of a dot in it": _stat("/.", "mode"),
    "stat of two dots in it": lambda where: stat.S_IFMT(os.lstat(where.path + "/..").st_mode),
    "stat of what is not there": _stat("/nothing", "mode"),
    "stat of a name of 255 bytes": _stat("/" + "x" * 255, "mode"),
    "stat of a name of 256 bytes": _stat("/" + "x" * 256, "mode"),
    "stat of a name of 2000 bytes": _stat("/" + "x" * 2000, "mode"),
    "stat of a path of 5000 bytes": _stat("/" + "x/" * 2500, "mode"),
    "fstat of O_PATH": lambda where: on(lambda fd: os.fstat(fd).st_mode, os.O_PATH | os.O_NOFOLLOW)(where),
    "statx, all": _statx(0, ALL, *SHOWN),
    "statx, basic": _statx(0, BASIC, *SHOWN),
    "statx of nothing": _statx(0, 0, "mode"),
    "statx, forced": _statx(FORCE_SYNC, BASIC, *SHOWN),
    "statx, not asked": _statx(DONT_SYNC, BASIC, *SHOWN),
    "statx of flags that exclude each other": _statx(FORCE_SYNC | DONT_SYNC, BASIC, "mode"),
    "statx of a reserved mask": _statx(0, 1 << 31, "mode"),
    "statx's mask of the basic fields": lambda where: statx(where.path, AT_SYMLINK_NOFOLLOW, BASIC, "mask")[0] & BASIC,
    "statx's time of birth": _statx(0, BTIME, "btime"),
    "statx's attributes": _statx(0, BASIC, "attributes"),
    "readlink": lambda where: os.readlink(where.path),
    "readlink into 3 bytes": lambda where: _readlink(where.path),
    "readlink of O_PATH": on(lambda fd: os.readlink("", dir_fd=fd), os.O_PATH | os.O_NOFOLLOW),
    "realpath": lambda where: os.path.relpath(os.path.realpath(where.path, strict=True), where.path),
    "chdir": lambda where: _chdir(where.path),
}


def _readlink(path: str) -> bytes:
    buffer = ctypes.create_string_buffer(3)
    return buffer.raw[: libc("readlink", path, buffer, 3)]


def _chdir(path: str) -> bool:
    before = os.getcwd()
    os.chdir(path)
    try:
        return os.getcwd() == os.path.realpath(path)
    finally:
        os.chdir(before)


def _seekable(where: Where) -> object:
    """Whether seekdir(3) to each position of a listing gives the same rest."""
    with Directory(where.path) as directory:
        positions = [(directory.tell(), directory.next())]
        while positions[-1][1] is not None:
            positions.append((directory.tell(), directory.next()))
        entries = [entry for _, entry in positions[:-1]]
        for number, (position, _) in list(enumerate(positions))[::-1]:
            directory.seek(position)
            if directory.rest() != entries[number:]:
                return f"something else comes from {number}"
        return len(set(dict(positions))) == len(positions)


def _rewound(where: Where) -> object:
    with Directory(where.path) as directory:
        first = [directory.next() for _ in range(3)]
        directory.rewind()
        return [directory.next() for _ in range(3)] == first


def _at_the_end(where: Where) -> object:
    with Directory(where.path) as directory:
        directory.rest()
        return directory.next(), directory.rest()


def _listed(where: Where) -> list[tuple[bytes, int]]:
    with Directory(where.path) as directory:
        return directory.rest()


def _getdents(size: int) -> Call:
    return on(lambda fd: libc("getdents64", fd, ctypes.create_string_buffer(size), size) > 0)


LISTINGS: Calls = {
    "getdents": lambda where: sorted(_listed(where)),
    "getdents, without dots": lambda where: sorted(entry for entry in _listed(where) if entry[0].strip(b".")),
    "getdents' order": _listed,
    "getdents into 4 bytes": _getdents(4),
    "getdents into 64 bytes": _getdents(64),
    "seekdir to where telldir was": _seekable,
    "rewinddir": _rewound,
    "readdir at the end": _at_the_end,
    "scandir's inode numbers": lambda where: all(
        entry.inode() == os.lstat(entry.path).st_ino for entry in os.scandir(where.path)
    ),
}


def _get(name: str, size: int) -> Call:
    """getxattr with a buffer of so many bytes; 0 asks for the size."""

    def call(where: Where) -> object:
        buffer = ctypes.create_string_buffer(size + 1)
        found = libc("lgetxattr", where.path, name, buffer, size)
        return found, buffer.raw[: found if size else 0]

    return call


def _list(size: int) -> Call:
    """listxattr with a buffer of so many bytes; the outcome is only whether it suffices."""
    return lambda where: libc("llistxattr", where.path, ctypes.create_string_buffer(size + 1), size) > 0


ACCESS_ACL = "system.posix_acl_access"
XATTRS: Calls = {
    "listxattr": lambda where: sorted(os.listxattr(where.path, follow_symlinks=False)),
    "listxattr, not of security": lambda where: sorted(
        name for name in os.listxattr(where.path, follow_symlinks=False) if not name.startswith("security.")
    ),
    "listxattr into 1 byte": _list(1),
    "listxattr into 1000 bytes": _list(1000),
    "listxattr's size": _list(0),
    "getxattr": lambda where: os.getxattr(where.path, "user.mood", follow_symlinks=False),
    "getxattr through links": lambda where: os.getxattr(where.path, "user.mood"),
    "getxattr's size": _get("user.mood", 0),
    "getxattr into too little": _get("user.mood", 3),
    "getxattr into what it takes": _get("user.mood", 8),
    "getxattr into more": _get("user.mood", 100),
    "getxattr of a long one": _get("user.long", 3000),
    "getxattr of an empty one": _get("user.empty", 100),
    "getxattr of one that is not set": _get("user.nothing", 100),
    "getxattr of a trusted one": _get("trusted.mood", 100),
    "getxattr of a security one": _get("security.mood", 100),
    "getxattr of an ACL": _get(ACCESS_ACL, 100),
    "getxattr of an ACL's size": _get(ACCESS_ACL, 0),
    "getxattr of a default ACL": _get("system.posix_acl_default", 100),
    "getxattr of another of system": _get("system.nothing", 100),
    "getxattr of no namespace": _get("nothing", 100),
    "getxattr of an empty name": _get("", 100),
    "getxattr of a name of 256 bytes": _get("user." + "x" * 251, 100),
    "getxattr of a name of 255 bytes": _get("user." + "x" * 250, 100),
    "getxattr of what a view tells": _get("user.mmirrorfs.role", 0),
    "fgetxattr": on(lambda fd: os.getxattr(fd, "user.mood")),
    "fgetxattr of O_PATH": on(lambda fd: os.getxattr(fd, "user.mood"), os.O_PATH),
}


def _access(mode: int, flags: int = 0) -> Call:
    return lambda where: syscall(FACCESSAT2, AT_FDCWD, where.path, mode, flags)


ACCESS: Calls = {
    "access F_OK": _access(os.F_OK),
    "access R_OK": _access(os.R_OK),
    "access X_OK": _access(os.X_OK),
    "access R_OK | X_OK": _access(os.R_OK | os.X_OK),
    "access of an unknown mode": _access(0o100),
    "faccessat2 AT_EACCESS": _access(os.R_OK, AT_EACCESS),
    "faccessat2 AT_SYMLINK_NOFOLLOW": _access(os.R_OK, AT_SYMLINK_NOFOLLOW),
    "faccessat2 of an unknown flag": _access(os.R_OK, 1 << 30),
    "faccessat2 AT_EMPTY_PATH": on(lambda fd: syscall(FACCESSAT2, fd, "", os.R_OK, AT_EMPTY_PATH)),
}

CALLS: Calls = {**ATTRIBUTES, **LISTINGS, **XATTRS, **ACCESS}
