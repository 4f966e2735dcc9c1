"""Fetching what is not cached, or stale, on request; every answer is stored in ``Known``.

Rule 1: a fresh entry is not fetched. A fetch runs on the event loop if the kernel has the inode cached, else in a
thread of the source.
Rule 2: a request waits as long as the source takes. If it hangs, or takes longer than the limit (``source.threads``),
the request falls back to the cache; without a cached entry it goes on waiting.
Rule 3: a lost source is not called. Its cache answers: a name missing from a listing is absent, a directory without a
listing is EIO. An error that proves nothing (FAILING) leaves the cache as it is, too.
Rule 4: a local source lists whole directories; any other one stats single names. After consecutive requests the next
directories are listed ahead: on a local source in the same call, on any other concurrently.
Rule 5: an access list that cannot be read is an error, never "none", which would grant access.

Event loop's thread only. Functions raise OSError.
"""

import errno
import logging
import os
from collections.abc import Callable, Collection

import trio

from mmirrorfs.attributes import Attributes
from mmirrorfs.difference import Comparison, differences
from mmirrorfs.listing import Listing
from mmirrorfs.source.access import Access
from mmirrorfs.source.acl import PREFIX
from mmirrorfs.source.freshness import Freshness
from mmirrorfs.source.known import Known
from mmirrorfs.source.list_directory import list_directory
from mmirrorfs.source.readahead import MOST, Ahead
from mmirrorfs.source.singles import Answer, Value
from mmirrorfs.source.source import ABSENT, FAILING, Source, SourceLost
from mmirrorfs.source.threads import spawn
from mmirrorfs.text import printable
from mmirrorfs.tree import join

log = logging.getLogger(__name__)

BRIEFLY = 0.3
"""Timeout in seconds for what a directory above the depth can do without."""
LARGE = 256
"""Entries from which on a directory is not listed to renew a single name."""


def failure(code: int) -> OSError:
    """The OSError of that errno."""
    return OSError(code, os.strerror(code))


class _InFlight:
    """The listing of a directory in progress; then its result or error. One ``ahead`` of requests evicts nothing."""

    def __init__(self, started: float, ahead: bool = False) -> None:
        self.started, self.ahead = started, ahead
        self.done = trio.Event()
        self.listing: Listing | None = None
        self.error: OSError | None = None


