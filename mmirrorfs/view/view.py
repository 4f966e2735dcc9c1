"""The filesystem without FUSE: one view of the sources, as awaitable functions on inode numbers.

Rule 1: answers come from what is known of the sources (``source.known``), which is proved first where it is too old.
Rule 2: between reading what is known and writing the reply nothing is awaited; after a wait, it is read again.
Rule 3: in a merged directory nobody waits, but for what was never known: the kernel may hold all of it while one lookup
in it is unanswered. What is too old is told there as it was last known, for no time, and proved meanwhile.
Rule 4: what lies in one source stays what it is, so that what is open goes on.
Rule 5: of a directory that is open and has gone by now, the last that is known is told: fstat(2) does not fail.

Everything runs on the event loop's thread; between two awaits nothing else does. Functions raise OSError.
"""

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from mmirrorfs.attributes import DIR, Attributes, Kind, bare
from mmirrorfs.listing import Listing
from mmirrorfs.source.fetch import Fetch, failure
from mmirrorfs.source.freshness import INDEXED, NEVER, WATCHED
from mmirrorfs.source.leaves import Leaves
from mmirrorfs.source.pace import spawn
from mmirrorfs.source.reader import NotAFile, attributes
from mmirrorfs.source.singles import Answer
from mmirrorfs.source.source import ABSENT, Source, SourceLost
from mmirrorfs.source.walks import join
from mmirrorfs.tree import Child, Leaf, Merged, Rank
from mmirrorfs.view.files import OpenFile
from mmirrorfs.view.nodes import FileNode, MergedNode, Node, is_replaced, is_same
from mmirrorfs.view.pages import Pages
from mmirrorfs.view.reports import Reports
from mmirrorfs.view.state import State

LONGEST = 255
"""Bytes: few sources take a longer name (NAME_MAX); of one that is not there, the error says so."""


class Absent(FileNotFoundError):
    """There is none of that name; ``when`` says when that was so, in monotonic seconds."""

    def __init__(self, when: float = INDEXED) -> None:
        super().__init__(errno.ENOENT, os.strerror(errno.ENOENT))
        self.when = when


@dataclass(slots=True)
class Listed:
    """A directory that is open: what it had when it was opened last, and by how many handles it is."""

    attr: Attributes
    handles: int = 0


