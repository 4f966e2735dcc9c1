"""A table of system calls that write, or ask for write access, on existing names and on new ones next to and below."""

import fcntl
import mmap
import os
import socket
import stat
import struct
from collections.abc import Callable
from pathlib import Path

from tests.support.handles import AT_FDCWD
from tests.support.parity import Call, Calls, Where
from tests.support.parity_contents import on, opening
from tests.support.syscalls import (
    AT_EACCESS,
    AT_EMPTY_PATH,
    AT_SYMLINK_NOFOLLOW,
    FACCESSAT2,
    FCHMODAT2,
    libc,
    opened,
    syscall,
)

RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
UTIME_OMIT, UTIME_NOW = (1 << 30) - 2, (1 << 30) - 1
FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR, FS_IOC_SETVERSION = 0x40086602, 0x401C5820, 0x40087602
FS_IOC_ENABLE_VERITY = 0x40806685
OTHER = 12345

Change = Callable[[str], object]


def at(change: Change) -> Calls:
    """The change to an existing name, to a new one next to it, and to a new one below it."""
    return {
        "": lambda where: change(where.path),
        ", a new name beside": lambda where: change(where.path + ".new"),
        ", a new name below": lambda where: change(where.path + "/new"),
    }


def everywhere(changes: dict[str, Change]) -> Calls:
    """All changes, each at all three places."""
    return {name + place: call for name, change in changes.items() for place, call in at(change).items()}


def _made(flags: int) -> Change:
    """An open that may create a file; the outcome is the descriptor's flags."""
    return lambda path: opening(flags)(Where(path, path, path))


def _bound(path: str) -> None:
    """Bind a socket by a relative name, because sun_path holds 108 bytes only."""
    before = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.chdir(os.path.dirname(path))
        with socket.socket(socket.AF_UNIX) as own:
            own.bind(os.path.basename(path))
    finally:
        os.fchdir(before)
        os.close(before)


OPENS = everywhere(
    {
        "open O_WRONLY": _made(os.O_WRONLY),
        "open O_RDWR": _made(os.O_RDWR),
        "open O_RDONLY | O_TRUNC": _made(os.O_TRUNC),
        "open O_WRONLY | O_TRUNC": _made(os.O_WRONLY | os.O_TRUNC),
        "open O_WRONLY | O_APPEND": _made(os.O_WRONLY | os.O_APPEND),
        "open O_RDONLY | O_CREAT": _made(os.O_CREAT),
        "open O_WRONLY | O_CREAT": _made(os.O_WRONLY | os.O_CREAT),
        "open O_RDWR | O_CREAT | O_TRUNC": _made(os.O_RDWR | os.O_CREAT | os.O_TRUNC),
        "open O_WRONLY | O_CREAT | O_EXCL": _made(os.O_WRONLY | os.O_CREAT | os.O_EXCL),
        "open O_WRONLY | O_DIRECT": _made(os.O_WRONLY | os.O_DIRECT),
        "open O_WRONLY | O_NOFOLLOW": _made(os.O_WRONLY | os.O_NOFOLLOW),
        "open O_TMPFILE": _made(os.O_TMPFILE | os.O_RDWR),
        "open O_WRONLY | O_CREAT | O_PATH": _made(os.O_WRONLY | os.O_CREAT | os.O_PATH),
    }
)
NODES = everywhere(
    {
        "mkdir": os.mkdir,
        "mkfifo": os.mkfifo,
        "mknod of a file": lambda path: os.mknod(path, stat.S_IFREG | 0o600),
        "mknod of a socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o600),
        "mknod of a device": lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3)),
        "mknod of a whiteout": lambda path: os.mknod(path, stat.S_IFCHR, 0),
        "symlink": lambda path: os.symlink("there", path),
        "bind": _bound,
        "unlink": os.unlink,
        "rmdir": os.rmdir,
        "mkdir with a slash after it": lambda path: os.mkdir(path + "/"),
    }
)


def _rename(flags: int, to: str) -> Call:
    return lambda where: libc("renameat2", AT_FDCWD, where.path, AT_FDCWD, where.path + to, flags)


