"""The schedule of scans: when each source is scanned, how much of it, and what is done with the result.

Invariant 1: each source has one scan at a time, in a thread of its own: a slow source delays no other.
Invariant 2: a path that a reader reports missing is removed from the index at once, so that the next source shows in
its place, and its directory is rescanned.
Invariant 3: a scan that fails leaves its hints, and the request for a full scan, pending.

Event loop's thread only.
"""

import logging
import math
import time
from collections.abc import Callable, Set
from functools import partial
from operator import attrgetter

import trio

from mmirrorfs.merge.index import without
from mmirrorfs.serve.indexer import Indexer
from mmirrorfs.serve.presence import Presence, watch_mount_table
from mmirrorfs.serve.publish import Publish, ignore
from mmirrorfs.serve.recheck import poll_open_files
from mmirrorfs.source.freshness import Freshness
from mmirrorfs.source.source import Source, SourceLost
from mmirrorfs.source.threads import threaded
from mmirrorfs.source.walks import Revision, revisions
from mmirrorfs.text import fields, printable
from mmirrorfs.tree import Directory
from mmirrorfs.view.nodes import FileNode
from mmirrorfs.view.state import State

log = logging.getLogger(__name__)

PROBE = 2.0
"""Seconds between two checks of a lost source."""
PAUSE = 0.25
"""Seconds from the end of a scan to the start of the next one of that source, at the least."""
TRIES = 5
"""Times that a scanned tree is compared with the cached one, if that changes meanwhile."""

Scanned = Callable[[Source, list[Revision]], None]


