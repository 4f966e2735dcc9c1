"""Watching open directories: by a fanotify mark of their filesystem, by an inotify watch, or not at all (polled).

``Marker.mark`` is called before a directory is listed, so that changes during the listing cause events.
Rule 1: the first directory of a filesystem decides for all of it, by what the kernel supports: a mark of the whole;
else a watch of each directory within the budget; else it is polled. Filesystems that are not local are polled: a mark
may succeed there, but changes by other machines cause no events.
Rule 2: a mark vanishes with its filesystem, and the same one mounted again has none. So all decisions are void when the
mount table changes. The directory is opened before the table is checked, which leaves no gap. Cached data that relied
on a vanished mark is for the caller to doubt: an inotify watch of the root (``Watches.add``) gives UNMOUNT.
Rule 3: no descriptor of a marked or watched directory is kept: that would prevent unmounting.

Any thread of any process that inherited the descriptors may call it: the keys are the same (a crawl marks for its
parent, which reads the events). A call takes 7 us (9 us with inotify, 3 us if polled); the first one of a filesystem
0.3 ms, plus disk access on btrfs.
"""

import errno
import os
import select
import threading
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from mmirrorfs.source.fanotify import FilesystemMarks
from mmirrorfs.source.filesystems import LOCAL, Mount, TableChanges, mount_id, mounts
from mmirrorfs.source.handles import fsid_of, handle_of
from mmirrorfs.source.inotify import Watches, limit
from mmirrorfs.source.subvolumes import top_of

How = Literal["fanotify", "inotify", "polled"]

_WHY: Final = {
    errno.EPERM: "not permitted",
    errno.EACCES: "not permitted",
    errno.ENOSYS: "not known to this kernel",
    errno.EINVAL: "not known to this kernel",
    errno.EXDEV: "not possible on this btrfs subvolume",
    errno.EOPNOTSUPP: "not possible on {type}",
    errno.ENODEV: "not possible on {type}",
    errno.ENOSPC: "fs.fanotify.max_user_marks is reached",
}
"""Why a mark failed. EXDEV on btrfs is that of the subvolume, whatever error its top volume gave."""


class Way(NamedTuple):
    """How a filesystem is watched, and in words ``why`` not by a better way; "" if there is none.

    ``short``: there were too few inotify watches for all of its directories, the rest is polled. ``fsid`` is that of
    fanotify events; ``mount`` the id of the mount on which it was seen.
    """

    how: How
    why: str
    short: bool = False
    fsid: bytes = b""
    mount: int = 0


Met = tuple[int, How, str, bool, int]
"""A ``Way`` without the fsid, after its st_dev, in a form that can be sent."""
Report = tuple[int, list[Met]]
"""The number of inotify watches that a child added, and its filesystems."""


class Unmarked:
    """A marker for a process without descriptors: everything is polled."""

    report: Report = (0, [])

    def mark(self, fd: int) -> bytes:
        """No key."""
        return b""


