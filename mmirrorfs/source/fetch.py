"""Proving what is known of a source, or not known yet, for those who ask: the answers all go to ``Known``.

Rule 1: what is fresh is not asked for. What is in memory is asked on the event loop, all else in the source's threads.
Rule 2: who asks waits, for as long as the source takes: slow is neither hung nor lost. While it hangs (``source.pace``)
what was last known answers; what never was is waited for.
Rule 3: a lost source is not asked. What was known of it answers: a name that was not in the listing is absent, what
was never listed is an I/O error. An error that tells nothing of what was asked for (FAILING) is no news either.
Rule 4: where one directory after the other is wanted, the next ones are looked at too: on a local source in the same
call, on any other all at once. A local source is asked for whole directories; on any other a name is asked for alone.
Rule 5: an access list that cannot be had is an error, never "none": that would open what it closes.

Event loop's thread only. Functions raise OSError.
"""

import errno
import logging
import os
from collections.abc import Callable, Collection

import trio

from mmirrorfs.attributes import Attributes
from mmirrorfs.difference import Told, differences
from mmirrorfs.listing import Listing
from mmirrorfs.source.access import Access
from mmirrorfs.source.ahead import MOST, Ahead
from mmirrorfs.source.freshness import Freshness
from mmirrorfs.source.known import Known
from mmirrorfs.source.lists import PREFIX
from mmirrorfs.source.look import look
from mmirrorfs.source.pace import beside
from mmirrorfs.source.singles import Answer
from mmirrorfs.source.source import ABSENT, FAILING, Source, SourceLost
from mmirrorfs.source.values import Value
from mmirrorfs.source.walks import join
from mmirrorfs.text import printable

log = logging.getLogger(__name__)

BRIEFLY = 0.3
"""Seconds that is waited for what a directory above the depth can do without."""
LARGE = 256
"""Entries from which on a directory is not looked at whole to prove one name of it."""


def failure(code: int) -> OSError:
    """The OSError of that errno."""
    return OSError(code, os.strerror(code))


class _Look:
    """A look at a directory that is under way: since when, when it is over, and what it found or how it failed.

    What is looked at ``ahead`` of those who ask takes no room from anything.
    """

    def __init__(self, since: float, ahead: bool = False) -> None:
        self.since, self.ahead = since, ahead
        self.over = trio.Event()
        self.listing: Listing | None = None
        self.error: OSError | None = None