class ScanLoop:
    """The scans of one source. ``scanned`` is called after each scan or check, with what it revised."""

    def __init__(self, presence: Presence, freshness: Freshness, indexer: Indexer, scanned: Scanned) -> None:
        self._source, self._known, self._presence = presence.source, presence.known, presence
        self._freshness = freshness
        self._indexer = indexer
        self._scanned = scanned
        self._wake, self._is_full, self._hints = trio.Event(), False, set[bytes]()
        self.missing = list[bytes]()
        """Paths reported missing since the scan under way began."""
        self.scanned_at, self.took = time.time(), 0.0
        """When the last scan or check ended, in seconds since the epoch, and how many seconds it took."""

    def request(self, directories: Set[bytes] = frozenset(), is_full: bool = False) -> None:
        """Scan now: these directories and folders, or everything, also what is watched. Else check the root."""
        self._hints |= directories
        self._is_full |= is_full
        self._wake.set()

    async def run(self) -> None:
        """Scan once a period, and on request. Until cancelled."""
        source, period = self._source, self._freshness.period
        started, rested = trio.current_time(), 0.0
        while True:
            wait = period if source.lost is None else min(PROBE, period or PROBE)
            # a multiple of ``wait``: sources are scanned together, to wake the CPU once
            with trio.move_on_at((started // wait + 1) * wait if wait is not None else math.inf):
                await self._wake.wait()
            if rested > trio.current_time():
                await trio.sleep_until(rested)
            started = trio.current_time()
            is_full, self._is_full, self._wake = self._is_full, False, trio.Event()
            try:
                await self._scan(is_due=is_full or period is not None, is_full=is_full)
            except (OSError, MemoryError) as error:  # a shortage of our own says nothing about the source
                shown, extra = printable(source.path), fields("shortage", source=source.name)
                log.warning("source %s (%s) could not be scanned: %s", source.name, shown, error, extra=extra)
            rested = trio.current_time() + (PAUSE if period is None else min(PAUSE, period / 2))

    def _plan(
        self, hints: set[bytes], is_due: bool, is_full: bool, progress: Callable[[int], None]
    ) -> Callable[[], Directory | None]:
        """The call to make: of what is watched only the hinted directories are scanned, of what is polled all."""
        source, known = self._source, self._known
        scan = partial(source.scan, known.tree, progress)
        if not known.trust.is_begun or source.lost is not None:
            return partial(scan, anew=source.brief) if is_due or hints else source.check_root
        if is_full:
            return partial(scan, anew=True)
        only = hints | (known.listings.polled() | known.folders.polled if is_due else set())
        return partial(scan, only=only) if only else source.check_root

    async def _scan(self, is_due: bool, is_full: bool) -> None:
        """Scan the source, or only check its root; then merge."""
        source, known, started = self._source, self._known, time.perf_counter()
        was_lost = source.lost is not None
        old, hints, entries = known.tree, self._hints, list[int]()
        self._hints, self.missing = set(), []
        call, is_done = self._plan(hints, is_due, is_full, entries.append), False
        try:
            found, revised = None, list[Revision]()
            now = self._freshness.clock()
            if call != source.check_root or not self._presence.is_cached(now):
                self._presence.checked_at = now
                found = await source.threads.in_thread(call, trio.CapacityLimiter(1))
            compared = await self._compare(found) if found not in (None, old) else (known.tree, revised)
        except SourceLost as lost:
            self._presence.lost(lost.reason)
        else:
            if was_lost or source.lost is None:
                self._presence.found()
            else:  # a reader has found it lost since this scan began
                self.request()
            is_done = compared is not None
            if found is not None and compared is not None:
                tree, revised = compared
                await self._indexer.install(known, tree, revised)
                _log_scan(source, sum(entries), time.perf_counter() - started, found is not old, is_due)
        finally:
            again = is_full and source.lost is None
            if not is_done and (hints or again):
                self.request(hints, again)
        await self._indexer.merge()
        self.scanned_at, self.took = time.time(), time.perf_counter() - started
        source.brief = source.brief and not (is_full and is_done)
        self._scanned(source, revised)

    async def _compare(self, found: Directory) -> tuple[Directory, list[Revision]] | None:
        """The tree less ``missing``, and how it differs from the cached one; None where that changes each time."""
        for _ in range(TRIES):
            base, missing = self._known.tree, list(self.missing)
            compared = await threaded(partial(_revised, base, found, missing))
            if self._known.tree is base:
                return compared
        return None


class Refresher:
    """All scans of one view, and what a view reports to (``view.reports``).

    ``restart`` is called with a source that is back, has other mounts in it, or is to be read anew on request.
    """

    def __init__(
        self,
        state: State,
        publish: Publish,
        fallback: bool = False,
        scanned: Scanned = ignore,
        restart: Callable[[Source], None] = ignore,
    ) -> None:
        self._state = state
        self._publish = publish
        self._restart = restart
        self._indexer = Indexer(state, publish, fallback)
        pairs = zip(state.sources, state.known, strict=True)
        self.presences = [Presence(source, known, fallback, self._begin_anew) for source, known in pairs]
        self.loops = [ScanLoop(one, state.freshness, self._indexer, scanned) for one in self.presences]

    @property
    def last(self) -> ScanLoop:
        """The loop whose scan or check ended last."""
        return max(self.loops, key=attrgetter("scanned_at"))

    async def run(self) -> None:
        """Keep the index current. Until cancelled."""
        async with trio.open_nursery() as nursery:
            for presence, loop in zip(self.presences, self.loops, strict=True):
                nursery.start_soon(loop.run)
                nursery.start_soon(poll_open_files, self._state, presence.source, self._publish.contents)
            nursery.start_soon(watch_mount_table, self.presences, self._begin_anew, self.lost)

    def refresh(self) -> None:
        """Scan all sources now, and distrust everything cached, here and in the kernel."""
        self._state.freshness.doubt()
        self._publish.everything()
        for presence in self.presences:
            if presence.known.trust.is_begun:
                self._restart(presence.source)
            self.doubt(presence.source)

    def doubt(self, source: Source) -> None:
        """Scan all of a source now, also what is watched."""
        self.loops[source.rank].request(is_full=True)

    def hint(self, source: Source, directories: set[bytes]) -> None:
        """Scan some directories of a source now, or search folders: it reported changes in them."""
        self.loops[source.rank].request(directories)

    def lost(self, source: Source) -> None:
        """Check the root of a source now: a reader found it lost."""
        self.loops[source.rank].request()

    def missing(self, source: Source, paths: list[bytes]) -> None:
        """Invariant 2."""
        self.loops[source.rank].missing += paths
        self._indexer.remove(self._state.known[source.rank], paths)
        self.hint(source, {path.rpartition(b"/")[0] for path in paths})

    def merge_pending(self) -> bool:
        """Merge at once what was scanned since the last merge; returns whether there was anything."""
        return self._indexer.merge_now()

    def contents(self, node: FileNode) -> None:
        """Have the kernel drop the pages of a file."""
        self._publish.contents(node)

    def _begin_anew(self, source: Source) -> None:
        self._restart(source)
        self.doubt(source)


def _log_scan(source: Source, entries: int, took: float, changed: bool, is_due: bool) -> None:
    """At INFO for a scan that was due; one that was hinted only is DEBUG, as its changes are logged by themselves."""
    extra = fields("scan", source=source.name, entries=entries, took=took, changed=int(changed))
    level, what = logging.INFO if is_due else logging.DEBUG, "something changed" if changed else "nothing changed"
    log.log(level, "source %s scanned: %d entries in %.3f s, %s", source.name, entries, took, what, extra=extra)


def _revised(before: Directory, found: Directory, missing: list[bytes]) -> tuple[Directory, list[Revision]]:
    tree = without(found, missing)
    return tree, revisions(before, tree)
