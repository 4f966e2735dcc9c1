"""Keeping the index current: scan, merge, swap, tell. It is what a view reports to (``view.reports``).

Rule 1: each source is looked at on its own, in a thread, never twice at once: a slow one holds up nobody.
Rule 2: the index is merged beside the old one and swapped in by one assignment; after that, and never from a
handler, the kernel is told of the names that changed.
Rule 3: what the view finds gone is taken out of the index at once, so that the next source answers in its place, and
the source is scanned.
Rule 4: a lost source keeps its place in the view (``keep``) or counts as empty (``fallback``); one warning when it is
lost, one line when it is back, and it is looked at every PROBE seconds meanwhile.

Runs on the event loop as one task a source; looks and merges run in threads.
"""

import logging
import math
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial

import trio

from mmirrorfs.merge.index import Change, changes, exact, left_behind, merge, without
from mmirrorfs.serve.publish import PIECE, Publish
from mmirrorfs.source.filesystems import TableChanges
from mmirrorfs.source.freshness import NEVER
from mmirrorfs.source.known import Known
from mmirrorfs.source.pace import threaded
from mmirrorfs.source.singles import Answer
from mmirrorfs.source.source import Source, SourceLost
from mmirrorfs.source.walks import Revision, by_directory, names_of, revisions
from mmirrorfs.text import fields, printable
from mmirrorfs.tree import Directory, Merged, Names, Trees
from mmirrorfs.view.files import OpenFile
from mmirrorfs.view.nodes import FileNode, is_same
from mmirrorfs.view.state import State

log = logging.getLogger(__name__)

PROBE = 2.0
"""Seconds between looks at a source that is lost."""
OPENED = 0.5
"""Seconds between two looks at what is open and local: what lost its name changes without a report."""
PAUSE = 0.25
"""Seconds from the end of a look to the next one at the least, however often somebody is surprised."""
TRIES = 5
"""Times that what a scan found is compared with what is known, where something is found gone meanwhile."""
THOROUGH = 30.0
"""Seconds for which memory may say that a source is there, where its changes are reported."""


def _nothing(*said: object) -> None:
    """For those who do not want to hear of it."""


