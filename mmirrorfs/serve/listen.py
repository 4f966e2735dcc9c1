"""Turns the events of one source into fetches and scans of what they are about.

Invariant 1: the first event after a quiet time is acted on at once. In a flood events are coalesced, and a directory is
fetched again after a pause that grows with the time that its last fetch took.
Invariant 2: a name that an event was about counts as stale until it was fetched.
Invariant 3: if events are lost, or the mark itself, the whole source is polled until it was scanned once more.
Invariant 4: a new directory is fetched too, so that events of what is in it arrive from then on. If its parent is above
the depth and polled, scans report it, and the cached ones whose times moved.

One task a source, on the event loop.
"""

import logging
from collections import ChainMap
from collections.abc import Callable, Container
from functools import partial

import trio

from mmirrorfs.attributes import DIR, Attributes
from mmirrorfs.source.events import CREATE, DELETE, IGNORED, MOVED_FROM, MOVED_TO, ONDIR, OVERFLOW, UNMOUNT, Event
from mmirrorfs.source.fetch import LARGE, Fetch
from mmirrorfs.source.freshness import NEVER
from mmirrorfs.source.source import ABSENT, Source
from mmirrorfs.source.threads import spawn, threaded
from mmirrorfs.source.trust import ALL
from mmirrorfs.source.walks import Revision
from mmirrorfs.text import printable
from mmirrorfs.tree import join

log = logging.getLogger(__name__)

GATHER = 0.05
"""Seconds between two reads of events: the kernel coalesces equal ones meanwhile."""
PAUSE = 0.1
"""Seconds between two fetches of a directory, at the least."""
FACTOR = 4
"""The pause before the next fetch of a directory, as a multiple of the time that the last one took."""
AGAIN = 0.5
"""Seconds until a directory that was not found, but is cached still, is fetched again."""
RETRY = 5.0
"""Seconds until the next fetch after one that failed, or timed out as the source hangs."""
RESCAN_PAUSE = 5.0
"""Seconds between two full rescans after lost events: the queue may overflow all the time."""
QUIET = 60.0
"""Seconds between two log lines about lost events."""
_NAMES = CREATE | DELETE | MOVED_FROM | MOVED_TO
_LOSSES = {OVERFLOW: "reports were lost", UNMOUNT: "a filesystem in it was unmounted"}


