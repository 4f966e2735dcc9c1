"""Scanning a source down to the depth; a rescan reads only the directories that changed.

A scan takes names, and the attributes of everything that it does not descend into: a request in a merged directory must
not wait for the source. Access lists are read by each scan but the first, which a mount waits for (they double its
time): the crawl sends them.

A directory on a local filesystem with an unchanged stamp (dev, ino, mtime, ctime) keeps its names, so an idle rescan
costs one stat a directory. On any other filesystem unchanged times prove nothing (seen: rclone shows those of its first
listing, mergerfs those of one branch), so each directory is listed. Timestamps are coarse (FAT has 2 s, ext4 ticks): a
change right after the listing may leave the stamp as it was. So a stamp is settled only if the listing was made COARSE
seconds after the last change in it, or after this stamp was first seen (the latter survives clock jumps).

Iterative, level by level, so no tree is too deep. Runs in a thread of its own, with helpers if the source is slow and
not local (``source.parallel``); never on the event loop.
"""

import errno
import logging
import os
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace

from mmirrorfs.attributes import DIR, LINK, Attributes, Kind, bare
from mmirrorfs.listing import Listed, Listing, pack
from mmirrorfs.source.acl import AccessListReader, of_entries
from mmirrorfs.source.exclude import nothing_excluded
from mmirrorfs.source.freshness import COARSE
from mmirrorfs.source.links import stat_following
from mmirrorfs.source.parallel import each
from mmirrorfs.source.reader import CODEC, Reader
from mmirrorfs.source.search import DENIED, GONE, Progress, Search
from mmirrorfs.text import printable
from mmirrorfs.tree import Directory, Entry, Leaf, Rank

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Visit:
    """One directory during a scan. ``closed``: not even its attributes can be read. ``due``: it has to be checked.
    ``changed``: its names changed.
    """

    path: bytes
    name: bytes
    old: Directory | None
    found: Directory | None = None
    closed: bool = False
    due: bool = True
    changed: bool = False
    below: "list[_Visit]" = field(default_factory=list)


@dataclass(slots=True)
class _Found:
    """The names of one directory. With ``followed`` links it never settles: their targets do not move its stamp."""

    entries: dict[bytes, Entry] = field(default_factory=dict)
    listed: list[Listed] = field(default_factory=list)
    left_out: list[bytes] = field(default_factory=list)
    followed: bool = False
    only_folders: bool = True


