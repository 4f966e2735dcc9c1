"""The cache of one source: listings, attributes of single names, extended attributes and link targets.

Rule 1: only an answer of the source changes it. A failed call changes nothing, so a lost source stays cached.
Rule 2: a stale entry stays cached. ``Freshness.is_fresh`` says whether it may be replied; ``source.fetch`` renews it.
Rule 3: nothing above the depth is evicted. Below it the least recently used directory goes first
(``source.cache_limit``).
Rule 4: a directory whose (dev, ino) is found at another path was renamed: all that is cached below it moves along.
Rule 5: a listing of another (dev, ino) than the directory above has under that name is dropped if it is the older of
the two, and marked as doubtful if it is the newer one.
Rule 6: a change is reported after it was applied.

Event loop's thread only; no I/O. Raises nothing.
"""

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping

from mmirrorfs.attributes import DIR, Attributes, Kind
from mmirrorfs.difference import Comparison, Difference, differences, is_news, is_other_directory
from mmirrorfs.listing import Listed, Listing
from mmirrorfs.source.cache_limit import CacheLimit
from mmirrorfs.source.freshness import NEVER, WATCHED, Freshness
from mmirrorfs.source.listings import Listings
from mmirrorfs.source.singles import Answer, Singles, Value, Values, is_news_of, is_of_another, listed
from mmirrorfs.source.trust import Trust
from mmirrorfs.source.walks import Inode, inodes_in, presumed_inodes, renames
from mmirrorfs.tree import join

Changed = Callable[[bytes, list[Difference]], None]
"""Called with a directory and the changes in it. An entry that is cached for the first time is no change."""