class Marker:
    """Marks with a fanotify group and an inotify instance, both owned by the caller.

    ``budget`` is the number of inotify watches it may add.
    """

    def __init__(self, fanotify: int | None = None, inotify: int | None = None, budget: int = 0) -> None:
        self._marks = None if fanotify is None else FilesystemMarks(fanotify)
        self._watches = None if inotify is None else Watches(inotify)
        self._allowed = budget
        self._lock = threading.Lock()
        self._changes = TableChanges()
        self._news = select.poll()
        self._news.register(self._changes.descriptor, select.POLLIN)
        self._valid: dict[int, Way] = {}
        self._ways: dict[int, Way] = {}
        self._table = 0

    @property
    def ways(self) -> dict[int, Way]:
        """The last decision for each filesystem (on btrfs: subvolume), by st_dev."""
        with self._lock:
            return dict(self._ways)

    @property
    def budget(self) -> int:
        """Watches that may still be added; too few if others add to the same instance."""
        return self._allowed - self.made

    @property
    def made(self) -> int:
        """Watches added through this object."""
        return self._watches.made if self._watches is not None else 0

    def allow(self, more: int) -> None:
        """Add the watches that ended to the budget; or subtract those of a child."""
        with self._lock:
            self._allowed += more

    @property
    def report(self) -> Report:
        """For a parent: the watches to subtract from its budget, and the filesystems to ``learn``."""
        return self.made, [(device, way.how, way.why, way.short, way.mount) for device, way in self.ways.items()]

    def learn(self, met: Iterable[Met]) -> None:
        """Adopt the decisions of a child: filesystems not seen here, and those with too few watches."""
        with self._lock:
            for device, how, why, short, mount in met:
                own = self._ways.get(device)
                if own is None or (short and own.how == how):
                    self._ways[device] = Way(how, why, short, mount=mount)

    def close(self) -> None:
        """Close its own descriptors. Marks and watches stay."""
        self._changes.close()

    def mark(self, fd: int) -> bytes:
        """Watch an open directory; returns the key of its events, b"" if it is polled.

        Raises OSError only if that is no open directory.
        """
        device = os.fstat(fd).st_dev
        with self._lock:
            if self._news.poll(0):
                self._valid.clear()
                self._table += 1
            way, table = self._valid.get(device), self._table
        if way is None:
            way = self._decided(device, fd, table)
        if way.how == "fanotify":
            return handle_of(fd, way.fsid)
        return self._watched(device, way, fd) if way.how == "inotify" else b""

    def _decided(self, device: int, fd: int, table: int) -> Way:
        """Decide, without the lock: this may access a disk. Void if the mount table changed meanwhile."""
        found = {mount.id: mount for mount in mounts()}
        way = self._way(fd, found.get(mount_id(fd)))
        with self._lock:
            self._ways = {known: other for known, other in self._ways.items() if other.mount in found}
            self._ways[device] = way
            if table == self._table:
                self._valid[device] = way
        return way

    def _way(self, fd: int, mount: Mount | None) -> Way:
        if mount is None:  # lazily unmounted, or not in this namespace
            return Way("polled", "not in the mount table")
        if mount.type not in LOCAL:
            return Way("polled", f"{os.fsdecode(mount.type)} is not a local filesystem", mount=mount.id)
        try:
            return Way("fanotify", "", fsid=self._marked(fd, mount), mount=mount.id)
        except OSError as error:
            reason = _WHY.get(error.errno or 0, "{error}").format(type=os.fsdecode(mount.type), error=error.strerror)
        if self._watches is None:
            return Way("polled", f"fanotify: {reason}; inotify: not to be had", mount=mount.id)
        return Way("inotify", f"fanotify: {reason}", mount=mount.id)

    def _marked(self, fd: int, mount: Mount) -> bytes:
        """Mark the filesystem; returns the fsid of its events. Raises OSError."""
        if self._marks is None:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        if not handle_of(fd):
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        try:
            self._marks.mark(fd)
        except OSError as error:
            if error.errno != errno.EXDEV or mount.type != b"btrfs":
                raise
            return self._marked_at_top(fd, mount, error)
        return fsid_of(fd)

    def _marked_at_top(self, fd: int, mount: Mount, error: OSError) -> bytes:
        assert self._marks is not None
        try:
            with top_of(fd, mount.what) as top:
                self._marks.mark(top)
                return fsid_of(top)
        except OSError:
            raise error from None

    def _watched(self, device: int, way: Way, fd: int) -> bytes:
        assert self._watches is not None
        if self.budget > 0:
            try:
                return self._watches.add(fd)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    return b""  # for this directory alone: no read permission
            self.allow(-self.budget)
        if not way.short:
            self._run_short(device, way)
        return b""

    def _run_short(self, device: int, way: Way) -> None:
        why = f"{way.why}; inotify: no more watches, fs.inotify.max_user_watches is {limit()}"
        with self._lock:
            for ways in (self._valid, self._ways):
                if ways.get(device) == way:
                    ways[device] = way._replace(short=True, why=why)