def _into(where: Where, call: Callable[[str, str], object]) -> object:
    """The call with a writable file as its source."""
    own = Path(where.scratch) / f"own{os.getuid()}"
    own.touch()
    return call(str(own), where.path + ".new")


def _over(where: Where) -> None:
    os.rename(where.path, Path(where.path).with_name("empty"))


MOVES: Calls = {
    "rename": _rename(0, ".new"),
    "rename to itself": _rename(0, ""),
    "rename over another": _over,
    "rename into itself": _rename(0, "/new"),
    "renameat2 RENAME_NOREPLACE": _rename(RENAME_NOREPLACE, ".new"),
    "renameat2 RENAME_NOREPLACE to itself": _rename(RENAME_NOREPLACE, ""),
    "renameat2 RENAME_EXCHANGE": _rename(RENAME_EXCHANGE, "/../empty"),
    "renameat2 RENAME_WHITEOUT": _rename(RENAME_WHITEOUT, ".new"),
    "renameat2 of an unknown flag": _rename(1 << 20, ".new"),
    "rename to elsewhere": lambda where: os.rename(where.path, where.scratch + "/taken"),
    "rename from elsewhere": lambda where: _into(where, os.rename),
    "link": lambda where: os.link(where.path, where.path + ".new", follow_symlinks=False),
    "link of what a link points to": lambda where: os.link(where.path, where.path + ".new"),
    "link over another": lambda where: os.link(where.path, Path(where.path).with_name("empty")),
    "link to elsewhere": lambda where: os.link(where.path, where.scratch + "/taken"),
    "link from elsewhere": lambda where: _into(where, os.link),
    "linkat AT_EMPTY_PATH": on(lambda fd: libc("linkat", fd, "", fd, "new", AT_EMPTY_PATH), os.O_PATH | os.O_NOFOLLOW),
}


def _owner(follow: bool) -> Call:
    return lambda where: os.chown(where.path, OTHER, OTHER, follow_symlinks=follow)


def _utime(*times: int, follow: bool = True) -> Call:
    """utimensat(2), given seconds and nanoseconds of access and change."""
    flags = 0 if follow else AT_SYMLINK_NOFOLLOW
    return lambda where: libc("utimensat", AT_FDCWD, where.path, struct.pack("4q", *times), flags)


def _acl(name: str) -> Call:
    """A valid access list: read for all."""
    entries = b"".join(struct.pack("<HHI", tag, 4, 0xFFFFFFFF) for tag in (1, 4, 0x20))
    return lambda where: os.setxattr(where.path, name, struct.pack("<I", 2) + entries)


def _set(name: str, flags: int = 0, follow: bool = True) -> Call:
    return lambda where: os.setxattr(where.path, name, b"value", flags, follow_symlinks=follow)


def _remove(name: str) -> Call:
    return lambda where: os.removexattr(where.path, name)


