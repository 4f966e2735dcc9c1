"""What is in merged directories and is taken from one source: folders at the depth, and loose files above it.

Rule 1: nobody waits here. The kernel holds the whole directory while one lookup in it is unanswered, so the last
attributes that the source gave answer, taken by the scan or since.
Rule 2: what is too old is asked again: at once where the answer is in memory, else in one of the source's threads,
and meanwhile the old ones are shown, which the kernel may not keep (they are not fresh, see ``View.is_fresh``).
Rule 3: a source that says that something is gone is believed at once, and reported; the index then has what is left.

Event loop's thread only.
"""

import errno
import time
from collections.abc import Callable, Iterable

from mmirrorfs.source.pace import beside
from mmirrorfs.source.source import ABSENT, Source, SourceLost
from mmirrorfs.tree import Attributes, Directory, packed, unpacked
from mmirrorfs.view.nodes import FileNode, Node, is_replaced

Place = tuple[int, bytes]
"""(rank of a source, path of a directory in it)."""

Answer = Attributes | OSError


class Leaves:
    """Keeps the attributes of the leaves of one view. ``held`` gives the node of a number that the kernel holds,
    ``directory`` what the index has of a directory of a source; ``report_missing`` is told of a path of a source that
    is gone, or is something else now, and ``report_lost`` of a source that is.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        held: Callable[[int], Node | None],
        directory: Callable[[FileNode], Directory | None],
        report_missing: Callable[[Source, bytes], None],
        report_lost: Callable[[Source], None],
    ) -> None:
        self._clock = clock
        self._held = held
        self._directory = directory
        self._report_missing = report_missing
        self._report_lost = report_lost
        self._asking: dict[Place, dict[int, FileNode]] = {}

    def recall(self, node: FileNode, directory: Directory | None) -> None:
        """Give a new node what the index has of it; it stays bare where its attributes could never be had."""
        blob = directory.known.get(_name(node)) if directory is not None else None
        attr = unpacked(blob) if blob is not None else None
        if attr is not None and attr.kind == node.kind and directory is not None:
            age = self._clock() - directory.taken
            node.update((attr, time.time_ns() - int(age * 1e9)), directory.taken)

    def last(self, node: FileNode) -> Attributes | None:
        """What the source last gave of the path of a leaf, whatever of it is open."""
        directory = self._directory(node)
        blob = directory.known.get(_name(node)) if directory is not None else None
        return unpacked(blob) if blob is not None else None

    def refresh(self, nodes: Iterable[FileNode]) -> bool:
        """Have these asked about again (rule 2); returns whether all of them are still there, as they were."""
        places: dict[Place, list[FileNode]] = {}
        for node in nodes:
            places.setdefault((node.source.rank, _above(node)), []).append(node)
        there = [self._refresh_in(own[0].source, place[1], own) for place, own in places.items()]
        return all(there)

    def _refresh_in(self, source: Source, directory: bytes, nodes: list[FileNode]) -> bool:
        try:
            answers = self._cached(source, directory, nodes)
        except SourceLost:
            self._report_lost(source)
            for node in nodes:
                node.seen = self._clock()
            return True
        late = [node for node, answer in answers if isinstance(answer, BlockingIOError)]
        if late:
            self._ask(source, directory, late)
        there = [self._take(node, answer) for node, answer in answers if not isinstance(answer, BlockingIOError)]
        return all(there)

    def _cached(self, source: Source, directory: bytes, nodes: list[FileNode]) -> list[tuple[FileNode, Answer]]:
        """What is in memory of them."""
        try:
            if len(nodes) == 1:  # half the system calls, and what a lookup needs
                return [(nodes[0], source.cached(source.reader.stat, nodes[0].inner))]
            found = source.cached(source.stat_several, directory, [_name(node) for node in nodes])
            return list(zip(nodes, found, strict=True))
        except SourceLost:
            raise
        except OSError as error:
            return [(node, error) for node in nodes]

    def _take(self, node: FileNode, answer: Answer) -> bool:
        """Take note of an answer; returns whether what it was about is still there."""
        if isinstance(answer, Attributes) and answer.kind == node.kind:
            if not is_replaced(node, answer):  # or it would be told of what is open
                node.update((answer, time.time_ns()), self._clock())
            directory = self._directory(node)
            if directory is not None:
                directory.known[_name(node)] = packed(answer)
            return True
        if isinstance(answer, Attributes) or answer.errno in ABSENT:
            self._report_missing(node.source, node.inner)
            return False
        return True  # an error of its own tells nothing of what is there

    def _ask(self, source: Source, directory: bytes, nodes: list[FileNode]) -> None:
        """Have a thread ask about some names of a directory; one at a time, what comes meanwhile is asked next."""
        place, wanted = (source.rank, directory), {node.ino: node for node in nodes}
        waiting = self._asking.get(place)
        if waiting is not None:
            waiting.update(wanted)
            return
        self._asking[place] = wanted
        beside(self._ask_until_done, source, directory)

    async def _ask_until_done(self, source: Source, directory: bytes) -> None:
        place = (source.rank, directory)
        try:
            while nodes := list(self._asking[place].values()):
                self._asking[place] = {}
                answers = await self._asked(source, directory, nodes)
                for node, answer in zip(nodes, answers, strict=True):
                    held = self._held(node.ino)
                    self._take(held if isinstance(held, FileNode) else node, answer)
        finally:
            del self._asking[place]

    async def _asked(self, source: Source, directory: bytes, nodes: list[FileNode]) -> list[Answer]:
        try:
            return list(await source.run(source.stat_several, directory, [_name(node) for node in nodes]))
        except SourceLost:
            self._report_lost(source)
        except OSError as error:
            return [error] * len(nodes)
        return [OSError(errno.EIO, "lost")] * len(nodes)


def _above(node: FileNode) -> bytes:
    return node.inner.rpartition(b"/")[0]


def _name(node: FileNode) -> bytes:
    return node.inner.rpartition(b"/")[2]