class Listener:
    """Reads the events of one source.

    ``hint`` is called with directories above the depth to scan, and folders to search for files; ``doubt`` to have the
    whole source rescanned. With ``fill`` new directories are fetched before anybody asks. ``clock`` is monotonic.
    """

    def __init__(
        self,
        source: Source,
        fetch: Fetch,
        hint: Callable[[Source, set[bytes]], None],
        doubt: Callable[[Source], None],
        clock: Callable[[], float],
        fill: bool,
    ) -> None:
        self._source = source
        self._fetch = fetch
        self._known = fetch.known
        self._hint = hint
        self._doubt = doubt
        self._clock = clock
        self._fill = fill
        self._due_at: dict[bytes, float] = {}
        self._pending: dict[bytes, set[bytes]] = {}
        self._not_before: dict[bytes, float] = {}
        self._wake = trio.Event()
        self._is_closed = False
        self._lost_events = trio.Event()
        self._warned_at = NEVER

    async def open(self, share: int = 2) -> None:
        """Start to watch. What is cached already is polled until it was fetched once more.

        ``share``: see ``Watch.open``. Raises NoThread.
        """
        await threaded(partial(self._source.watch.open, self._source.root, share))
        if self._source.watch.descriptors:
            self.begin()

    def begin(self) -> None:
        """Events are complete from now on; all that was cached before is polled until it was fetched once more."""
        if self._source.watch.descriptors and self._source.lost is None and not self._is_closed:
            self._known.trust.begin(self._clock())

    async def run(self) -> None:
        """Read events, and fetch. Until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                for descriptor in self._source.watch.descriptors:
                    nursery.start_soon(self._read_events, descriptor)
                nursery.start_soon(self._run_fetches)
                nursery.start_soon(self._fetch_missed)
                nursery.start_soon(self._rescan_after_loss)
        finally:
            self._source.watch.close()

    async def _read_events(self, descriptor: int) -> None:
        keys = set[bytes]()
        while not self._is_closed:
            try:
                await trio.lowlevel.wait_readable(descriptor)
                events, more = self._source.watch.events(self._wanted(), keys)
            except OSError as error:
                self._is_closed = True
                self._known.trust.end()
                self._events_lost(error.strerror or str(error))
                return
            self._known.trust.report(keys, self._clock())
            keys.clear()
            self._handle(events)
            await trio.sleep(0 if more else GATHER)

    def _wanted(self) -> Container[bytes]:
        """The keys of the directories whose events are of use."""
        listings, folders = self._known.listings.keys, self._known.folders.keys
        return ChainMap(listings, folders) if folders else listings

    async def _fetch_missed(self) -> None:
        async for directory, name in self._known.trust.missed:
            self._request(directory, name, self._clock())

    def _handle(self, events: list[Event]) -> None:
        hinted: set[bytes] = set()
        now = self._clock()
        for mask, key, name in events:
            if mask & (OVERFLOW | UNMOUNT):
                self._events_lost(_LOSSES[OVERFLOW if mask & OVERFLOW else UNMOUNT])
                return
            if mask & IGNORED or (name and self._source.reader.excluded(name)):
                continue
            for directory in self._known.listings.keys.paths(key):
                if log.isEnabledFor(logging.DEBUG):
                    shown = printable(join(directory, name)) or "/"
                    log.debug("source %s: event %#x of %s", self._source.name, mask, shown)
                self._handle_event(directory, name, bool(mask & _NAMES), now, hinted)
            if not name or mask & (_NAMES | ONDIR):
                hinted.update(self._known.folders.keys.paths(key))
        if hinted:
            self._hint(self._source, hinted)

    def _handle_event(self, directory: bytes, name: bytes, is_name: bool, now: float, hinted: set[bytes]) -> None:
        """One event: mark as stale what it is about, and have that fetched, or scanned above the depth."""
        doubt = self._known.trust.doubt
        if name:
            doubt(directory, name, now)
        if directory in self._known.listings.above:
            hinted.add(directory)
            return
        if name:
            self._request(directory, ALL if is_name else name, now)
        if is_name or not name:  # names move the times of their directory
            above, _, own = directory.rpartition(b"/")
            doubt(above, own, now)
            self._request(above, own, now)

    def _events_lost(self, why: str) -> None:
        """Invariant 3."""
        now = self._clock()
        if now - self._warned_at > QUIET:
            self._warned_at = now
            level = logging.INFO if why == _LOSSES[UNMOUNT] else logging.WARNING  # a lost source has its own warning
            log.log(level, "source %s: %s; everything in it is scanned again", self._source.name, why)
        self.begin()
        self._lost_events.set()

    async def _rescan_after_loss(self) -> None:
        while True:
            await self._lost_events.wait()
            self._lost_events = trio.Event()
            self._doubt(self._source)
            await trio.sleep(RESCAN_PAUSE)

    def scanned(self, revised: list[Revision]) -> None:
        """Take the result of a scan: invariant 4."""
        if missed := self._known.folders.missed():
            self._hint(self._source, missed)
        if revised:
            spawn(self._fetch_revised, revised)

    async def _fetch_revised(self, revised: list[Revision]) -> None:
        """Fetch what is new at the depth. Consumes the list: to free many directories at once would block the loop."""
        steps = 0
        while revised:
            one = revised.pop()
            polled = one.new is not None and not one.new.listing.key
            for name, before, after in one.differences:
                self._check_revised(join(one.path, name), before, after, polled)
                steps += 1
                if steps % LARGE == 0:
                    await trio.lowlevel.checkpoint()
            steps += 1
            if steps % LARGE == 0:
                await trio.lowlevel.checkpoint()

    def _check_revised(self, path: bytes, before: Attributes | None, after: Attributes | None, polled: bool) -> None:
        """A directory at the depth is new, or differs. The inode number does not count: it may have been reused."""
        if after is None or after.kind != DIR or path in self._known.listings.above:
            return
        if self._known.listings.peek(path) is None:
            if self._fill and (before is None or not polled):
                self._request(path, ALL, self._clock())
        elif polled and before is not None and before.is_known and before.stamp[2:] != after.stamp[2:]:
            self._known.trust.miss(path, self._clock())

    # Fetching

    def _request(self, directory: bytes, name: bytes, now: float) -> None:
        self._pending.setdefault(directory, set()).add(name)
        if directory not in self._due_at:
            self._due_at[directory] = max(now, self._not_before.pop(directory, now))
            self._wake.set()

    async def _run_fetches(self) -> None:
        while True:
            now = self._clock()
            for directory in [path for path, due in self._due_at.items() if due <= now]:
                del self._due_at[directory]
                await self._fetch_directory(directory, self._pending.pop(directory))
            if self._due_at:
                await trio.sleep(max(0.0, min(self._due_at.values()) - self._clock()))
            else:
                self._not_before = {path: until for path, until in self._not_before.items() if until > now}
                self._wake = trio.Event()
                await self._wake.wait()

    async def _fetch_directory(self, directory: bytes, names: set[bytes]) -> None:
        started, is_above, failed, gone = self._clock(), directory in self._known.listings.above, False, False
        try:
            if ALL in names and is_above:
                self._hint(self._source, {directory})
            elif ALL in names:
                await self._fetch.refetch_doubtful(directory)
                self._request_uncached(directory, started)
            if names - {ALL} and (is_above or ALL not in names):
                await self._fetch.refetch_names(directory, names - {ALL})
        except OSError as error:
            failed = error.errno not in ABSENT
            gone = not failed and not is_above
        now = self._clock()
        self._not_before[directory] = now + max(PAUSE, FACTOR * (now - started))
        if gone and self._source.lost is None:
            self._request_parent(directory, now)
        if self._source.lost is None and (failed or (not is_above and self._is_still_stale(directory, started))):
            self._not_before[directory] = now + RETRY
            self._request(directory, ALL, now)

    def _request_parent(self, directory: bytes, now: float) -> None:
        """A directory was not found: fetch its parent, to learn whether it was removed, or an ancestor renamed.

        It stays cached until then: one that is made anew at once may have the same inode number, and is compared with
        the old one.
        """
        if self._known.listings.peek(directory) is None:
            self._known.forget(directory)
            return
        self._known.trust.miss(directory.rpartition(b"/")[0], now)
        self._not_before[directory] = now + AGAIN
        self._request(directory, ALL, now)

    def _is_still_stale(self, directory: bytes, started: float) -> bool:
        """Whether a directory is as stale as it was at ``started``, and no fetch is pending."""
        return self._known.trust.is_doubted_since(directory, started) and directory not in self._due_at

    def _request_uncached(self, directory: bytes, since: float) -> None:
        """Have the subdirectories of a fetched directory fetched that are not cached yet."""
        listing = self._known.listings.peek(directory)
        if not self._fill or listing is None or listing.fetched_at < since:
            return
        for name, _ in listing.directories():
            source_path = join(directory, name)
            if self._known.listings.peek(source_path) is None:
                self._request(source_path, ALL, since)
            elif source_path in self._known.listings.above:
                self._request_uncached(source_path, since)