ATTRIBUTES: Calls = {
    "chmod": lambda where: os.chmod(where.path, 0o640),
    "fchmod": on(lambda fd: os.fchmod(fd, 0o640)),
    "fchmod of O_PATH": on(lambda fd: os.fchmod(fd, 0o640), os.O_PATH),
    "fchmodat2 AT_SYMLINK_NOFOLLOW": lambda where: syscall(FCHMODAT2, AT_FDCWD, where.path, 0o640, AT_SYMLINK_NOFOLLOW),
    "chown": _owner(True),
    "lchown": _owner(False),
    "fchown": on(lambda fd: os.fchown(fd, OTHER, OTHER)),
    "chown to nobody in particular": lambda where: os.chown(where.path, -1, -1),
    "utimensat": _utime(1, 2, 3, 4),
    "utimensat of now": _utime(0, UTIME_NOW, 0, UTIME_NOW),
    "utimensat of neither": _utime(0, UTIME_OMIT, 0, UTIME_OMIT),
    "utimensat of no nanoseconds": _utime(0, -1, 0, -1),
    "utimensat of a link": _utime(1, 2, 3, 4, follow=False),
    "futimens": on(lambda fd: os.utime(fd, (1, 2))),
    "setxattr": _set("user.mood"),
    "setxattr XATTR_CREATE": _set("user.mood", os.XATTR_CREATE),
    "setxattr XATTR_REPLACE": _set("user.nothing", os.XATTR_REPLACE),
    "lsetxattr": _set("user.mood", follow=False),
    "setxattr of a trusted one": _set("trusted.mood"),
    "setxattr of a security one": _set("security.mood"),
    "setxattr of no namespace": _set("mood"),
    "setxattr of what a view tells": _set("user.mmirrorfs.role"),
    "fsetxattr": on(lambda fd: os.setxattr(fd, "user.mood", b"value")),
    "setting an ACL": _acl("system.posix_acl_access"),
    "setting a default ACL": _acl("system.posix_acl_default"),
    "removexattr": _remove("user.mood"),
    "removexattr of what is not set": _remove("user.nothing"),
    "removexattr of an ACL": _remove("system.posix_acl_access"),
    "fremovexattr": on(lambda fd: os.removexattr(fd, "user.mood")),
    "access W_OK": lambda where: syscall(FACCESSAT2, AT_FDCWD, where.path, os.W_OK, 0),
    "faccessat2 W_OK, AT_EACCESS": lambda where: syscall(FACCESSAT2, AT_FDCWD, where.path, os.W_OK, AT_EACCESS),
    "faccessat2 W_OK, AT_SYMLINK_NOFOLLOW": lambda where: syscall(
        FACCESSAT2, AT_FDCWD, where.path, os.W_OK | os.R_OK, AT_SYMLINK_NOFOLLOW
    ),
    "ioctl FS_IOC_SETFLAGS": on(lambda fd: fcntl.ioctl(fd, FS_IOC_SETFLAGS, bytes(8))),
    "ioctl FS_IOC_FSSETXATTR": on(lambda fd: fcntl.ioctl(fd, FS_IOC_FSSETXATTR, bytes(28))),
    "ioctl FS_IOC_SETVERSION": on(lambda fd: fcntl.ioctl(fd, FS_IOC_SETVERSION, bytes(8))),
    "ioctl FS_IOC_ENABLE_VERITY": on(
        lambda fd: fcntl.ioctl(fd, FS_IOC_ENABLE_VERITY, struct.pack("4I", 1, 1, 4096, 0) + bytes(112))
    ),
}


def _map_to_write(flags: int) -> Call:
    return on(lambda fd: mmap.mmap(fd, 1, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)[:0])


def _copy_into(where: Where) -> object:
    with opened(where.path) as to, opened("/proc/self/exe") as fd:
        return os.copy_file_range(fd, to, 10)


CONTENTS: Calls = {
    "truncate": lambda where: os.truncate(where.path, 1),
    "truncate to a negative size": lambda where: os.truncate(where.path, -1),
    "ftruncate of what is read": on(lambda fd: os.ftruncate(fd, 1)),
    "write to what is read": on(lambda fd: os.write(fd, b"x")),
    "write of O_PATH": on(lambda fd: os.write(fd, b"x"), os.O_PATH),
    "pwrite to what is read": on(lambda fd: os.pwrite(fd, b"x", 0)),
    "fallocate of what is read": on(lambda fd: os.posix_fallocate(fd, 0, 4096)),
    "fallocate": on(lambda fd: os.posix_fallocate(fd, 0, 4096), os.O_RDWR),
    "fallocate FALLOC_FL_PUNCH_HOLE of what is read": on(lambda fd: libc("fallocate", fd, 3, 0, 4096)),
    "mmap MAP_SHARED, PROT_WRITE": _map_to_write(mmap.MAP_SHARED),
    "mmap MAP_SHARED, PROT_WRITE of O_RDWR": on(lambda fd: len(mmap.mmap(fd, 1)), os.O_RDWR),
    "sendfile into what is read": on(lambda fd: os.sendfile(fd, fd, 0, 10)),
    "copy_file_range into what is read": _copy_into,
}

CALLS: Calls = {**OPENS, **NODES, **MOVES, **ATTRIBUTES, **CONTENTS}