class Cache:
    """Everything cached of one source, above the depth and below it.

    ``changed`` gets changes of names and attributes below the depth, and of attributes alone above it: changes of
    names there are the merge's. ``stable`` says that inode numbers identify directories. On sshfs and the like a
    forgotten inode gets a new number, so there the path identifies a directory. ``mountpoints`` are the paths on which
    other filesystems, or other files, are mounted.
    """

    def __init__(
        self,
        cache_limit: CacheLimit,
        stable: bool,
        changed: Changed,
        mountpoints: Callable[[], Collection[bytes]] = tuple,
    ) -> None:
        self._cache_limit = cache_limit
        self._stable = stable
        self._changed = changed
        self._mountpoints = mountpoints
        self.listings = Listings()
        self.trust = Trust()
        self._singles = Singles(self.listings.above)
        self._values = Values()
        self._mismatched = set[bytes]()
        """Cached directories whose parent had another (dev, ino) for them when they were listed."""
        cache_limit.members.append(self)

    # Queries

    @property
    def used(self) -> int:
        """The entries below the depth."""
        return self.listings.used + self._singles.used + self._values.used

    def listing(self, path: bytes) -> Listing | None:
        """The last listing of a directory; None if it was never listed, or evicted."""
        return self.listings.use(path)

    def entry(self, directory: bytes, name: bytes) -> Answer | None:
        """What is cached of a name, and the time it holds for; None if nothing is."""
        answer, listing = self._last(directory, name), self.listings.use(directory)
        if answer is None:
            return None
        when = self.trust.when(directory, listing, answer.when, name)
        if when == WATCHED and answer.attr is not None and not self.is_reported(directory, name, answer.attr):
            when = answer.when
        return Answer(answer.attr, when)

    def is_reported(self, directory: bytes, name: bytes, attr: Attributes) -> bool:
        """Whether changes of these attributes cause events: of a watched directory, or of a file with one link.

        Those of a mounted file cause events in its own directory.
        """
        if attr.kind != DIR:
            mountpoints = self._mountpoints()
            is_mounted = bool(mountpoints) and join(directory, name) in mountpoints
            return not is_mounted and not attr.may_change_elsewhere
        inner = self.listings.peek(join(directory, name))
        return inner is not None and bool(inner.key) and inner.fetched_at >= self.trust.since

    def _last(self, directory: bytes, name: bytes) -> Answer | None:
        """The latest answer about a name, with the time of that answer."""
        return self._singles.get(directory, name) or listed(self.listings.peek(directory), name)

    def when(self, directory: bytes) -> float:
        """The time the whole listing of a directory holds for; NEVER if there is none."""
        listing = self.listings.peek(directory)
        return self.trust.when(directory, listing, listing.fetched_at) if listing is not None else NEVER

    def since(self, directory: bytes) -> Mapping[bytes, Answer]:
        """The single names fetched since the directory was listed."""
        return self._singles.of(directory)

    def current(self, directory: bytes) -> Listing | None:
        """``listing`` with the single names applied that were created, removed or changed in type since."""
        listing = self.listing(directory)
        applied = self._singles.applied(directory, listing) if listing is not None else None
        if applied is None:
            return listing
        self.apply(directory, applied)
        return applied

    def has_valid_names(self, directory: bytes, freshness: Freshness) -> bool:
        """Whether the names of a directory are cached and fresh."""
        listing = self.listings.use(directory)
        return listing is not None and freshness.is_fresh(self.trust.when(directory, listing, listing.validated_at))

    def value(self, path: bytes, name: bytes) -> tuple[Value, float] | None:
        """An extended attribute, or under the name b"" a link target; and when it was requested."""
        return self._values.get(path, name)

    # Answers of the source

    def apply(self, path: bytes, listing: Listing, compared: Comparison | None = None) -> None:
        """Store a new listing, unless a newer one is cached or the path is above the depth (``Known.install``).

        ``compared`` is how it differs from an earlier listing, if a thread found out already.
        """
        cached, own = self.listings.peek(path), self._last(*path.rpartition(b"/")[::2])
        if path in self.listings.above or (cached is not None and cached.fetched_at > listing.fetched_at):
            return
        if not self._stable or not is_of_another(own, listing):
            self._apply(path, listing, compared)

    def _apply(self, path: bytes, listing: Listing, compared: Comparison | None = None) -> None:
        unreadable = self._answers_for(path, listing, [name for name, _ in listing.unknown()])
        changes = self._changes(path, listing, compared)
        old = self.listings.pop(path)
        self._store(path, listing, above=False)
        self._compare_with_parent(path, listing)
        if old is not None and old.blob != listing.blob:
            removed = dict(inodes_in(path, old))
            for _ in self._move(removed, {**presumed_inodes(path, listing, removed), **dict(inodes_in(path, listing))}):
                pass
        self._check_all(path, listing.directories(), listing.fetched_at)
        for name, answer in unreadable.items():
            self.amend(path, name, *answer)
        self._cache_limit.shrink(self, path)
        self._report(path, changes, listing.fetched_at)

    def _store(self, path: bytes, listing: Listing, above: bool) -> None:
        """Put a listing in the place of an older one, and of the single names older than it."""
        self.listings.put(path, listing, above)
        self.trust.settle(path, listing.fetched_at)
        self.trust.arrive(path, listing)
        for name, answer in self._singles.take(path).items():
            if answer.when > listing.fetched_at:
                self._singles.add(path, name, answer, listing)

    def offer(self, path: bytes, listing: Listing) -> bool:
        """Store a listing that nobody requested, without evicting anything; returns whether there was room."""
        old = self.listing(path)
        if old is not None and old.fetched_at >= listing.fetched_at:
            return True
        if old is None and self._cache_limit.used + max(1, len(listing)) > self._cache_limit.limit:
            return False
        self.apply(path, listing)
        return True

    def prove(self, path: bytes, when: float) -> None:
        """Note that the stamp of a directory is unchanged: it has the same names."""
        listing = self.listings.peek(path)
        if listing is not None:
            self.listings.replace(path, listing.still(when))

    def amend(
        self, directory: bytes, name: bytes, attr: Attributes | None, when: float, requested_at: float | None = None
    ) -> None:
        """Store the attributes of one name, None if it is absent; received at ``when``."""
        requested_at = when if requested_at is None else requested_at
        self.trust.settle(directory, requested_at, name)
        before = self._last(directory, name)
        self._singles.add(directory, name, Answer(attr, when), self.listings.peek(directory))
        self._cache_limit.shrink(self, directory)
        if before is not None and is_other_directory(before.attr, attr, self._stable):
            self.forget(join(directory, name))
        elif attr is not None:
            self._check_all(directory, [(name, attr)], requested_at)
        if before is not None and is_news(before.attr, attr):
            self._report(directory, [Difference(name, before.attr, attr)], when)

    def take_back(self, directory: bytes, name: bytes) -> None:
        """Drop a single name that was fetched while its directory was listed: the listing may be the newer one."""
        self._singles.remove(directory, name)

    def note(self, path: bytes, name: bytes, value: Value, when: float) -> None:
        """Store a value: see ``value``."""
        self._values.note(path, name, value, when)
        self._cache_limit.shrink(self, None)

    def distrust(self, directory: bytes) -> None:
        """Mark all that is cached of a directory as stale."""
        listing = self.listing(directory)
        if listing is not None:
            self.listings.replace(directory, Listing(listing.blob, NEVER, key=listing.key, lists=listing.lists))
        for name, answer in list(self.since(directory).items()):
            self._singles.add(directory, name, Answer(answer.attr, NEVER), listing)

    def remove(self, path: bytes, kind: Kind, requested_at: float, when: float) -> bool:
        """Note that there was nothing of that ``kind`` at a path; returns False if a newer answer says otherwise."""
        directory, _, name = path.rpartition(b"/")
        if is_news_of(self.listings.peek(directory), self._singles.get(directory, name), name, kind, requested_at):
            return False
        self.amend(directory, name, None, when)
        self.forget(path)
        return True

    def forget(self, path: bytes) -> None:
        """Drop all that is cached of a directory that is gone, and of everything in it."""
        self._values.forget([path])
        for directory in self.listings.subtree(path) or [path]:
            self.trust.forget(directory)
            self._mismatched.discard(directory)
            if directory in self.listings.below and (old := self.listings.pop(directory)) is not None:
                names = old.names() if self._values.used else ()
                self._values.forget(join(directory, name) for name in names)
            self._singles.take(directory)

    def evict(self, kept: bytes | None) -> bool:
        """Drop the least recently used directory or values, but not ``kept``; returns whether there were any."""
        path = next((path for path in self.listings.below if path != kept), None)
        if path is not None:
            self._cache_limit.tight.set()
            self.listings.pop(path)
            self.trust.forget(path)
        elif self._values.evict():
            return True
        else:
            path = next((path for path in self._singles if path != kept and path not in self.listings.above), None)
        if path is not None:
            self._singles.take(path)
        return path is not None

    # Renamed and replaced directories

    def _move(self, removed: dict[bytes, Inode], created: dict[bytes, Inode]) -> Iterator[bool]:
        """Rule 4, for the directories that were at some paths and those that are there now; yields after each."""
        moved: list[tuple[bytes, Listing, Mapping[bytes, Answer]]] = []
        for path, target in renames(removed, created, self._stable, self.listings.below).items():
            if target is not None:
                inside = self.listings.subtree(path)
                moved += [(target + old[len(path) :], self.listings.below[old], self.since(old)) for old in inside]
            self.forget(path)
            yield True
        for path, listing, since in moved:  # after all were removed: two directories may have swapped names
            if path in self.listings.above:
                continue  # the scan lists it now
            self._apply(path, listing)
            for name, later in since.items():
                self.amend(path, name, later.attr, later.when)
            if since or not listing.settled:  # an answer may be about the directory that had this path by then
                self.trust.miss(path, max([listing.fetched_at, *[later.when for later in since.values()]]))
            yield True

    def _check_all(self, path: bytes, found: Iterable[Listed], requested_at: float) -> None:
        """Rule 5, for directories ``found`` in one."""
        for name, attr in found:
            if attr.is_known:
                self._check(join(path, name), (attr.dev, attr.ino, attr.mtime_ns), requested_at)

    def _check(self, path: bytes, inode: Inode, requested_at: float) -> None:
        """Rule 5, for the inode that the parent had at ``requested_at``."""
        cached = self.listings.below.get(path)
        if cached is None or not self._stable or cached.stamp[:2] == inode[:2]:
            return
        if cached.fetched_at > requested_at:
            directory, _, name = path.rpartition(b"/")
            self._mismatched.add(path)
            self.trust.miss(directory, cached.fetched_at, name)
        else:
            self.forget(path)
            self.trust.miss(path, requested_at)

    def _check_mismatched(self, scanned: Container[bytes]) -> None:
        """Rule 5 once more, for the mismatches in directories that were scanned since."""
        for path in [one for one in self._mismatched if one.rpartition(b"/")[0] in scanned]:
            self._mismatched.discard(path)
            directory, _, name = path.rpartition(b"/")
            own, above = self._last(directory, name), self.listings.above.get(directory)
            if above is not None and own is not None and own.attr is not None:
                self._check_all(directory, [(name, own.attr)], above.fetched_at)

    def _compare_with_parent(self, path: bytes, listing: Listing) -> None:
        """Doubt the attributes that the parent has: changes before the directory was watched caused no event."""
        directory, _, name = path.rpartition(b"/")
        own = self._last(directory, name)
        if own is None or own.attr is None or own.when >= listing.fetched_at or own.attr.stamp == listing.stamp:
            return
        self.trust.miss(directory, listing.fetched_at, name)
        if own.attr.stamp[:2] != listing.stamp[:2]:
            self._mismatched.add(path)

    # Differences

    def _answers_for(self, path: bytes, listing: Listing, names: Iterable[bytes]) -> dict[bytes, Answer]:
        """The cached answers for names that a listing has no attributes of: a source that is being lost still lists
        names.
        """
        found = [(name, listing.get(name), self._last(path, name)) for name in names]
        return {
            name: old
            for name, attr, old in found
            if attr and not attr.is_known and old is not None and old.attr and old.attr.kind == attr.kind
        }

    def _changes(self, path: bytes, listing: Listing, compared: Comparison | None) -> list[Difference]:
        """How a listing differs from what is cached."""
        old = self.listings.peek(path)
        if compared is None or _blob(compared[0]) is not _blob(old):
            compared = (old, differences(old, listing) if old is not None else [])
        return self._singles.differences(path, listing, compared[1])

    def _report(self, directory: bytes, changes: list[Difference], when: float) -> None:
        """Drop the values of what changed, doubt the directories that did, and pass the changes on."""
        if changes:
            self._values.forget(join(directory, one.name) for one in changes)
            for path in self.listings.superseded(directory, changes):  # or one with the same number replaced it
                self.trust.miss(path, when)
            self._changed(directory, changes)


def _blob(listing: Listing | None) -> bytes | None:
    """What makes two listings equal, whenever they were fetched or validated."""
    return listing.blob if listing is not None else None
