"""Known: the cache of one source, and the scanned tree that the merge is made of; installs a newer tree in steps.

Rule 1: each step handles STEP directories or names at the most.
Rule 2: between two steps each directory is cached as it was or as it is, whole.
Rule 3: ``tree`` is the old one until the last step, so the index, merged from it, is never newer than the cache.

Event loop's thread only; no I/O. Raises nothing.
"""

from collections.abc import Callable, Collection, Iterator, Sequence

from mmirrorfs.difference import Difference, is_news
from mmirrorfs.source.cache import Cache, Changed
from mmirrorfs.source.cache_limit import CacheLimit
from mmirrorfs.source.folders import Folders
from mmirrorfs.source.walks import Inode, Revision, directories_of, revisions
from mmirrorfs.tree import Directory

STEP = 64
"""Directories, or names, in one step of an install: some milliseconds."""


class Known(Cache):
    """The cache, with a ``tree`` of all directories above the depth; see ``Cache`` for the other arguments."""

    def __init__(
        self,
        tree: Directory,
        cache_limit: CacheLimit,
        stable: bool = True,
        changed: Changed = lambda *_: None,
        mountpoints: Callable[[], Collection[bytes]] = tuple,
    ) -> None:
        super().__init__(cache_limit, stable, changed, mountpoints)
        self.tree = tree
        self.folders = Folders(self.trust)
        for path, directory in directories_of(tree):
            self.listings.put(path, directory.listing, True)
            self.folders.update(path, None, directory, directory.entries)
        self._steps: Iterator[bool] = iter(())

    def install(self, tree: Directory, revised: Sequence[Revision] | None = None) -> None:
        """Replace the tree at once; ``revised`` is how it differs from the old one, if that was compared already."""
        self.finish()
        self.begin(tree, revisions(self.tree, tree) if revised is None else revised)
        self.finish()

    def begin(self, tree: Directory, revised: Sequence[Revision]) -> None:
        """Prepare to replace the tree step by step."""
        self._steps = self._install(tree, revised)

    def advance(self) -> bool:
        """Take one step; returns whether there was one."""
        return next(self._steps, False)

    def finish(self) -> None:
        """Take all steps that are left."""
        while self.advance():
            pass

    def _install(self, tree: Directory, revised: Sequence[Revision]) -> Iterator[bool]:
        removed, created = dict[bytes, Inode](), dict[bytes, Inode]()
        changed: list[tuple[bytes, list[Difference], float]] = []
        for number, one in enumerate(revised, 1):
            yield from self._update_folders(one)
            changes = self._replace(one)
            removed.update(one.removed)
            created.update(one.created)
            if one.new is not None:
                changed.append((one.path, changes, one.new.listing.fetched_at))
            if number % STEP == 0:
                yield True
        yield from self._move(removed, created)
        yield from self._check_scanned(created)
        self._check_mismatched({one.path for one in revised})
        for path, changes, when in changed:
            for start in range(0, len(changes), STEP):
                self._report(path, changes[start : start + STEP], when)
                yield True
        self.tree = tree

    def _update_folders(self, one: Revision) -> Iterator[bool]:
        """Mark a folder that held no file and does so now as stale: else it would win with a listing that is empty."""
        for start in range(0, len(one.searched), STEP):
            for folder in self.folders.update(one.path, one.old, one.new, one.searched[start : start + STEP]):
                for directory in self.listings.subtree(folder):
                    self.distrust(directory)
            yield True

    def _replace(self, one: Revision) -> list[Difference]:
        """Store the listing of one scanned directory, or drop it; returns the changes of attributes in it."""
        path, new = one.path, one.new
        if path not in self.listings.above:
            self.forget(path)
        if new is None:
            self._singles.take(path)
            self.listings.pop(path)
            return []
        if one.old is None or is_news(one.old.attr, new.attr):
            self._values.forget([path])
        unreadable = self._answers_for(path, new.listing, [*one.unreadable, *self.since(path)])
        compared = (one.old.listing, one.differences) if one.old is not None else (None, [])
        changes = [found for found in self._changes(path, new.listing, compared) if found.before and found.after]
        self._store(path, new.listing, above=True)
        for name, answer in unreadable.items():
            self.amend(path, name, *answer)
        return changes

    def _check_scanned(self, created: dict[bytes, Inode]) -> Iterator[bool]:
        """Check the cached listings of directories that the scan found at their paths (``Cache``, rule 5)."""
        while created:
            path, inode = created.popitem()
            above = self.listings.above.get(path.rpartition(b"/")[0])
            if above is not None:
                self._check(path, inode, above.fetched_at)
            if len(created) % STEP == 0:
                yield True
