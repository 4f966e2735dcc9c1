"""The mount table (/proc/self/mountinfo, proc(5)): which paths are on local filesystems, ids of mounts, changes.

Nothing here accesses a path itself, so a dead or hung mount blocks nothing. Any thread may call it.
"""

import contextlib
import ctypes
import os
import re
import select
import struct
from collections.abc import Collection
from dataclasses import dataclass

LOCAL = frozenset(
    b"bcachefs btrfs cramfs erofs exfat ext2 ext3 ext4 f2fs fat hfs hfsplus iso9660 jfs minix msdos nilfs2 ntfs3 "
    b"overlay ramfs reiserfs rootfs squashfs tmpfs udf ufs vfat xfs zfs".split()
)
"""Types that need neither a network nor another process. Calls on all others run in threads only."""

STABLE = LOCAL | {b"fuse.glusterfs"}
"""Types whose inode numbers identify a directory for as long as it exists, even when renamed; others reassign numbers,
or derive them from paths."""

VIEW_TYPE = b"fuse.mmirrorfs"

_AT_EMPTY_PATH, _AT_STATX_DONT_SYNC = 0x1000, 0x4000
_STATX_MNT_ID_UNIQUE = 0x4000
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo: mount id, device number, mountpoint, type, and source (bytes are unescaped)."""

    id: int
    device: str
    where: bytes
    type: bytes
    what: bytes


def mounts() -> list[Mount]:
    """All mounts of this namespace; later ones cover earlier ones."""
    with open("/proc/self/mountinfo", "rb") as file:
        return [_parsed(line) for line in file]


def _parsed(line: bytes) -> Mount:
    fields, _, rest = line.partition(b" - ")
    number, _, device, _, where, *_ = fields.split(b" ")
    kind, what, *_ = rest.split(b" ")
    return Mount(int(number), device.decode(), unescaped(where), kind, unescaped(what))


def unescaped(text: bytes) -> bytes:
    """A field of mountinfo or fstab without its octal escapes."""
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), text)


def mount_id(fd: int) -> int:
    """The number of the mount that a descriptor is on. Sends no request to the filesystem."""
    with open(f"/proc/self/fdinfo/{fd}") as info:
        return next(int(line.split()[1]) for line in info if line.startswith("mnt_id"))


def unique_id(fd: int) -> int:
    """The number of that mount that no other one ever gets (statx(2), STATX_MNT_ID_UNIQUE, Linux 6.8); 0 where the
    kernel or the C library has none. Sends no request to the filesystem.
    """
    answer = ctypes.create_string_buffer(256)
    with contextlib.suppress(AttributeError):
        flags = _AT_EMPTY_PATH | _AT_STATX_DONT_SYNC
        if _libc.statx(fd, b"", flags, _STATX_MNT_ID_UNIQUE, answer) == 0:
            (mask,) = struct.unpack_from("=I", answer)
            return int(struct.unpack_from("=Q", answer, 0x90)[0]) if mask & _STATX_MNT_ID_UNIQUE else 0
    return 0


def mount_at(path: bytes) -> Mount | None:
    """The topmost mount whose mountpoint is exactly ``path``."""
    return next((mount for mount in reversed(mounts()) if mount.where == path), None)


def mount_under(path: bytes) -> Mount | None:
    """The mount that holds ``path``, an absolute path free of links."""
    best: Mount | None = None
    for mount in mounts():
        inside = mount.where == b"/" or path == mount.where or path.startswith(mount.where + b"/")
        if inside and (best is None or len(mount.where) >= len(best.where)):
            best = mount
    return best


class Locality:
    """Which parts of the tree under ``root`` are on local filesystems: others may be mounted inside.

    As of the last ``update``, to be called when the mount table changes (``TableChanges``).
    """

    def __init__(self, root: bytes) -> None:
        self._root = root
        self.whole = self.stable = False
        """Whether the filesystem of the root is local, and whether its inode numbers are stable."""
        self._inside: dict[bytes, bool] = {}
        self._mounts: list[Mount] = []
        self.update()

    def update(self) -> bool:
        """Read the mount table; returns whether the mounts of the root and inside it changed."""
        prefix = self._root.rstrip(b"/") + b"/"
        holding, inside = mount_under(self._root), [mount for mount in mounts() if mount.where.startswith(prefix)]
        self.whole = holding is not None and holding.type in LOCAL
        self.stable = holding is not None and holding.type in STABLE
        self._inside = {mount.where[len(prefix) :]: mount.type in LOCAL for mount in inside}
        before, self._mounts = self._mounts, [*inside, *([holding] if holding is not None else [])]
        return before != self._mounts

    def inside(self) -> Collection[bytes]:
        """The mountpoints inside, relative to the root."""
        return self._inside.keys()

    def of(self, path: bytes) -> bool:
        """Whether ``path``, relative to the root, is on a local filesystem."""
        if not self._inside:
            return self.whole
        while path:
            found = self._inside.get(path)
            if found is not None:
                return found
            path = path.rpartition(b"/")[0]
        return self.whole


class TableChanges:
    """Changes of the mount table of this namespace: ``descriptor`` becomes readable once for each.

    mountinfo is always readable, and has EPOLLPRI after a change (proc(5)), so an epoll waits for that. Polling resets
    it: the descriptor is for one waiter.
    """

    def __init__(self) -> None:
        self._table = open("/proc/self/mountinfo", "rb")  # noqa: SIM115  # closed by close()
        self._epoll = select.epoll()
        self._epoll.register(self._table, select.EPOLLPRI)
        self.descriptor = self._epoll.fileno()

    def close(self) -> None:
        """Close the descriptors."""
        self._epoll.close()
        self._table.close()


def parents(path: bytes) -> list[bytes]:
    """The ancestors of an absolute path, the nearest first."""
    above = []
    while path != b"/":
        path = os.path.dirname(path)
        above.append(path)
    return above