class Refresher:
    """Keeps the index of one view current.

    ``publish`` is told of what changed, ``looked`` is called after each look at a source, with what it revised, and
    ``back`` with one that was lost and is there again, has something else mounted in it, or is to be looked at anew for
    another reason.
    """

    def __init__(
        self,
        state: State,
        publish: Publish,
        fallback: bool = False,
        looked: Callable[[Source, list[Revision]], None] = _nothing,
        back: Callable[[Source], None] = _nothing,
    ) -> None:
        self._state = state
        self._merged: Trees = tuple(known.tree for known in state.known)
        self._publish = publish
        self._fallback = fallback
        self._looked = looked
        self._back = back
        self._wake = [trio.Event() for _ in state.sources]
        self._asked = [False for _ in state.sources]
        self._hints = [set[bytes]() for _ in state.sources]
        self._asked_root = [NEVER for _ in state.sources]
        self._mounts: list[tuple[int, ...] | None] = [source.mounts for source in state.sources]
        self._merging = trio.Lock()
        self._gone = [list[bytes]() for _ in state.sources]
        """What was found gone since the look at each source began."""
        self._begun: list[tuple[Known, Directory, Names]] = []
        """What is being installed: in place of which tree, and the names that have other values by it."""
        self._noted: list[Names] = []
        """What was installed since the index was merged: the names that have other values, by directory."""
        self.looks = [time.time() for _ in state.sources]
        """When each source was last looked at, in seconds since the epoch."""
        self.lost_since: list[float | None] = [None for _ in state.sources]
        """The same for when a source was found to be lost; None where it is not."""
        self.last_took = 0.0

    def refresh(self) -> None:
        """Look at all sources now, and take nothing that is known for fresh."""
        self._state.freshness.doubt()
        self._publish.everything()
        for source, known in zip(self._state.sources, self._state.known, strict=True):
            if known.trust.is_begun:
                self._back(source)
            self.doubt(source)

    def doubt(self, source: Source) -> None:
        """Look at all of a source now, whatever it has reported."""
        self._asked[source.rank] = True
        self._wake[source.rank].set()

    def hint(self, source: Source, directories: set[bytes]) -> None:
        """Look at some directories of a source, or search folders: it reported that something in them changed."""
        self._hints[source.rank] |= directories
        self._wake[source.rank].set()

    def lost(self, source: Source) -> None:
        """Look at a source that turned out to be lost."""
        self._wake[source.rank].set()

    def missing(self, source: Source, paths: list[bytes]) -> None:
        """Rule 3."""
        known = self._state.known[source.rank]
        known.finish()
        self._gone[source.rank] += paths
        left = without(known.tree, paths)
        if left is not known.tree:
            revised = revisions(known.tree, left, by_directory(paths))
            known.install(left, revised)
            self._noted.append(names_of(revised))
        self.outdated()
        self.hint(source, {path.rpartition(b"/")[0] for path in paths})

    def outdated(self) -> bool:
        """Merge what was scanned since the index was merged, at once; returns whether there was anything."""
        for known in self._state.known:
            known.finish()
        trees = self._present()
        if trees == self._merged:
            return False
        self._note_installed()
        merged = _merged(trees, self._state, self._state.inodes.index, self._only(trees))
        self._merged, self._noted = trees, []
        self._swap(*merged)
        return True

    def contents(self, node: FileNode) -> None:
        """Have the kernel drop the pages of a file."""
        self._publish.contents(node)

    async def run(self) -> None:
        """Look at every source once a period, when asked to, and when it surprises. Until cancelled."""
        async with trio.open_nursery() as nursery:
            for source in self._state.sources:
                nursery.start_soon(self._watch, source)
                nursery.start_soon(self._watch_open_files, source)
            nursery.start_soon(self._watch_mounts)

    async def _watch(self, source: Source) -> None:
        period = self._state.freshness.period
        rank = source.rank
        started, rested = trio.current_time(), 0.0
        while True:
            wait = PROBE if source.lost is not None else period
            if wait is not None and period is not None:
                wait = min(wait, period)
            with trio.move_on_at(_together(started, wait)):
                await self._wake[rank].wait()
            await _until(rested)
            started = trio.current_time()
            asked, self._asked[rank], self._wake[rank] = self._asked[rank], False, trio.Event()
            try:
                await self._look(source, scan=asked or period is not None, asked=asked)
            except (OSError, MemoryError) as error:  # a shortage here is no news of the source: everything stays
                shown, about = printable(source.path), fields("shortage", source=source.name)
                log.warning("source %s (%s) could not be looked at: %s", source.name, shown, error, extra=about)
            rested = trio.current_time() + (PAUSE if period is None else min(PAUSE, period / 2))

    def _how(
        self, source: Source, old: Directory, hints: set[bytes], scan: bool, asked: bool, seen: Callable[[int], None]
    ) -> Callable[[], Directory | None]:
        """What is looked at: of what is watched that of which something was reported, and of the rest all of it."""
        known = self._state.known[source.rank]
        if not known.trust.is_begun or source.lost is not None:
            return partial(source.scan, old, seen, anew=source.brief) if scan or hints else source.check_root
        if asked:
            return partial(source.scan, old, seen, anew=True)
        only = hints | (known.listings.polled() | known.folders.polled if scan else set())
        return partial(source.scan, old, seen, only=only) if only else source.check_root

    async def _look(self, source: Source, scan: bool, asked: bool) -> None:
        """Look at one source; without ``scan`` only at whether it is there."""
        known, started = self._state.known[source.rank], time.perf_counter()
        old = known.tree
        hints, self._hints[source.rank] = self._hints[source.rank], set()
        seen, self._gone[source.rank] = list[int](), list[bytes]()
        look, is_over = self._how(source, old, hints, scan, asked, seen.append), False
        try:
            found, revised = None, list[Revision]()
            if look != source.check_root or not self._stands(source):
                self._asked_root[source.rank] = self._state.freshness.clock()
                found = await source.pace.in_thread(look, trio.CapacityLimiter(1))
            compared = await self._compared(source, found) if found not in (None, old) else (known.tree, revised)
        except SourceLost as lost:
            self._note_lost(source, lost.reason)
        else:
            self._note_back(source)
            is_over = compared is not None
            if found is not None and compared is not None:
                tree, revised = compared
                if tree is not known.tree:
                    await self._install(known, tree, revised)
                _log_scan(source, sum(seen), time.perf_counter() - started, found is not old, scan)
        finally:
            if not is_over and hints:
                self.hint(source, hints)
            if not is_over and asked and source.lost is None:
                self.doubt(source)
        if self._present() != self._merged:
            await self._merge()
        self.looks[source.rank], self.last_took = time.time(), time.perf_counter() - started
        source.brief = source.brief and not (asked and is_over)
        self._looked(source, revised)

    async def _compared(self, source: Source, found: Directory) -> tuple[Directory, list[Revision]] | None:
        """What a scan found, without what was found gone since it began, which is scanned again, and how that differs
        from what is known. None where more and more is found gone meanwhile.
        """
        known = self._state.known[source.rank]
        for _ in range(TRIES):
            base, gone = known.tree, list(self._gone[source.rank])
            compared = await threaded(partial(_revised, base, found, gone))
            if known.tree is base:
                return compared
        return None

    async def _install(self, known: Known, tree: Directory, revised: list[Revision]) -> None:
        """What a scan found becomes known, step by step: nobody waits for more than one of them."""
        self._begun.append((known, known.tree, names_of(revised)))
        known.begin(tree, revised)
        while known.advance():
            await trio.lowlevel.checkpoint()

    def _stands(self, source: Source) -> bool:
        """Whether a source is there: by what is in memory, which wakes no thread, where it was asked lately."""
        return self._state.freshness.clock() - self._asked_root[source.rank] < THOROUGH and source.stands()

    def _note_lost(self, source: Source, reason: str) -> None:
        source.lost = reason
        self._state.known[source.rank].trust.end()
        if not source.told_lost:
            source.told_lost = True
            self.lost_since[source.rank] = time.time()
            what = (
                "its folders fall back to the other sources"
                if self._fallback
                else (
                    "what is known of it is still shown, its files cannot be opened, "
                    "folders of it that were never listed show as unreadable"
                )
            )
            shown, about = printable(source.path), fields("lost", source=source.name, why=reason)
            log.warning("source %s (%s) is lost: %s; %s", source.name, shown, reason, what, extra=about)

    def _note_back(self, source: Source) -> None:
        is_other = self._mounts[source.rank] not in (None, source.mounts)
        self._mounts[source.rank] = source.mounts
        if source.lost is not None or is_other:
            source.lost = None
            self._back(source)
            self.doubt(source)
        if source.told_lost:
            source.told_lost = False
            gone = round(time.time() - (self.lost_since[source.rank] or time.time()))
            self.lost_since[source.rank] = None
            about = fields("back", source=source.name, seconds=gone)
            log.warning("source %s (%s) is back after %d s", source.name, printable(source.path), gone, extra=about)

    def _present(self) -> Trees:
        """What there is to be merged: compared with what was merged last, as others too find out that one is lost."""
        return tuple(
            None if source.lost is not None and self._fallback else known.tree
            for source, known in zip(self._state.sources, self._state.known, strict=True)
        )

    async def _merge(self) -> None:
        """Merge what is there now, swap, tell. One at a time."""
        state = self._state
        async with self._merging:
            while (trees := self._present()) != self._merged:
                self._note_installed()
                before, noted, count = state.inodes.index, self._noted, len(self._noted)
                index, changed, left = await threaded(partial(_merged_on, trees, state, before, self._only(trees)))
                if self._noted is noted:  # else something was found gone meanwhile
                    del noted[:count]
                    self._merged = trees
                    self._swap(index, changed)
                del before, index
                while left:  # bit by bit: the last of many values that goes would take all others with it
                    del left[-PIECE:]
                    await trio.lowlevel.checkpoint()

    def _note_installed(self) -> None:
        """What is installed by now is merged next; with what still is not, its names stay for the merge after that."""
        self._noted += [names for known, before, names in self._begun if known.tree is not before]
        self._begun = [one for one in self._begun if one[0].tree is one[1]]

    def _only(self, trees: Trees) -> Names | None:
        """The names that may be others than in the index, by directory; None where a source came or went as a whole."""
        if any((tree is None) is not (before is None) for tree, before in zip(trees, self._merged, strict=True)):
            return None
        if len(self._noted) == 1:
            return self._noted[0]
        only: dict[bytes, set[bytes]] = {}
        for noted in self._noted:
            for path, names in noted.items():
                only.setdefault(path, set()).update(names)
        return only

    def _swap(self, index: Merged, changed: list[Change]) -> None:
        if index is not self._state.inodes.index:
            self._state.inodes.install(index)
            self._publish.index(changed)

    async def _watch_mounts(self) -> None:
        """Scan a source that is mounted or unmounted, or has something mounted inside: from a network, say."""
        with closing(TableChanges()) as table:
            while True:
                await trio.lowlevel.wait_readable(table.descriptor)
                for source in self._state.sources:
                    with suppress(OSError):  # for want of descriptors: the next change is noticed
                        if source.locality.update():
                            self._mounts[source.rank] = None  # whatever it is
                            self._back(source)
                            self.doubt(source)
                        else:  # two changes may leave the table as it was
                            self._asked_root[source.rank] = NEVER
                            self._wake[source.rank].set()

    async def _watch_open_files(self, source: Source) -> None:
        """Files that are open, perhaps mapped, are asked after: nobody else would notice an edit in place."""
        while True:
            await self._state.files.some()
            keep = self._state.freshness.keep
            await trio.sleep(min(keep, OPENED) if source.local else keep)
            if source.lost is None:
                await self._check_open_files(source)

    async def _check_open_files(self, source: Source) -> None:
        """Tell the kernel of each open file that was edited since it was last told of it."""
        opened: dict[FileNode, list[OpenFile]] = {}
        for file in self._state.files:
            if file.source is source:
                opened.setdefault(file.node, []).append(file)
        for node, files in opened.items():
            attr = None
            with trio.move_on_after(1), suppress(OSError):
                attr, _ = await files[0].attributes(lambda: None)
            if attr is not None and not all(is_same(file.validator, attr) for file in files):
                for file in files:
                    file.validator = (attr, time.time_ns())
                if node.opened:  # it may have been closed meanwhile
                    node.held = Answer(attr, self._state.freshness.clock())
                self._publish.contents(node)