class Scanner:
    """Scans one source to ``depth`` levels; with ``skip_empty`` it searches the folders there for files."""

    def __init__(
        self,
        reader: Reader,
        rank: Rank,
        depth: int,
        is_local: Callable[[bytes], bool] = lambda path: True,
        skip_empty: bool = False,
    ) -> None:
        self._reader = reader
        self._is_local = is_local
        self._skip_empty = skip_empty
        self._search: Search | None = None
        self._depth = depth
        self._rank = rank
        self._leaves: dict[int, Leaf] = {}
        self._check_root: Callable[[], None] = lambda: None
        self._only: Collection[bytes] | None = None
        self._above_only: set[bytes] = set()
        self._anew = self._reads_lists = self._brief = False

    def scan(
        self,
        old: Directory | None,
        check_root: Callable[[], None],
        progress: Progress | None = None,
        only: Collection[bytes] | None = None,
        anew: bool = False,
        brief: bool = False,
    ) -> Directory:
        """The tree as it is now; ``old`` itself if nothing changed, and every part of it that did not.

        ``only`` limits the scan to these directories and what is new in them, and the search to these folders
        (``source.search``). ``anew`` lists unchanged directories, too: attributes in them may have changed. A
        ``brief`` scan leaves out the attributes of directories: a third of the work.

        ``check_root`` is called before an error inside the source is believed; it raises OSError if the root is not
        valid. Raises OSError if the root cannot be listed.
        """
        self._check_root, self._only, self._anew, self._brief = check_root, only, anew, brief
        self._reads_lists = old is not None
        if self._skip_empty:
            self._search = Search(self._reader, self._is_local, check_root, progress, only, anew)
        self._above_only = {above for path in only or () for above in _ancestors(path)}
        root = _Visit(b"", b"", old, due=only is None or old is None or b"" in only)
        levels = [[root]]
        while levels[-1]:
            self._scan_level(levels[-1], len(levels), progress)
            levels.append([below for visit in levels[-1] for below in visit.below])
        for level in reversed(levels):
            for visit in level:
                self._share(visit)
        assert root.found is not None
        return root.found

    def _scan_level(self, visits: list[_Visit], level: int, progress: Progress | None) -> None:
        """One after the other on a local source; concurrently on a slow one."""

        def scan(visit: _Visit) -> None:
            self._scan(visit, level)
            if progress is not None and (self._search is None or visit.below):
                progress(len(visit.found.entries) if visit.found else 0)

        if not self._is_local(b""):
            return each(scan, visits)
        for visit in visits:
            scan(visit)

    def _scan(self, visit: _Visit, level: int) -> None:
        """One directory: its old names if its stamp is unchanged, else a new listing."""
        lowest = level >= self._depth
        try:
            visit.found = (self._unchanged(visit) or self._listed(visit, lowest)) if visit.due else visit.old
            if lowest and self._search is not None and visit.found is not None:
                visit.found = self._search.searched(visit.path, visit.found, visit.old)
        except OSError as error:
            self._check_root()
            if visit.old is not None and visit.path and error.errno not in GONE + DENIED:
                visit.found = visit.old  # an I/O error proves nothing
            elif not visit.path:
                raise
            elif error.errno in GONE:
                return
            else:
                visit.found = self._unreadable(visit, error)
                visit.closed = visit.found is None
        if not lowest:
            self._descend(visit)

    def _unchanged(self, visit: _Visit) -> Directory | None:
        old = visit.old
        if old is None or not old.settled or old.errno or self._is_wanted(visit.path) or not self._is_local(visit.path):
            return None
        whole = self._reader.root + b"/" + visit.path if visit.path else self._reader.root
        if len(whole) < 4000 and not self._reader.follow:
            st = os.stat(whole, follow_symlinks=False)
            stamp = (st.st_dev, st.st_ino, st.st_mtime_ns, st.st_ctime_ns)
        else:
            stamp = self._reader.stat(visit.path).stamp
        return old if stamp == old.attr.stamp else None

    def _is_wanted(self, path: bytes) -> bool:
        return self._anew or (self._only is not None and path in self._only)

    def _listed(self, visit: _Visit, lowest: bool) -> Directory:
        """A new listing; the stamp is read first, so a change during the call shows in the next scan."""
        old, now, wall = visit.old, time.monotonic(), time.time_ns()
        self._reader.wall_clock.update(now, wall)
        fd = self._reader.open_directory(visit.path)
        try:
            key = self._reader.mark(fd)
            own = self._reader.shown(os.fstat(fd))
            found = self._entries(fd, visit.path, lowest)
            new = self._directory(visit, own, found, now, wall)
            new.listing.key = key if not found.followed else b""
            reads_lists = self._reads_lists and self._is_local(visit.path)
            read_lists = AccessListReader(self._reader, visit.path, fd, own.dev) if reads_lists else None
            new.listing.lists = of_entries(
                new.listing, old.listing if old is not None else None, self._reader.wall_clock, read_lists, True
            )
        finally:
            os.close(fd)
        visit.changed = old is None or not _equal(old, new)
        if old is None or visit.changed:
            return new
        if new.listing.lists is None:
            new.listing.lists = old.listing.lists
        if new.listing.key:
            return replace(old, listing=new.listing)
        old.listing.lists = new.listing.lists
        return old

    @staticmethod
    def _directory(visit: _Visit, own: Attributes, found: "_Found", now: float, wall: int) -> Directory:
        old = visit.old
        since = old.since if old is not None and old.attr.stamp == own.stamp else now
        last = max(own.mtime_ns, own.ctime_ns)
        settled = not found.followed and (wall - last > COARSE * 1e9 or now - since > COARSE)
        links = tuple(found.left_out)
        listing = Listing(pack(own.stamp, settled, found.listed), now)
        return Directory(own, found.entries, found.only_folders, settled, since, 0, listing, links)

    def _entries(self, fd: int, path: bytes, lowest: bool) -> "_Found":
        """The names in one directory: the loop in which a scan spends its time.

        Directories in a ``lowest`` one are not scanned themselves, so their attributes are read here. If they will be
        searched, entries are taken in the order of inode numbers, that of the disk.
        """
        excluded, codec, folder = self._reader.excluded, CODEC, self._leaf(DIR)
        found = _Found()
        entries, listed, unknown, everything = found.entries, found.listed, bare(DIR), excluded is nothing_excluded
        typed = self._brief or not lowest
        with os.scandir(fd) as listing:
            for entry in listing if self._search is None else sorted(listing, key=os.DirEntry.inode):
                name = entry.name.encode(codec, "surrogateescape")
                if not everything and excluded(name):
                    continue
                if typed and entry.is_dir(follow_symlinks=False):
                    listed.append((name, unknown))
                    entries[name] = folder
                elif entry.is_symlink():
                    self._add_link(found, path + b"/" + name if path else name, name)
                else:
                    self._add(found, path, name, entry, lowest)
        return found

    def _add(self, found: "_Found", path: bytes, name: bytes, entry: "os.DirEntry[str]", lowest: bool) -> None:
        """Add an entry with its attributes, if they can be read, and the type in them.

        If the entry was replaced since it was listed, the stamp of the directory changed: a directory to be scanned,
        or a link, is left to the next scan.
        """
        attr = self._reader.attributes_of(path, name, entry)
        if attr is None or (attr.is_known and (attr.kind == LINK or (attr.kind == DIR and not lowest))):
            return
        found.listed.append((name, attr))
        found.entries[name] = self._leaf(attr.kind)
        found.only_folders = found.only_folders and attr.kind == DIR

    def _add_link(self, found: "_Found", path: bytes, name: bytes) -> None:
        """Leave a link out, unless it is followed and does not lead to a directory above itself."""
        found.only_folders = False
        if self._reader.follow:
            found.followed = True
            target = stat_following(self._reader.root, path)
            if target is not None:
                attr = self._reader.shown(target)
                found.entries[name] = self._leaf(attr.kind)
                found.listed.append((name, attr))
                return
        found.left_out.append(name)

    def _leaf(self, kind: Kind) -> Leaf:
        leaf = self._leaves.get(kind)
        if leaf is None:
            leaf = self._leaves[kind] = Leaf(self._rank, kind)
        return leaf

    def _descend(self, visit: _Visit) -> None:
        """Queue the directories in it. During the scan the subdirectories of a new Directory are leaves."""
        prefix = visit.path + b"/" if visit.path else b""
        only = self._only
        is_due = visit.changed or only is None or visit.path in only
        old = visit.old.entries if visit.old is not None else {}
        for name, entry in visit.found.entries.items() if visit.found else ():
            if entry.__class__ is Directory or entry.kind == DIR:  # type: ignore[union-attr]
                last, path = old.get(name), prefix + name
                due = is_due or not isinstance(last, Directory)
                if due or path in self._above_only:
                    below = last if isinstance(last, Directory) else None
                    visit.below.append(_Visit(path, name, below, due=due or (only is not None and path in only)))

    def _share(self, visit: _Visit) -> None:
        """Put the scanned subdirectories in place; keep the old Directory if none of them changed.

        One that is ``closed`` remains a leaf.
        """
        found = visit.found
        if found is None or not visit.below:
            return
        if found is visit.old and all(_is_unchanged(below, found.entries[below.name]) for below in visit.below):
            return
        entries = dict(found.entries)
        for below in visit.below:
            if below.found is not None or below.closed:
                entries[below.name] = below.found or self._leaf(DIR)
            else:
                del entries[below.name]
        visit.found = replace(found, entries=entries, only_folders=False)

    def _unreadable(self, visit: _Visit, error: OSError) -> Directory | None:
        """A directory that cannot be listed; None if its attributes cannot be read either."""
        try:
            own = self._reader.stat(visit.path)
        except OSError:
            return None
        old, code = visit.old, error.errno or errno.EIO
        if old is not None and old.errno == code and old.attr.stamp == own.stamp:
            return old
        log.warning("%s cannot be listed: %s", printable(self._reader.root + b"/" + visit.path), os.strerror(code))
        return Directory(own, {}, since=time.monotonic(), errno=code)


def _equal(old: Directory, new: Directory) -> bool:
    """Whether names, types and attributes are the same. Scanned subdirectories of ``old`` count as plain directories.

    Access times do not count: listing a directory may move them.
    """
    return (
        old.attr == new.attr._replace(atime_ns=old.attr.atime_ns)
        and old.settled == new.settled
        and old.errno == new.errno
        and old.links == new.links
        and old.listing.blob == new.listing.blob
        and old.entries.keys() == new.entries.keys()
        and all(
            (DIR if isinstance(entry, Directory) else entry.kind) == new.entries[name].kind  # type: ignore[union-attr]  # subdirectories of a new one are leaves
            for name, entry in old.entries.items()
        )
    )


def _is_unchanged(below: _Visit, entry: Entry) -> bool:
    """Whether a subdirectory is the entry that the directory has already."""
    return isinstance(entry, Leaf) if below.closed else below.found is not None and below.found is entry


def _ancestors(path: bytes) -> Iterator[bytes]:
    """The path and all directories above it, without the root."""
    while path:
        yield path
        path = path.rpartition(b"/")[0]
