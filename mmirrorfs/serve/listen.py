"""What a source reports of its changes, turned into looks at what they are about.

Rule 1: the first report after a quiet time is acted on at once; a flood is gathered, and a directory is looked at again
after a pause that grows with the time that the look took.
Rule 2: what was reported is not told as known any longer, until it was looked at.
Rule 3: where reports were lost, or the mark itself, everything is polled again until it is proved: one way for all.
Rule 4: a directory that appears is looked at too, so that what is in it is reported from then on. Where the one above
the depth that it is in is polled, a scan tells of it, and of known ones whose times moved.

A task for each source, on the event loop.
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
from mmirrorfs.source.pace import beside, threaded
from mmirrorfs.source.source import ABSENT, Source
from mmirrorfs.source.trust import ALL
from mmirrorfs.source.walks import Revision, join
from mmirrorfs.text import printable

log = logging.getLogger(__name__)

GATHER = 0.05
"""Seconds from one reading of reports to the next: meanwhile the kernel merges what is the same."""
PAUSE = 0.1
"""Seconds between two looks at the same directory, at the least."""
REST = 4
"""How many times as long as a look took is waited before the next one at the same directory."""
AGAIN = 0.5
"""Seconds after which is looked again at what was not found, if it is known still."""
RETRY = 5.0
"""Seconds after which is looked again where a look failed, or did not come back as the source hangs."""
BREAK = 5.0
"""Seconds between two times that everything is looked at again: others may fill the queue all the time."""
QUIET = 60.0
"""Seconds for which that is not said again."""
_NAMES = CREATE | DELETE | MOVED_FROM | MOVED_TO
_OVER = {OVERFLOW: "reports were lost", UNMOUNT: "a filesystem in it was unmounted"}


class Listener:
    """Listens to one source. ``hint`` is called with directories above the depth to be looked at, and folders to be
    searched for files; ``doubt`` when everything is. ``fill`` says whether what appears is looked at before anybody
    asks. Times are those of ``clock``.
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
        self._due: dict[bytes, float] = {}
        self._names: dict[bytes, set[bytes]] = {}
        self._rested: dict[bytes, float] = {}
        self._something = trio.Event()
        self._is_deaf = False
        self._broke = trio.Event()
        self._said = NEVER

    async def open(self, share: int = 2) -> None:
        """Have changes reported from now on. What is known already is polled until it was looked at once more.

        ``share``: see ``Watch.open``.
        """
        await threaded(partial(self._source.watch.open, self._source.root, share))
        if self._source.watch.descriptors:
            self.begin()

    def begin(self) -> None:
        """Everything may be another by now; from now on it is reported."""
        if self._source.watch.descriptors and self._source.lost is None and not self._is_deaf:
            self._known.trust.begin(self._clock())

    async def run(self) -> None:
        """Listen. Until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                for descriptor in self._source.watch.descriptors:
                    nursery.start_soon(self._listen, descriptor)
                nursery.start_soon(self._work)
                nursery.start_soon(self._take_missed)
                nursery.start_soon(self._mend)
        finally:
            self._source.watch.close()

    async def _listen(self, descriptor: int) -> None:
        keys = set[bytes]()
        while not self._is_deaf:
            try:
                await trio.lowlevel.wait_readable(descriptor)
                events, more = self._source.watch.events(self._wanted(), keys)
            except OSError as error:
                self._is_deaf = True
                self._known.trust.end()
                self._broken(error.strerror or str(error))
                return
            self._known.trust.report(keys, self._clock())
            keys.clear()
            self._take(events)
            await trio.sleep(0 if more else GATHER)

    def _wanted(self) -> Container[bytes]:
        """The keys of the directories whose reports are of use."""
        listings, folders = self._known.listings.keys, self._known.folders.keys
        return ChainMap(listings, folders) if folders else listings

    async def _take_missed(self) -> None:
        async for directory, name in self._known.trust.missed:
            self._ask(directory, name, self._clock())

    def _take(self, events: list[Event]) -> None:
        hinted: set[bytes] = set()
        now = self._clock()
        for mask, key, name in events:
            if mask & (OVERFLOW | UNMOUNT):
                self._broken(_OVER[OVERFLOW if mask & OVERFLOW else UNMOUNT])
                return
            if mask & IGNORED or (name and self._source.reader.excluded(name)):
                continue
            for directory in self._known.listings.keys.paths(key):
                if log.isEnabledFor(logging.DEBUG):
                    shown = printable(join(directory, name)) or "/"
                    log.debug("source %s reports %#x of %s", self._source.name, mask, shown)
                self._note(directory, name, bool(mask & _NAMES), now, hinted)
            if not name or mask & (_NAMES | ONDIR):
                hinted.update(self._known.folders.keys.paths(key))
        if hinted:
            self._hint(self._source, hinted)

    def _note(self, directory: bytes, name: bytes, is_name: bool, now: float, hinted: set[bytes]) -> None:
        """One report: what is doubted by it, and what is to be looked at."""
        doubt = self._known.trust.doubt
        if name:
            doubt(directory, name, now)
        if directory in self._known.listings.above:
            hinted.add(directory)
            return
        if name:
            self._ask(directory, ALL if is_name else name, now)
        if is_name or not name:  # its own times move with its names
            above, _, own = directory.rpartition(b"/")
            doubt(above, own, now)
            self._ask(above, own, now)

    def _broken(self, why: str) -> None:
        """Rule 3."""
        now = self._clock()
        if now - self._said > QUIET:
            self._said = now
            level = logging.INFO if why == _OVER[UNMOUNT] else logging.WARNING  # a loss is said by itself
            log.log(level, "source %s: %s; everything in it is looked at again", self._source.name, why)
        self.begin()
        self._broke.set()

    async def _mend(self) -> None:
        while True:
            await self._broke.wait()
            self._broke = trio.Event()
            self._doubt(self._source)
            await trio.sleep(BREAK)

    def scanned(self, revised: list[Revision]) -> None:
        """The source was scanned: rule 4."""
        if missed := self._known.folders.missed():
            self._hint(self._source, missed)
        if revised:
            beside(self._take_revised, revised)

    async def _take_revised(self, revised: list[Revision]) -> None:
        """Directories above the depth have other names in them, or others' times. The list is used up by it: with the
        last of many old directories, all would be freed in one turn.
        """
        fetched_at = 0
        while revised:
            one = revised.pop()
            polled = one.new is not None and not one.new.listing.key
            for name, before, after in one.differences:
                self._changed(join(one.path, name), before, after, polled)
                fetched_at += 1
                if fetched_at % LARGE == 0:
                    await trio.lowlevel.checkpoint()
            fetched_at += 1
            if fetched_at % LARGE == 0:
                await trio.lowlevel.checkpoint()

    def _changed(self, path: bytes, before: Attributes | None, after: Attributes | None, polled: bool) -> None:
        """Something at the depth is new, or another. Not by its number: that may have been given out anew."""
        if after is None or after.kind != DIR or path in self._known.listings.above:
            return
        if self._known.listings.peek(path) is None:
            if self._fill and (before is None or not polled):
                self._ask(path, ALL, self._clock())
        elif polled and before is not None and before.is_known and before.stamp[2:] != after.stamp[2:]:
            self._known.trust.miss(path, self._clock())

    # Looking

    def _ask(self, directory: bytes, name: bytes, now: float) -> None:
        self._names.setdefault(directory, set()).add(name)
        if directory not in self._due:
            self._due[directory] = max(now, self._rested.pop(directory, now))
            self._something.set()

    async def _work(self) -> None:
        while True:
            now = self._clock()
            for directory in [path for path, due in self._due.items() if due <= now]:
                del self._due[directory]
                await self._look(directory, self._names.pop(directory))
            if self._due:
                await trio.sleep(max(0.0, min(self._due.values()) - self._clock()))
            else:
                self._rested = {path: until for path, until in self._rested.items() if until > now}
                self._something = trio.Event()
                await self._something.wait()

    async def _look(self, directory: bytes, names: set[bytes]) -> None:
        started, is_above, failed, gone = self._clock(), directory in self._known.listings.above, False, False
        try:
            if ALL in names and is_above:
                self._hint(self._source, {directory})
            elif ALL in names:
                await self._fetch.refetch_doubtful(directory)
                self._fill_in(directory, started)
            if names - {ALL} and (is_above or ALL not in names):
                await self._fetch.refetch_names(directory, names - {ALL})
        except OSError as error:
            failed = error.errno not in ABSENT
            gone = not failed and not is_above
        now = self._clock()
        self._rested[directory] = now + max(PAUSE, REST * (now - started))
        if gone and self._source.lost is None:
            self._ask_above(directory, now)
        if self._source.lost is None and (failed or (not is_above and self._is_due(directory, started))):
            self._rested[directory] = now + RETRY
            self._ask(directory, ALL, now)

    def _ask_above(self, directory: bytes, now: float) -> None:
        """A directory was not found: the one above it tells whether it is gone, or whether that one was renamed.

        What is known of it stays until then: one that is made anew at once may have the same inode number, and what is
        in it is compared with what was there before.
        """
        if self._known.listings.peek(directory) is None:
            self._known.forget(directory)
            return
        self._known.trust.miss(directory.rpartition(b"/")[0], now)
        self._rested[directory] = now + AGAIN
        self._ask(directory, ALL, now)

    def _is_due(self, directory: bytes, started: float) -> bool:
        """Whether a directory was to be looked at, and was not."""
        return self._known.trust.is_doubted_since(directory, started) and directory not in self._due

    def _fill_in(self, directory: bytes, since: float) -> None:
        """Have directories looked at that are in one that was looked at, and of which nothing is known yet."""
        listing = self._known.listings.peek(directory)
        if not self._fill or listing is None or listing.fetched_at < since:
            return
        for name, _ in listing.directories():
            source_path = join(directory, name)
            if self._known.listings.peek(source_path) is None:
                self._ask(source_path, ALL, since)
            elif source_path in self._known.listings.above:
                self._fill_in(source_path, since)