def _log_scan(source: Source, entries: int, took: float, changed: bool, is_due: bool) -> None:
    """One that was due, that is; of what was reported the changes are told."""
    about = fields("scan", source=source.name, entries=entries, took=took, changed=int(changed))
    what = "something changed" if changed else "nothing changed"
    level = logging.INFO if is_due else logging.DEBUG
    log.log(level, "source %s scanned: %d entries in %.3f s, %s", source.name, entries, took, what, extra=about)


def _together(started: float, wait: float | None) -> float:
    """When to look next, at the latest ``wait`` seconds later: at all sources at once, for that wakes the CPU once."""
    return (started // wait + 1) * wait if wait is not None else math.inf


async def _until(when: float) -> None:
    if when > trio.current_time():
        await trio.sleep_until(when)


def _revised(before: Directory, found: Directory, gone: list[bytes]) -> tuple[Directory, list[Revision]]:
    tree = without(found, gone)
    return tree, revisions(before, tree)


def _merged(trees: Trees, state: State, before: Merged, only: Names | None) -> tuple[Merged, list[Change]]:
    """The index of these, and how it differs from the one before."""
    index = merge(trees, state.inodes.order, state.pairing, before, time.time_ns(), only=only)
    return index, list(changes(before, index, only=only if state.pairing is exact else None))


def _merged_on(
    trees: Trees, state: State, before: Merged, only: Names | None
) -> tuple[Merged, list[Change], list[Merged]]:
    """The same, and what is in the one before alone."""
    index, changed = _merged(trees, state, before, only)
    return index, changed, left_behind(before, index)
