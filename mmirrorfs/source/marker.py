"""How the changes of an open directory come to be known: by fanotify, by inotify, or not at all.

Whoever lists a directory calls ``Marker.mark`` with it before, so that what changes during the listing is reported.
Rule 1: each filesystem is decided upon by itself, when the first directory of it comes, by what the kernel answers:
a mark of it all; else a watch of each directory within the budget; else it is polled. What is not local is polled:
a mark may succeed there, but what others change is never reported.
Rule 2: a mark goes with its filesystem, and what comes back has none. So nothing that was decided holds any longer
when the mount table changes; the directory that is asked about was opened before the table is looked at, which
leaves no gap.
What was known by a mark that has gone is for the caller to doubt: a watch of the root (``Watches.add``), which is
told of with UNMOUNT, says so for sure.
Rule 3: no descriptor is kept of what is marked or watched: that would hold its unmounting up.

Any thread may call this, of any process that inherited the descriptors: keys are the same for all (a crawl marks for
its parent, who reads the events). A call takes 7 us (9 us with inotify, 3 us where it is polled); the first one of a
filesystem 0.3 ms, and what its disk takes where it is btrfs.
"""

import errno
import os
import select
import threading
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from mmirrorfs.source.fanotify import FilesystemMarks
from mmirrorfs.source.filesystems import LOCAL, Mount, TableChanges, mounts
from mmirrorfs.source.handles import fsid_of, handle_of
from mmirrorfs.source.inotify import Watches, limit
from mmirrorfs.source.links import mount_id
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
"""What a failed mark means. The btrfs one is that of the subvolume, whyever its top volume could not be had."""


class Way(NamedTuple):
    """How a filesystem is watched, and in words ``why`` it is not watched better; "" where it cannot be.

    ``short`` is set where the inotify watches did not do for all of its directories: the rest is polled.
    ``fsid`` is what the events have, with fanotify; ``mount`` the number of the mount it was seen on.
    """

    how: How
    why: str
    short: bool = False
    fsid: bytes = b""
    mount: int = 0


Met = tuple[int, How, str, bool, int]
"""How a filesystem is watched, in a form that can be sent: st_dev, and a ``Way`` without the fsid."""
Report = tuple[int, list[Met]]
"""How many inotify watches a child has made, and what it has met."""


class Unmarked:
    """In the place of a marker where nothing is reported."""

    report: Report = (0, [])

    def mark(self, fd: int) -> bytes:
        """No key."""
        return b""


class Marker:
    """Marks with the fanotify group and the inotify instance of those descriptors; both stay the caller's.

    ``budget`` is how many inotify watches it may make.
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
        """What was last decided for each filesystem (on btrfs: subvolume), by st_dev."""
        with self._lock:
            return dict(self._ways)

    @property
    def budget(self) -> int:
        """Watches that may yet be made. Where others make some with the same instance, rather too few."""
        return self._allowed - self.made

    @property
    def made(self) -> int:
        """Watches that were made through this object."""
        return self._watches.made if self._watches is not None else 0

    def allow(self, more: int) -> None:
        """Add to the budget: watches that have ended. Or take away from it: those that a child made."""
        with self._lock:
            self._allowed += more

    @property
    def report(self) -> Report:
        """What a parent has to ``learn``, and to take from its budget."""
        return self.made, [(device, way.how, way.why, way.short, way.mount) for device, way in self.ways.items()]

    def learn(self, met: Iterable[Met]) -> None:
        """What a child has decided of what was not met here, and where the watches did not do for it."""
        with self._lock:
            for device, how, why, short, mount in met:
                own = self._ways.get(device)
                if own is None or (short and own.how == how):
                    self._ways[device] = Way(how, why, short, mount=mount)

    def close(self) -> None:
        """Give back what is its own. What was marked stays so."""
        self._changes.close()

    def mark(self, fd: int) -> bytes:
        """The key that the events of an open directory have from now on; b"" where it is polled.

        Raises OSError only where that is no open directory.
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
        """Decide, without the lock: this may wait for a disk. What is true of ``fd`` may not be of what came since."""
        found = {mount.id: mount for mount in mounts()}
        way = self._way(fd, found.get(mount_id(fd)))
        with self._lock:
            self._ways = {known: other for known, other in self._ways.items() if other.mount in found}
            self._ways[device] = way
            if table == self._table:
                self._valid[device] = way
        return way

    def _way(self, fd: int, mount: Mount | None) -> Way:
        if mount is None:  # unmounted lazily, or never in this namespace
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
        """Mark the filesystem and return its fsid in the events. Raises OSError."""
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
                    return b""  # this directory alone: it may not be read
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