class Fetch:
    """Fetches from one source for one view. ``report_lost`` is called when the source is found to be lost."""

    def __init__(
        self, source: Source, known: Known, freshness: Freshness, report_lost: Callable[[Source], None]
    ) -> None:
        self.source = source
        self.known = known
        self._freshness = freshness
        self._report_lost = report_lost
        self._in_flight: dict[bytes, _InFlight] = {}
        self._access = Access(known, source.reader.wall_clock)
        self._ahead = Ahead(known, source.depth)

    async def entry(self, directory: bytes, name: bytes) -> Answer:
        """The attributes of a name. Raises ENOENT, EIO if nothing is known of it, and the errors of the source."""
        answer, fetched = self.known.entry(directory, name), None
        if answer is None or not self._freshness.is_fresh(answer.when):
            if not self._is_lost() and not self._renew_cached(directory, name, answer):
                fetched = await self._renew(directory, name, answer)
            answer = self.known.entry(directory, name)
            if answer is None and fetched is not None:  # dropped already: its directory was renamed
                answer = fetched
                self.known.amend(directory, name, *fetched)
        if answer is None:
            raise failure(errno.EIO)
        if answer.attr is None:
            raise failure(errno.ENOENT)
        return answer

    async def directory(self, path: bytes) -> Listing:
        """The listing of a directory. Raises EIO if it has none, and the errors of the source."""
        listing, fetched = self.known.listing(path), None
        if (listing is None or not self._freshness.is_fresh(self.known.when(path))) and not self._is_lost():
            fetched = await self._list(path)
            if fetched is not None and self.known.listing(path) is None:  # another directory has this path by now
                fetched = await self._list(path)
        listing = self.known.current(path)
        if listing is None:
            listing = fetched  # it may be evicted already
        if listing is None:
            raise failure(errno.EIO)
        return listing

    async def refetch_doubtful(self, path: bytes) -> None:
        """List a directory until it is cached and no reported change in it is left. Raises OSError."""
        while self.known.listings.peek(path) is None or self.known.trust.is_doubted(path):
            if self._is_lost() or await self._list(path) is None:
                return

    async def refetch(self, path: bytes) -> None:
        """List a directory again if it is cached: it may have changed without an event. Raises OSError."""
        if not self._is_lost() and self.known.listings.peek(path) is not None:
            await self._list(path)

    async def refetch_names(self, directory: bytes, names: Collection[bytes]) -> None:
        """Stat some names of a directory, and nothing else. Raises OSError."""
        wanted, requested_at = list(names), self._freshness.clock()
        found = await self.source.run(self.source.stat_several, directory, wanted)
        now = self._freshness.clock()
        for name, answer in zip(wanted, found, strict=True):
            if isinstance(answer, Attributes):
                self.known.amend(directory, name, answer, now, requested_at)
            elif answer.errno in ABSENT and directory not in self.known.listings.above:
                self.known.amend(directory, name, None, now, requested_at)

    async def value(self, path: bytes, name: bytes, briefly: bool) -> bytes:
        """An extended attribute, or under the name b"" a link target; ``briefly`` waits for BRIEFLY at the most.

        Access lists come with the listing of their directory. Others, and targets, are cached. Raises ENODATA if an
        attribute is not set, or cannot be read and is no access list; EIO for an access list or a target that cannot be
        read (rule 5).
        """
        is_list = name.startswith(PREFIX)
        cached = self._cached_value(path, name, briefly)
        if is_list and not briefly and not self._is_fresh(cached) and self.source.is_local(path):
            await self._renew_list(path)
            cached = self._cached_value(path, name, briefly)
        if cached is not None and self._is_fresh(cached):
            return _bytes_or_raise(cached[0])
        source, requested_at = self.source, self._freshness.clock()
        before = self._attributes(path)
        try:
            if briefly:
                found = await source.within(BRIEFLY, _value, source, path, name)
            else:
                last: Callable[[], Value | None] = lambda: cached[0] if cached is not None else None  # noqa: E731
                found, fresh = await source.with_fallback(last, _value, source, path, name)
                if not fresh:
                    return _bytes_or_raise(found)
        except (SourceLost, TimeoutError) as error:
            if isinstance(error, SourceLost):
                self._report_lost(source)
            if cached is not None:
                return _bytes_or_raise(cached[0])
            raise failure(errno.EIO if not name or is_list else errno.ENODATA) from error
        if not name or is_list:
            if self._attributes(path) != before:  # the value may be from before that change
                return await self.value(path, name, briefly)
            self.known.note(path, name, found, requested_at)
        return _bytes_or_raise(found)

    def _attributes(self, path: bytes) -> Attributes | None:
        """The cached attributes of the owner of a value: when they change, the value may have changed."""
        directory, _, name = path.rpartition(b"/")
        answer = self.known.entry(directory, name)
        return answer.attr if answer is not None else None

    def _cached_value(self, path: bytes, name: bytes, briefly: bool) -> tuple[Value, float] | None:
        """A cached value and its time; for an access list the newer one of two."""
        cached = self.known.value(path, name)
        if not name.startswith(PREFIX):
            return cached
        own = self._access.own(path, name) if briefly else None
        if own is not None:
            return own, self._freshness.clock()
        found = self._access.value(path, name)
        return found if cached is None or (found is not None and found[1] > cached[1]) else cached

    def _is_fresh(self, cached: tuple[Value, float] | None) -> bool:
        return cached is not None and self._freshness.is_fresh(cached[1])

    async def _renew_list(self, path: bytes) -> None:
        """Renew an entry, and all access lists of its directory if none is cached. Raises ABSENT errors only."""
        directory, _, name = path.rpartition(b"/")
        try:
            await self.entry(directory, name)
            if self._access.is_missing(directory, LARGE) and not self._is_lost():
                await self._list(directory)
        except OSError as error:
            if error.errno in ABSENT:
                raise

    def _is_lost(self) -> bool:
        if self.source.lost is not None:
            self._report_lost(self.source)
        return self.source.lost is not None

    def _renew_cached(self, directory: bytes, name: bytes, answer: Answer | None) -> bool:
        """Renew an answer from the kernel's caches: presence by a stat, absence by the stamp of the directory."""
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

    async def _renew(self, directory: bytes, name: bytes, answer: Answer | None) -> Answer | None:
        """Fetch a name, with its directory if that is local and small; returns the new answer, if there is one."""
        listing = self.known.listing(directory)
        if self.source.is_local(directory) and (listing is None or len(listing) < LARGE):
            try:
                fetched = await self._list(directory)
            except OSError as error:
                if error.errno in ABSENT:
                    raise
                fetched = None  # it may be searchable but not readable: stat the name
            attr = fetched.get(name) if fetched is not None else None
            if fetched is not None and (attr is None or attr.is_known):
                return Answer(attr, fetched.fetched_at)
        return await self._stat(directory, name, answer)

    async def _stat(self, directory: bytes, name: bytes, answer: Answer | None) -> Answer | None:
        source = self.source
        cached = answer.attr if answer is not None else None  # a stale listing proves no absence
        found, requested_at = None, self._freshness.clock()
        try:
            found, fresh = await source.with_fallback(lambda: cached, source.reader.stat, join(directory, name))
        except SourceLost:
            self._report_lost(source)
            return None
        except OSError as error:
            if error.errno not in ABSENT:
                raise
            fresh = True
        listing = self.known.listing(directory)
        if not fresh or (
            listing is not None and listing.fetched_at > requested_at
        ):  # the directory was listed meanwhile
            return None
        now = self._freshness.clock()
        there = "there" if found is not None else "not there"
        log.debug("source %s: %s is %s", self.source.name, printable(join(directory, name)), there)
        self.known.amend(directory, name, found, now, requested_at)
        return Answer(found, now)

    async def _list(self, path: bytes) -> Listing | None:
        """List a directory, once for all concurrent requests; None on fallback, or if the source is lost."""
        threads, cached = self.source.threads, self.known.listing
        if threads.rests and path not in self._in_flight and cached(path) is not None:
            return None
        in_flight = self._in_flight.get(path) or self._start(path)
        while not in_flight.done.is_set():
            if threads.is_enough(in_flight.started) and cached(path) is not None:
                return None
            with trio.move_on_after(threads.pause(in_flight.started)):
                await in_flight.done.wait()
        error = in_flight.error
        if isinstance(error, SourceLost):
            self._report_lost(self.source)
        elif error is not None and (error.errno not in FAILING or cached(path) is None):
            raise error
        return in_flight.listing

    def _start(self, path: bytes) -> _InFlight:
        """Start to list a directory, and the next ones (rule 4)."""
        local, ahead, now = self.source.is_local(path), self._ahead.of(path), self.source.threads.now
        requested = self._in_flight[path] = _InFlight(now)
        spawn(self._run, path, ahead if local else [], requested)
        for one in ahead if not local else []:
            if one not in self._in_flight and len(self._in_flight) <= MOST:
                self._in_flight[one] = _InFlight(now, ahead=True)
                spawn(self._run, one, [], self._in_flight[one])
        return requested

    async def _run(self, path: bytes, ahead: list[bytes], in_flight: _InFlight) -> None:
        """List in a thread. Delivers the requested listing at once, those ahead when all of them are there."""
        token = trio.lowlevel.current_trio_token()

        def deliver(listing: Listing, compared: Comparison | None) -> None:
            token.run_sync_soon(self._deliver, path, listing, compared, in_flight)

        try:
            cached = self.known.listing(path)
            for one, listing in await self.source.run(self._list_blocking, path, cached, ahead, deliver):
                self.known.offer(one, listing)
                log.debug("source %s: %s read ahead, %d entries", self.source.name, printable(one), len(listing))
        except OSError as error:
            in_flight.error = error
            self.source.failed(path, error)
        finally:
            self._finish(path, in_flight)

    def _list_blocking(
        self,
        path: bytes,
        old: Listing | None,
        ahead: list[bytes],
        deliver: Callable[[Listing, Comparison | None], None],
    ) -> list[tuple[bytes, Listing]]:
        """In the thread: returns the listings ``ahead``."""
        reader = self.source.reader
        listing = list_directory(reader, path, old, self.source.is_local(path))
        deliver(listing, (old, differences(old, listing)) if old is not None and len(old) >= LARGE else None)
        found: list[tuple[bytes, Listing]] = []
        for one in ahead:
            try:
                found.append((one, list_directory(reader, one, local=True)))
            except OSError:  # a request for it will get the error
                break
        return found

    def _deliver(self, path: bytes, listing: Listing, compared: Comparison | None, in_flight: _InFlight) -> None:
        if in_flight.ahead:
            self.known.offer(path, listing)
        else:
            self.known.apply(path, listing, compared)
        self.source.failures.clear(path)
        log.debug("source %s: %s read, %d entries", self.source.name, printable(path) or "/", len(listing))
        in_flight.listing = listing
        self._finish(path, in_flight)

    def _finish(self, path: bytes, in_flight: _InFlight) -> None:
        if self._in_flight.get(path) is in_flight:
            del self._in_flight[path]
        in_flight.done.set()


def _value(source: Source, path: bytes, name: bytes) -> Value:
    """In the thread: an extended attribute, or why there is none; under the name b"" a link target."""
    if not name:
        return source.reader.readlink(path)
    try:
        return source.reader.getxattr(path, name)
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
            raise
        return errno.ENODATA if name.startswith(PREFIX) else error.errno  # EOPNOTSUPP would deny all access


def _bytes_or_raise(value: Value) -> bytes:
    if isinstance(value, int):
        raise failure(value)
    return value
