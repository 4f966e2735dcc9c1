"""What kind of filesystem lies under a path, from /proc/self/mountinfo (proc(5)).

Any thread may call this; nothing here touches the path itself, so a dead or hung mount is no danger.
"""

import os
import re
import select
from dataclasses import dataclass

LOCAL = frozenset(
    b"bcachefs btrfs cramfs erofs exfat ext2 ext3 ext4 f2fs fat hfs hfsplus iso9660 jfs minix msdos nilfs2 ntfs3 "
    b"overlay ramfs reiserfs rootfs squashfs tmpfs udf ufs vfat xfs zfs".split()
)
"""Types that answer from this machine's own disk or memory; all others are asked in threads only."""

STABLE = LOCAL | {b"fuse.glusterfs"}
"""Types whose inode numbers are a directory's own for as long as it is there, so that one that was renamed is known by
them; others give out numbers anew, or make them from paths."""

VIEW_TYPE = b"fuse.mmirrorfs"


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo: where, of what type, from what (all bytes, unescaped), and the mount's own number."""

    id: int
    device: str
    where: bytes
    type: bytes
    what: bytes


def mounts() -> list[Mount]:
    """All mounts of this namespace, later ones over earlier ones."""
    with open("/proc/self/mountinfo", "rb") as file:
        return [_parsed(line) for line in file]


def _parsed(line: bytes) -> Mount:
    fields, _, rest = line.partition(b" - ")
    number, _, device, _, where, *_ = fields.split(b" ")
    kind, what, *_ = rest.split(b" ")
    return Mount(int(number), device.decode(), unescaped(where), kind, unescaped(what))


def unescaped(text: bytes) -> bytes:
    """A field of mountinfo or fstab as it is meant."""
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), text)


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


def is_local(path: bytes) -> bool:
    """Whether ``path`` lies on a filesystem that needs neither a network nor another process to answer."""
    mount = mount_under(path)
    return mount is not None and mount.type in LOCAL


class Locality:
    """Which parts of the tree under ``root`` lie on local filesystems: others may be mounted inside.

    As of the last ``update``, to be called when the mount table changes (``table_changes``).
    """

    def __init__(self, root: bytes) -> None:
        self._root = root
        self.whole = self.stable = False
        """Whether the root's own filesystem is local, and whether its inode numbers are stable."""
        self._inside: dict[bytes, bool] = {}
        self._mounts: list[Mount] = []
        self.update()

    def update(self) -> bool:
        """Read the mount table again; returns whether another mount holds the root, or others lie inside."""
        prefix = self._root.rstrip(b"/") + b"/"
        holding, inside = mount_under(self._root), [mount for mount in mounts() if mount.where.startswith(prefix)]
        self.whole = holding is not None and holding.type in LOCAL
        self.stable = holding is not None and holding.type in STABLE
        self._inside = {mount.where[len(prefix) :]: mount.type in LOCAL for mount in inside}
        before, self._mounts = self._mounts, [*inside, *([holding] if holding is not None else [])]
        return before != self._mounts

    @property
    def inside(self) -> list[bytes]:
        """Where other filesystems are mounted, relative to the root."""
        return list(self._inside)

    def of(self, path: bytes) -> bool:
        """Whether ``path``, relative to the root, lies on a local filesystem."""
        if not self._inside:
            return self.whole
        while path:
            found = self._inside.get(path)
            if found is not None:
                return found
            path = path.rpartition(b"/")[0]
        return self.whole


class TableChanges:
    """Tells when a mount is made or taken away in this namespace: ``descriptor`` becomes readable, once a change.

    mountinfo itself is always readable and has EPOLLPRI besides (proc(5)), so it is watched by an epoll for that.
    Asking takes the news away: the descriptor is for one waiter.
    """

    def __init__(self) -> None:
        self._table = open("/proc/self/mountinfo", "rb")  # noqa: SIM115  # closed by close()
        self._epoll = select.epoll()
        self._epoll.register(self._table, select.EPOLLPRI)
        self.descriptor = self._epoll.fileno()

    def close(self) -> None:
        """Give the descriptors back."""
        self._epoll.close()
        self._table.close()


def parents(path: bytes) -> list[bytes]:
    """The directories above an absolute path, the nearest first."""
    above = []
    while path != b"/":
        path = os.path.dirname(path)
        above.append(path)
    return above