class View:
    """One view; ``reports`` is told of what it finds out."""

    def __init__(self, state: State, reports: Reports) -> None:
        self.sources = state.sources
        self.known = state.known
        self.inodes = state.inodes
        self.files = state.files
        self.freshness = state.freshness
        self.pairing = state.pairing
        self.pages = Pages(state, reports)
        self.listed: dict[int, Listed] = {}
        """The directories that are open, by inode number: rule 5."""
        self._reports = reports
        both = list(zip(state.sources, state.known, strict=True))
        self.fetch = [Fetch(source, known, state.freshness, reports.lost) for source, known in both]
        self.leaves = [
            Leaves(source, known, state.freshness, reports.lost, self.report_missing) for source, known in both
        ]

    def report_missing(self, source: Source, paths: Mapping[bytes, Kind], asked: float) -> None:
        """What was asked for, of these types, is gone: nothing of it is told any longer, unless it is known better."""
        remove, now = self.known[source.rank].remove, self.freshness.clock()
        self._reports.missing(source, [path for path, kind in paths.items() if remove(path, kind, asked, now)])

    # Requests

    async def lookup(self, parent: int, name: bytes) -> Node:
        """The node of a name in a directory. Raises Absent where there is none."""
        above = self.inodes.node(parent)
        if name in (b".", b".."):
            return await self.dots(above, name)
        if isinstance(above, MergedNode):
            return await self._lookup_merged(above, name)
        assert isinstance(above, FileNode)
        return await self._lookup_inside(above, name)

    async def dots(self, node: Node, name: bytes) -> Node:
        """What ``.`` or ``..`` is for a node, with fresh attributes: what an NFS server asks for a handle."""
        if isinstance(node, FileNode):
            await self.freshen(node)
        elif isinstance(node, MergedNode):
            self.inodes.current(node)
        return node if name == b"." else await self._directory_of(node)

    async def getattr(self, ino: int) -> Node:
        """The node, with attributes that are fresh. ENOENT where it is gone, ESTALE where its name has another now."""
        node = self.inodes.node(ino)
        try:
            if isinstance(node, MergedNode):
                self.inodes.current(node)
            elif isinstance(node, FileNode):
                await self.freshen(node)
        except OSError as error:
            listed = self.listed.get(ino)
            if listed is None or not listed.attr.is_known or error.errno not in ABSENT | {errno.ESTALE}:
                raise
        return node

    async def readlink(self, ino: int) -> bytes:
        """The target of a symbolic link, as it stands in the source."""
        node = self.inodes.file_node(ino)
        return await self.fetch[node.source.rank].value(node.source_path, b"", briefly=False)

    async def open(self, ino: int) -> tuple[int, bool]:
        """Open a file to read; returns its handle and whether what the kernel has cached of it is still true.

        EIO where the source is lost. ESTALE where the name leads to another file by now while the old one is open, or
        to something of another type, or to another source: the kernel then looks the name up again.
        """
        node, asked = self.inodes.file_node(ino), self.freshness.clock()
        source = node.source
        try:
            fd, attr = await source.open_content(node.source_path)
        except SourceLost:
            self._reports.lost(source)
            raise
        except NotAFile:
            raise self._stale(node) from None
        except OSError as error:
            raise await self.gone(node) if error.errno in ABSENT else error from None
        if is_replaced(node, attr):
            source.pace.close(fd, source.is_local(node.source_path))
            raise self._stale(node)
        same, now = is_same(node.kernel_attr, attr), self.freshness.clock()
        if not same:
            self.known[source.rank].amend(node.above, node.name, attr, now, asked)
        return self.files.add(fd, node, attr, now), same

    # What is told

    def answer(self, node: Node) -> tuple[Attributes, float]:
        """What is told of a node now, and when that was so. EIO where its attributes were never to be had."""
        found = self.last_answer(node)
        if found[0].is_known:
            return found
        listed = self.listed.get(node.ino)
        if listed is None or not listed.attr.is_known:
            raise failure(errno.EIO)
        return listed.attr, NEVER

    def last_answer(self, node: Node) -> tuple[Attributes, float]:
        """The same, for a listing: where its attributes were never to be had, its type alone."""
        if isinstance(node, MergedNode):
            return node.attr, self._indexed(node)
        assert isinstance(node, FileNode)
        found = node.held or self.known[node.source.rank].entry(node.above, node.name)
        if found is None or found.attr is None or found.attr.kind != node.kind:
            return bare(node.kind), NEVER
        return node.shown(found.attr), found.when

    def _indexed(self, node: MergedNode) -> float:
        """When what the index has of a merged directory is true: the least of what it is merged from."""
        inputs = [(rank, found) for rank, found in enumerate(node.merged.inputs) if found is not None]
        is_watched = all(self.known[rank].when(node.path_in(Rank(rank))) == WATCHED for rank, _ in inputs)
        return WATCHED if is_watched else INDEXED

    def _absence(self, name: bytes, when: float) -> OSError:
        """The error for a name that is not in a directory, as is known since ``when``."""
        if len(name) > LONGEST:
            return failure(errno.ENAMETOOLONG)
        return Absent(when if self.freshness.forgets else INDEXED)

    # What is gone

    def _stale(self, node: FileNode) -> OSError:
        """The error that makes the kernel look the name up again, and what is known of the name distrusted for that."""
        self.known[node.source.rank].distrust(node.above)
        return failure(errno.ESTALE)

    async def gone(self, node: FileNode) -> OSError:
        """What to answer for a node whose source says that its path leads to nothing.

        What is missing is reported, from the shortest path on that is. ESTALE, by which the kernel looks the whole path
        up again, where the view has something else in its place by now; ENOENT where it has not.
        """
        asked = self.freshness.clock()
        missing = await node.source.run(node.source.reader.first_missing, node.source_path, node.kind)
        if missing is not None:
            self.report_missing(node.source, {missing: node.kind if missing == node.source_path else DIR}, asked)
            self._stale(node)
            self.known[node.source.rank].distrust(missing.rpartition(b"/")[0])  # something else may have its name
        return failure(errno.ESTALE if missing is not None and self.inodes.is_shown(node.path) else errno.ENOENT)

    async def _directory_of(self, node: Node) -> Node:
        """The directory above: what an NFS server asks for a handle that it kept."""
        above = node.path.rpartition(b"/")[0]
        merged = self.inodes.find(above)
        if isinstance(node, FileNode) and not isinstance(merged, Merged):
            folder = self.inodes.known(FileNode(node.source, node.above, above, DIR, merged is not None))
            await self.freshen(folder)
            return folder
        place = self.inodes.along(above)
        assert isinstance(place, MergedNode)
        return place

    # Attributes

    async def freshen(self, node: FileNode) -> None:
        """Have what is known of a node proved, where it is too old, as far as anybody waits for that.

        ENOENT where the path holds nothing, or something of another type; ESTALE where its name in the view has
        something else by now; EIO where its attributes were never to be had.
        """
        file = self.files.of(node)
        if file is not None:
            await self._freshen_open(file)
        elif node.indexed:
            if await self._leaf(node) is None:
                raise failure(errno.ESTALE if self.inodes.is_shown(node.path) else errno.ENOENT)
        else:
            try:
                found = await self.fetch[node.source.rank].entry(node.above, node.name)
            except OSError as error:
                raise await self.gone(node) if error.errno in ABSENT else error from None
            if found.attr is not None and found.attr.kind != node.kind:
                raise failure(errno.ENOENT)
        self.answer(node)

    def prove_leaf(self, node: FileNode) -> Answer | None:
        """Have a leaf of a merged directory proved, where that is due; returns what is known of it, if it is there.

        Where what is known does not fit the index, the index is the older one, or a single name was proved by itself
        before the scan came by it.
        """
        known = self.known[node.source.rank]
        found = known.entry(node.above, node.name)
        if not _fits(found, node.kind):
            if self._reports.outdated():
                return None
            known.take_back(node.above, node.name)
            found = known.entry(node.above, node.name)
            if self.is_outdated(node):
                return None
        if found is not None and self.freshness.is_fresh(found.when):
            return found
        if self.leaves[node.source.rank].refresh(node.above, {node.name: node.kind}):
            return None
        return known.entry(node.above, node.name) or Answer(None, NEVER)

    async def _leaf(self, node: FileNode) -> Answer | None:
        """The same. Nobody waits but for what was never known: right after the start."""
        found = self.prove_leaf(node)
        if found is not None and found.attr is None:
            await self.leaves[node.source.rank].wait(node.above)
            found = self.prove_leaf(node)
        return found

    def is_outdated(self, node: Node) -> bool:
        """Whether a leaf of an index that was swapped since is known to be gone, or to be something else."""
        if not isinstance(node, FileNode) or node.held is not None:
            return False
        known = self.known[node.source.rank]
        found = known.entry(node.above, node.name)
        return not _fits(found, node.kind) and (found is not None or known.listing(node.above) is None)

    def prove_leaves(self, above: MergedNode, children: Sequence[tuple[bytes, Child]]) -> None:
        """The same for some of the leaves of one directory, with one call a source."""
        due: dict[Rank, dict[bytes, Kind]] = {}
        for name, child in children:
            if isinstance(child, Leaf):
                own = child.name or name
                found = self.known[child.source].entry(above.path_in(child.source), own)
                if not _fits(found, child.kind) and self._reports.outdated():
                    return  # and the index is another one now
                if found is None or not _fits(found, child.kind) or not self.freshness.is_fresh(found.when):
                    due.setdefault(child.source, {})[own] = child.kind
        for rank, wanted in due.items():
            self.leaves[rank].refresh(above.path_in(rank), wanted)

    async def listing(self, node: FileNode) -> Listing:
        """All that is in a folder. ESTALE or ENOENT where it is gone."""
        try:
            return await self.fetch[node.source.rank].directory(node.source_path)
        except OSError as error:
            raise await self.gone(node) if error.errno in ABSENT else error from None

    async def _freshen_open(self, file: OpenFile) -> None:
        """Of what is open, whatever has its name by now. Nobody waits where it is in a merged directory."""
        node = file.node
        if file.local:  # a microsecond, and it may have changed since it was reported
            node.held = Answer(attributes(os.fstat(file.fd)), self.freshness.clock())
        elif node.held is not None and self.freshness.is_fresh(node.held.when):
            return
        elif node.indexed:
            spawn(self.files.prove, file, self._prove_open)
        else:
            attr, fresh = await file.attributes(partial(_attr, node.held))
            if fresh:
                self._prove_open(file, attr)

    def _prove_open(self, file: OpenFile, attr: Attributes) -> None:
        if file.node.opened:  # it may have been closed meanwhile
            file.node.held = Answer(attr, self.freshness.clock())

    # Names

    async def _lookup_merged(self, above: MergedNode, name: bytes) -> Node:
        """A winner that is found gone gives way to the next source at once."""
        for _ in range(len(self.sources) + 1):
            child = self.inodes.current(above).children.get(name)
            if child is None:
                raise self._absence(name, self._indexed(above))
            node = self.inodes.child(above, name, child)
            if not isinstance(node, FileNode):
                return node
            found = await self._leaf(node)
            if found is not None and found.attr is not None:
                return self.inodes.identified(node, found.attr)
        raise failure(errno.EIO)

    async def _lookup_inside(self, above: FileNode, name: bytes) -> FileNode:
        """The node of a name in a folder."""
        if above.source.reader.excluded(name):
            raise self._absence(name, WATCHED)
        found = self.known[above.source.rank].entry(above.source_path, name)
        if found is None or not self.freshness.is_fresh(found.when):
            found = await self._proved(above, name)
        if found.attr is None:
            raise self._absence(name, found.when)
        source_path = join(above.source_path, name)
        path = source_path if above.path is above.source_path else join(above.path, name)
        node = self.inodes.known(FileNode(above.source, source_path, path, found.attr.kind, False))
        return self.inodes.identified(node, found.attr)

    async def _proved(self, above: FileNode, name: bytes) -> Answer:
        """What a folder has under a name; raises the error for one that is not in it."""
        try:
            return await self.fetch[above.source.rank].entry(above.source_path, name)
        except OSError as error:
            if len(name) > LONGEST and error.errno == errno.ENOENT:
                raise failure(errno.ENAMETOOLONG) from None
            raise await self._absent(above) if error.errno in ABSENT else error from None

    async def _absent(self, above: FileNode) -> OSError:
        """The error for a name that is not in a folder: the folder itself may not be there any more."""
        source = above.source
        if source.lost is not None or self.known[source.rank].is_proved(above.source_path, self.freshness):
            return failure(errno.ENOENT)
        try:
            try:
                source.cached(source.reader.stat, above.source_path)
            except BlockingIOError:
                await source.run(source.reader.stat, above.source_path)
        except OSError:
            return await self.gone(above)
        return failure(errno.ENOENT)


def _fits(answer: Answer | None, kind: Kind) -> bool:
    return answer is not None and answer.attr is not None and answer.attr.kind == kind


def _attr(answer: Answer | None) -> Attributes | None:
    return answer.attr if answer is not None else None
