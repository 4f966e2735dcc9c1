"""Renewing the attributes of leaves of merged directories: folders at the depth, and files above it.

Rule 1: no request waits, except for what was never cached (``wait``). The kernel may lock the whole directory during a
lookup, so the stale entry is replied and renewed meanwhile: on the event loop if the inode is cached, else in a thread
of the source.
Rule 2: if the source says that a leaf is gone, that is believed and reported at once.

Event loop's thread only.
"""

import errno
from collections.abc import Callable, Iterable, Mapping

import trio

from mmirrorfs.attributes import Attributes, Kind
from mmirrorfs.source.fetch import failure
from mmirrorfs.source.freshness import Freshness
from mmirrorfs.source.known import Known
from mmirrorfs.source.source import ABSENT, Source, SourceLost
from mmirrorfs.source.threads import spawn
from mmirrorfs.tree import join


class _Pending:
    """Names of one directory to be fetched by a thread; ``done`` is set when there are none left."""

    def __init__(self, wanted: dict[bytes, Kind]) -> None:
        self.wanted = wanted
        self.done = trio.Event()


class Leaves:
    """Renews leaves of one source for one view.

    ``report_lost`` is called when the source is found to be lost; ``report_missing`` with the paths that are gone or
    have another type, their cached types, and the time of the request.
    """

    def __init__(
        self,
        source: Source,
        known: Known,
        freshness: Freshness,
        report_lost: Callable[[Source], None],
        report_missing: Callable[[Source, Mapping[bytes, Kind], float], None],
    ) -> None:
        self.source = source
        self.known = known
        self._freshness = freshness
        self._report_lost = report_lost
        self._report_missing = report_missing
        self._pending: dict[bytes, _Pending] = {}

    def refresh(self, directory: bytes, wanted: dict[bytes, Kind]) -> set[bytes]:
        """Renew leaves of a merged directory, given with their cached types; returns those that are gone.

        Those that the kernel has cached are renewed at once, the others in a thread of the source.
        """
        if self.source.lost is not None:
            self._report_lost(self.source)
            return set()
        answers = self._cached(directory, list(wanted))
        late = {name: wanted[name] for name, answer in answers.items() if isinstance(answer, BlockingIOError)}
        if late:
            self._fetch(directory, late)
        found = {name: answers[name] for name in answers.keys() - late.keys()}
        return self._store(directory, wanted, found, self._freshness.clock())

    def _cached(self, directory: bytes, names: list[bytes]) -> dict[bytes, Attributes | OSError]:
        """Their attributes from the kernel's caches; BlockingIOError for a miss."""
        source = self.source
        try:
            if len(names) == 1:  # half the system calls, for a lookup
                return {names[0]: source.cached(source.reader.stat, join(directory, names[0]))}
            found = source.cached(source.stat_several, directory, names)
            return dict(zip(names, found, strict=True))
        except OSError as error:
            return dict.fromkeys(names, error)

    def _store(
        self,
        directory: bytes,
        wanted: dict[bytes, Kind],
        answers: Mapping[bytes, Attributes | OSError],
        requested_at: float,
    ) -> set[bytes]:
        """Store answers; report and return what is gone. Other errors prove nothing."""
        now, gone = self._freshness.clock(), set[bytes]()
        for name, answer in answers.items():
            if isinstance(answer, Attributes) and answer.kind == wanted[name]:
                self.known.amend(directory, name, answer, now, requested_at)
            elif isinstance(answer, Attributes) or answer.errno in ABSENT:
                gone.add(name)
        if gone:
            self._report_missing(self.source, {join(directory, name): wanted[name] for name in gone}, requested_at)
        return gone

    def _fetch(self, directory: bytes, wanted: dict[bytes, Kind]) -> None:
        """Fetch names in a thread: one call a directory at a time, later names go into the next call."""
        pending = self._pending.get(directory)
        if pending is not None:
            pending.wanted.update(wanted)
            return
        self._pending[directory] = _Pending(wanted)
        spawn(self._fetch_all, directory)

    async def _fetch_all(self, directory: bytes) -> None:
        pending = self._pending[directory]
        try:
            while wanted := pending.wanted:
                pending.wanted = {}
                requested_at = self._freshness.clock()
                answers = await self._answers(directory, list(wanted))
                self._store(directory, wanted, dict(zip(wanted, answers, strict=True)), requested_at)
        finally:
            del self._pending[directory]
            pending.done.set()

    async def wait(self, directory: bytes) -> None:
        """Wait until all pending names of a directory were fetched, without a timeout."""
        if directory in self._pending:
            await self._pending[directory].done.wait()

    async def _answers(self, directory: bytes, names: list[bytes]) -> Iterable[Attributes | OSError]:
        try:
            return await self.source.run(self.source.stat_several, directory, names)
        except SourceLost:
            self._report_lost(self.source)
        except OSError as error:
            return [error] * len(names)
        return [failure(errno.EIO)] * len(names)
