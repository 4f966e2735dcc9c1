"""Revalidation: brings the cached metadata of nodes up to date, and finds the error for those that were removed.

- In a merged directory nothing blocks, except on metadata that was never known: the kernel may hold the whole directory
  locked during one lookup. Expired metadata is replied with timeout 0 there, and fetched in the background.
- After an await, cached metadata is read again.

Event loop's thread only. Functions raise OSError.
"""

import errno
import os
from collections.abc import Mapping, Sequence

from mmirrorfs.attributes import DIR, Attributes, Kind
from mmirrorfs.listing import Listing
from mmirrorfs.source.fetch import Fetch, failure
from mmirrorfs.source.freshness import NEVER
from mmirrorfs.source.leaves import Leaves
from mmirrorfs.source.reader import attributes
from mmirrorfs.source.singles import Answer
from mmirrorfs.source.source import ABSENT, Source
from mmirrorfs.source.threads import spawn
from mmirrorfs.tree import Child, Leaf, Rank
from mmirrorfs.view.files import OpenFile
from mmirrorfs.view.nodes import FileNode, MergedNode
from mmirrorfs.view.replies import Replies, has_kind
from mmirrorfs.view.reports import Reports
from mmirrorfs.view.state import State


class Revalidation:
    """Fetches for one view; ``reports`` receives losses, and paths that are missing."""

    def __init__(self, state: State, reports: Reports, replies: Replies) -> None:
        self._known = state.known
        self._inodes = state.inodes
        self._files = state.files
        self._freshness = state.freshness
        self._reports = reports
        self._replies = replies
        both = list(zip(state.sources, state.known, strict=True))
        self.fetch = [Fetch(source, known, state.freshness, reports.lost) for source, known in both]
        self._leaves = [
            Leaves(source, known, state.freshness, reports.lost, self._report_missing) for source, known in both
        ]

    # Errors

    def stale_error(self, node: FileNode) -> OSError:
        """ESTALE, by which the kernel looks the name up again; cached metadata of its directory expires."""
        self._known[node.source.rank].distrust(node.above)
        return failure(errno.ESTALE)

    async def missing_error(self, node: FileNode) -> OSError:
        """The error for a node whose path is missing in its source; reports the shortest missing path.

        ESTALE, by which the kernel looks the whole path up again, if the view now has something else at the path of the
        node; otherwise ENOENT.
        """
        requested_at = self._freshness.clock()
        missing = await node.source.run(node.source.reader.first_missing, node.source_path, node.kind)
        if missing is not None:
            self._report_missing(
                node.source, {missing: node.kind if missing == node.source_path else DIR}, requested_at
            )
            self.stale_error(node)
            self._known[node.source.rank].distrust(missing.rpartition(b"/")[0])  # something else may have its name
        return failure(errno.ESTALE if missing is not None and self._inodes.is_shown(node.path) else errno.ENOENT)

    async def missing_name_error(self, above: FileNode) -> OSError:
        """The error for a name that is missing in a folder: the folder itself may have been removed."""
        source = above.source
        if source.lost is not None or self._known[source.rank].has_valid_names(above.source_path, self._freshness):
            return failure(errno.ENOENT)
        try:
            try:
                source.cached(source.reader.stat, above.source_path)
            except BlockingIOError:
                await source.run(source.reader.stat, above.source_path)
        except OSError:
            return await self.missing_error(above)
        return failure(errno.ENOENT)

    def _report_missing(self, source: Source, paths: Mapping[bytes, Kind], requested_at: float) -> None:
        """Forget paths that did not exist with these types at that time, unless newer metadata says otherwise."""
        remove, now = self._known[source.rank].remove, self._freshness.clock()
        self._reports.missing(source, [path for path, kind in paths.items() if remove(path, kind, requested_at, now)])

    # Any node

    async def revalidate(self, node: FileNode) -> None:
        """Revalidate the attributes of a node.

        Raises ENOENT if its path is missing, or has another type; ESTALE if the view has something else there now; EIO
        if the attributes were never known.
        """
        file = self._files.of(node)
        if file is not None:
            await self._open_file(file)
        elif node.indexed:
            if await self.leaf(node) is None:
                raise failure(errno.ESTALE if self._inodes.is_shown(node.path) else errno.ENOENT)
        else:
            try:
                found = await self.fetch[node.source.rank].entry(node.above, node.name)
            except OSError as error:
                raise await self.missing_error(node) if error.errno in ABSENT else error from None
            if found.attr is not None and found.attr.kind != node.kind:
                raise failure(errno.ENOENT)
        self._replies.answer(node)

    async def _open_file(self, file: OpenFile) -> None:
        """Take the attributes of the open file itself. Does not block in a merged directory."""
        node = file.node
        if file.local:  # fstat(2) takes 1 us, and the file may have changed since the last event
            node.held = Answer(attributes(os.fstat(file.fd)), self._freshness.clock())
        elif node.held is not None and self._freshness.is_fresh(node.held.when):
            return
        elif node.indexed:
            spawn(file.refresh, self._update)
        else:
            last = node.held
            attr, is_fetched = await file.attributes(lambda: last.attr if last is not None else None)
            if is_fetched:
                self._update(file, attr)

    def _update(self, file: OpenFile, attr: Attributes) -> None:
        if file.node.opened:  # it may have been closed meanwhile
            file.node.held = Answer(attr, self._freshness.clock())

    # Leaves of merged directories

    async def leaf(self, node: FileNode) -> Answer | None:
        """Revalidate a leaf; None if it is removed. Waits only if its attributes were never known."""
        found = self._cached_leaf(node)
        if found is not None and found.attr is None:
            await self._leaves[node.source.rank].wait(node.above)
            found = self._cached_leaf(node)
        return found

    def _cached_leaf(self, node: FileNode) -> Answer | None:
        """The cached metadata of a leaf, revalidated if due; None if it is removed.

        If it contradicts the index, either the index is older, or the name was fetched by itself before a scan listed
        its directory.
        """
        known = self._known[node.source.rank]
        found = known.entry(node.above, node.name)
        if not has_kind(found, node.kind):
            if self._reports.merge_pending():
                return None
            known.take_back(node.above, node.name)
            found = known.entry(node.above, node.name)
            if self._replies.is_outdated(node):
                return None
        if found is not None and self._freshness.is_fresh(found.when):
            return found
        if self._leaves[node.source.rank].refresh(node.above, {node.name: node.kind}):
            return None
        return known.entry(node.above, node.name) or Answer(None, NEVER)

    def leaves(self, above: MergedNode, children: Sequence[tuple[bytes, Child]]) -> None:
        """Revalidate some leaves of one directory, with one call for each source."""
        due: dict[Rank, dict[bytes, Kind]] = {}
        for name, child in children:
            if isinstance(child, Leaf):
                own = child.name or name
                found = self._known[child.source].entry(above.path_in(child.source), own)
                if not has_kind(found, child.kind) and self._reports.merge_pending():
                    return  # the index was replaced
                if found is None or not has_kind(found, child.kind) or not self._freshness.is_fresh(found.when):
                    due.setdefault(child.source, {})[own] = child.kind
        for rank, wanted in due.items():
            self._leaves[rank].refresh(above.path_in(rank), wanted)

    # Folders

    async def listing(self, node: FileNode) -> Listing:
        """The listing of a folder. Raises ESTALE or ENOENT if it is removed."""
        try:
            return await self.fetch[node.source.rank].directory(node.source_path)
        except OSError as error:
            raise await self.missing_error(node) if error.errno in ABSENT else error from None
