"""The merged index of a view: installs scanned trees, merges those of all sources, swaps the index, publishes changes.

Invariant 1: merges run one at a time, in a thread; one assignment replaces the index; then the changes are published.
Invariant 2: a name that differs is in the first merge after its install is complete.

Event loop's thread only. After NoThread or MemoryError the next call makes up for the merge.
"""

import time
from functools import partial

import trio

from mmirrorfs.merge.index import Change, changes, exact, left_behind, merge, without
from mmirrorfs.serve.publish import PIECE, Publish
from mmirrorfs.source.known import Known
from mmirrorfs.source.threads import threaded
from mmirrorfs.source.walks import Revision, by_directory, names_of, revisions
from mmirrorfs.tree import Directory, Merged, Names, Trees
from mmirrorfs.view.state import State


class Indexer:
    """Keeps the index current. With ``fallback`` a lost source counts as empty, else it keeps its place."""

    def __init__(self, state: State, publish: Publish, fallback: bool) -> None:
        self._state = state
        self._publish = publish
        self._fallback = fallback
        self._lock = trio.Lock()
        self._merged: Trees = tuple(known.tree for known in state.known)
        self._installing: list[tuple[Known, Directory, Names]] = []
        """Installs under way: the cache, its tree before, and the names that differ, by directory."""
        self._unmerged: list[Names] = []
        """The names that differ by what was installed since the last merge, by directory."""

    async def install(self, known: Known, tree: Directory, revised: list[Revision]) -> None:
        """Install a scanned tree, unless it is the cached one, into the cache of its source; yields after each step."""
        if tree is known.tree:
            return
        self._installing.append((known, known.tree, names_of(revised)))
        known.begin(tree, revised)
        while known.advance():
            await trio.lowlevel.checkpoint()

    def remove(self, known: Known, paths: list[bytes]) -> None:
        """Remove paths that a source no longer has from its tree, and merge at once."""
        known.finish()
        left = without(known.tree, paths)
        if left is not known.tree:
            revised = revisions(known.tree, left, by_directory(paths))
            known.install(left, revised)
            self._unmerged.append(names_of(revised))
        self.merge_now()

    def merge_now(self) -> bool:
        """Finish all installs and merge without yielding; returns whether any tree had changed."""
        for known in self._state.known:
            known.finish()
        trees = self._present()
        if trees == self._merged:
            return False
        self._collect_installed()
        merged = _merged(trees, self._state, self._state.inodes.index, self._changed_names(trees))
        self._merged, self._unmerged = trees, []
        self._swap(*merged)
        return True

    async def merge(self) -> None:
        """Merge in a thread until the index is that of the present trees."""
        if self._present() == self._merged:
            return
        state = self._state
        async with self._lock:
            while (trees := self._present()) != self._merged:
                self._collect_installed()
                before, unmerged, count = state.inodes.index, self._unmerged, len(self._unmerged)
                call = partial(_merged_with_garbage, trees, state, before, self._changed_names(trees))
                index, changed, garbage = await threaded(call)
                if self._unmerged is unmerged:  # else merge_now() has replaced the index meanwhile
                    del unmerged[:count]
                    self._merged = trees
                    self._swap(index, changed)
                del before, index, call
                while garbage:  # in pieces: freeing a large tree at once would block the event loop
                    del garbage[-PIECE:]
                    await trio.lowlevel.checkpoint()

    def _present(self) -> Trees:
        """The trees to merge. Readers mark a source as lost too, so this is compared before each merge."""
        return tuple(
            None if source.lost is not None and self._fallback else known.tree
            for source, known in zip(self._state.sources, self._state.known, strict=True)
        )

    def _collect_installed(self) -> None:
        """Take the names of finished installs into the next merge; unfinished ones wait for the merge after that."""
        self._unmerged += [names for known, before, names in self._installing if known.tree is not before]
        self._installing = [one for one in self._installing if one[0].tree is one[1]]

    def _changed_names(self, trees: Trees) -> Names | None:
        """The names that may differ from the index, by directory; None if a whole source was added or removed."""
        if any((tree is None) is not (before is None) for tree, before in zip(trees, self._merged, strict=True)):
            return None
        if len(self._unmerged) == 1:
            return self._unmerged[0]
        found: dict[bytes, set[bytes]] = {}
        for unmerged in self._unmerged:
            for path, names in unmerged.items():
                found.setdefault(path, set()).update(names)
        return found

    def _swap(self, index: Merged, changed: list[Change]) -> None:
        if index is not self._state.inodes.index:
            self._state.inodes.install(index)
            self._publish.index(changed)


def _merged(trees: Trees, state: State, before: Merged, only: Names | None) -> tuple[Merged, list[Change]]:
    """The index of these trees, and how it differs from the one before."""
    index = merge(trees, state.inodes.order, state.pairing, before, time.time_ns(), only=only)
    return index, list(changes(before, index, only=only if state.pairing is exact else None))


def _merged_with_garbage(
    trees: Trees, state: State, before: Merged, only: Names | None
) -> tuple[Merged, list[Change], list[Merged]]:
    """The same, and what only the index before refers to."""
    index, changed = _merged(trees, state, before, only)
    return index, changed, left_behind(before, index)