class Fetch:
    """Asks one source for one view. ``report_lost`` is called when it turns out to be lost."""

    def __init__(
        self,
        source: Source,
        known: Known,
        freshness: Freshness,
        report_lost: Callable[[Source], None],
    ) -> None:
        self.source = source
        self.known = known
        self._freshness = freshness
        self._report_lost = report_lost
        self._looks: dict[bytes, _Look] = {}
        self._access = Access(known, source.reader.walls)
        self._ahead = Ahead(known, source.depth)

    # Inside folders: who asks waits

    async def entry(self, directory: bytes, name: bytes) -> Answer:
        """What is under a name. Raises ENOENT, EIO where it cannot be known, and what the source says."""
        answer, proved = self.known.entry(directory, name), None
        if answer is None or not self._freshness.is_fresh(answer.when):
            if not self._is_lost() and not self._proved_at_once(directory, name, answer):
                proved = await self._prove(directory, name, answer)
            answer = self.known.entry(directory, name)
            if answer is None and proved is not None:  # forgotten already, as its directory was moved
                answer = proved
                self.known.amend(directory, name, *proved)
        if answer is None:
            raise failure(errno.EIO)
        if answer.attr is None:
            raise failure(errno.ENOENT)
        return answer

    async def directory(self, path: bytes) -> Listing:
        """All that is in a directory. Raises EIO where it cannot be known, and what the source says."""
        listing, looked = self.known.listing(path), None
        if (listing is None or not self._freshness.is_fresh(self.known.when(path))) and not self._is_lost():
            looked = await self._look(path)
            if looked is not None and self.known.listing(path) is None:  # it is another directory's by now
                looked = await self._look(path)
        listing = self.known.current(path)
        if listing is None:
            listing = looked  # what was found may be forgotten already
        if listing is None:
            raise failure(errno.EIO)
        return listing

    async def look_again(self, path: bytes) -> None:
        """Have a directory looked at of which a change was reported, or of which nothing is known. Raises OSError."""
        while self.known.listings.peek(path) is None or self.known.trust.is_doubted(path):
            if self._is_lost() or await self._look(path) is None:
                return

    async def look_at(self, path: bytes) -> None:
        """Have a directory looked at that is known, for what nothing was reported of. Raises OSError."""
        if not self._is_lost() and self.known.listings.peek(path) is not None:
            await self._look(path)

    async def prove(self, directory: bytes, names: Collection[bytes]) -> None:
        """Have some names of a directory looked at, and nothing else. Raises OSError."""
        wanted, asked = list(names), self._freshness.clock()
        found = await self.source.run(self.source.stat_several, directory, wanted)
        now = self._freshness.clock()
        for name, answer in zip(wanted, found, strict=True):
            if isinstance(answer, Attributes):
                self.known.amend(directory, name, answer, now, asked)
            elif answer.errno in ABSENT and directory not in self.known.listings.above:
                self.known.amend(directory, name, None, now, asked)

    async def value(self, path: bytes, name: bytes, briefly: bool) -> bytes:
        """An extended attribute, or under the name b"" a link's target; ``briefly`` waits for BRIEFLY at the most.

        Access lists are known with the directories that they are in. What is not, and targets, is remembered. Raises
        ENODATA where an attribute is not set, or cannot be had and is no access list; EIO for an access list or a
        target that cannot be had (rule 5).
        """
        is_list = name.startswith(PREFIX)
        noted = self._noted(path, name, briefly)
        if is_list and not briefly and not self._is_fresh(noted) and self.source.is_local(path):
            await self._prove_list(path)
            noted = self._noted(path, name, briefly)
        if noted is not None and self._is_fresh(noted):
            return _set(noted[0])
        source, asked = self.source, self._freshness.clock()
        before = self._attributes(path)
        try:
            if briefly:
                found = await source.within(BRIEFLY, _value, source, path, name)
            else:
                last: Callable[[], Value | None] = lambda: noted[0] if noted is not None else None  # noqa: E731
                found, fresh = await source.patiently(last, _value, source, path, name)
                if not fresh:
                    return _set(found)
        except (SourceLost, TimeoutError) as error:
            if isinstance(error, SourceLost):
                self._report_lost(source)
            if noted is not None:
                return _set(noted[0])
            raise failure(errno.EIO if not name or is_list else errno.ENODATA) from error
        if not name or is_list:
            if self._attributes(path) != before:  # it may have been read before that change
                return await self.value(path, name, briefly)
            self.known.note(path, name, found, asked)
        return _set(found)

    def _attributes(self, path: bytes) -> Attributes | None:
        """What is known of what a value is of: where that moves, the value may be another."""
        directory, _, name = path.rpartition(b"/")
        answer = self.known.entry(directory, name)
        return answer.attr if answer is not None else None

    def _noted(self, path: bytes, name: bytes, briefly: bool) -> tuple[Value, float] | None:
        """What is known of a value, and when that was so; of a list the later that is."""
        noted = self.known.value(path, name)
        if not name.startswith(PREFIX):
            return noted
        own = self._access.own(path, name) if briefly else None
        if own is not None:
            return own, self._freshness.clock()
        found = self._access.value(path, name)
        return found if noted is None or (found is not None and found[1] > noted[1]) else noted

    def _is_fresh(self, noted: tuple[Value, float] | None) -> bool:
        return noted is not None and self._freshness.is_fresh(noted[1])

    async def _prove_list(self, path: bytes) -> None:
        """Have an entry proved, and all lists of its directory read where none is known. Raises ENOENT and the like."""
        directory, _, name = path.rpartition(b"/")
        try:
            await self.entry(directory, name)
            if self._access.is_missing(directory, LARGE) and not self._is_lost():
                await self._look(directory)
        except OSError as error:
            if error.errno in ABSENT:
                raise

    def _is_lost(self) -> bool:
        if self.source.lost is not None:
            self._report_lost(self.source)
        return self.source.lost is not None

    def _proved_at_once(self, directory: bytes, name: bytes, answer: Answer | None) -> bool:
        """Prove what is known of a name, where that is in memory: its presence by itself, its absence by the stamp."""
        if answer is None:
            return False
        now, source = self._freshness.clock(), self.source
        try:
            if answer.attr is not None:
                self.known.amend(directory, name, source.cached(source.reader.stat, join(directory, name)), now)
                return True
            listing = self.known.listing(directory)
            if listing is None or not listing.stands(source.cached(source.reader.stat, directory).stamp):
                return False
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in ABSENT:
                raise
            self.known.amend(directory, name, None, now)
            return True
        self.known.prove(directory, now)
        return True

    async def _prove(self, directory: bytes, name: bytes, answer: Answer | None) -> Answer | None:
        """Returns what was found, if anything was."""
        listing = self.known.listing(directory)
        if self.source.is_local(directory) and (listing is None or len(listing) < LARGE):
            try:
                looked = await self._look(directory)
            except OSError as error:
                if error.errno in ABSENT:
                    raise
                looked = None  # it may be one to pass through only: the name by itself tells
            attr = looked.get(name) if looked is not None else None
            if looked is not None and (attr is None or attr.is_known):
                return Answer(attr, looked.fetched_at)
        return await self._prove_by_itself(directory, name, answer)

    async def _prove_by_itself(self, directory: bytes, name: bytes, answer: Answer | None) -> Answer | None:
        source = self.source
        known = answer.attr if answer is not None else None  # an old listing proves no absence
        found, asked = None, self._freshness.clock()
        try:
            found, fresh = await source.patiently(lambda: known, source.reader.stat, join(directory, name))
        except SourceLost:
            self._report_lost(source)
            return None
        except OSError as error:
            if error.errno not in ABSENT:
                raise
            fresh = True
        listing = self.known.listing(directory)
        if not fresh or (
            listing is not None and listing.fetched_at > asked
        ):  # the whole directory was looked at meanwhile
            return None
        now = self._freshness.clock()
        there = "there" if found is not None else "not there"
        log.debug("source %s: %s is %s", self.source.name, printable(join(directory, name)), there)
        self.known.amend(directory, name, found, now, asked)
        return Answer(found, now)

    async def _look(self, path: bytes) -> Listing | None:
        """Have a directory looked at, once for all who want it. None if what is known will have to do, or if lost."""
        pace, known = self.source.pace, self.known.listing
        if pace.rests and path not in self._looks and known(path) is not None:
            return None
        under_way = self._looks.get(path) or self._begin(path)
        while not under_way.over.is_set():
            if pace.is_enough(under_way.since) and known(path) is not None:
                return None
            with trio.move_on_after(pace.pause(under_way.since)):
                await under_way.over.wait()
        error = under_way.error
        if isinstance(error, SourceLost):
            self._report_lost(self.source)
        elif error is not None and (error.errno not in FAILING or known(path) is None):
            raise error
        return under_way.listing

    def _begin(self, path: bytes) -> _Look:
        """Begin to look at a directory, and at those that come next (rule 4)."""
        local, ahead, now = self.source.is_local(path), self._ahead.of(path), self.source.pace.now
        under_way = self._looks[path] = _Look(now)
        beside(self._run, path, ahead if local else [], under_way)
        for one in ahead if not local else []:
            if one not in self._looks and len(self._looks) <= MOST:
                self._looks[one] = _Look(now, ahead=True)
                beside(self._run, one, [], self._looks[one])
        return under_way

    async def _run(self, path: bytes, ahead: list[bytes], under_way: _Look) -> None:
        """One look, in a thread: the first answer is told as soon as it is there, those beside it when all are."""
        token = trio.lowlevel.current_trio_token()

        def tell(listing: Listing, told: Told | None) -> None:
            token.run_sync_soon(self._looked, path, listing, told, under_way)

        try:
            for one, listing in await self.source.run(self._looked_at, path, self.known.listing(path), ahead, tell):
                self.known.offer(one, listing)
                log.debug("source %s: %s read ahead, %d entries", self.source.name, printable(one), len(listing))
        except OSError as error:
            under_way.error = error
            self.source.failed(path, error)
        finally:
            self._over(path, under_way)

    def _looked_at(
        self, path: bytes, old: Listing | None, ahead: list[bytes], tell: Callable[[Listing, Told | None], None]
    ) -> list[tuple[bytes, Listing]]:
        """Blocking."""
        reader = self.source.reader
        listing = look(reader, path, old, self.source.is_local(path))
        tell(listing, (old, differences(old, listing)) if old is not None and len(old) >= LARGE else None)
        found: list[tuple[bytes, Listing]] = []
        for one in ahead:
            try:
                found.append((one, look(reader, one, local=True)))
            except OSError:  # whoever asks for it will be told
                break
        return found

    def _looked(self, path: bytes, listing: Listing, told: Told | None, under_way: _Look) -> None:
        if under_way.ahead:
            self.known.offer(path, listing)
        else:
            self.known.apply(path, listing, told)
        self.source.failures.clear(path)
        log.debug("source %s: %s read, %d entries", self.source.name, printable(path) or "/", len(listing))
        under_way.listing = listing
        self._over(path, under_way)

    def _over(self, path: bytes, under_way: _Look) -> None:
        if self._looks.get(path) is under_way:
            del self._looks[path]
        under_way.over.set()


def _value(source: Source, path: bytes, name: bytes) -> Value:
    """Blocking: an extended attribute, or why there is none; under the name b"" a link's target."""
    if not name:
        return source.reader.readlink(path)
    try:
        return source.reader.getxattr(path, name)
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
            raise
        return errno.ENODATA if name.startswith(PREFIX) else error.errno  # or the kernel would let nobody in


def _set(value: Value) -> bytes:
    if isinstance(value, int):
        raise failure(value)
    return value
