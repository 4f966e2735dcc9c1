"""Queries what one source has at a path, and if nothing, why: for ``serve.explain``.

Invariant 1: the source itself is queried, for PATIENCE seconds; after that, cached data is the fallback.
Invariant 2: what was never cached is "unknown", never "absent".

Event loop's thread only. Notes are values for JSON, with paths in the form of ``text.json_path``, and times in seconds
since the epoch.
"""

import errno
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import trio

from mmirrorfs.attributes import LINK, Attributes
from mmirrorfs.plan.advice import Match
from mmirrorfs.serve.refresh import Refresher
from mmirrorfs.source.crawler import Progress
from mmirrorfs.source.exclude import excluding
from mmirrorfs.source.source import ABSENT, Source, SourceLost
from mmirrorfs.source.walks import directory_at
from mmirrorfs.text import json_path
from mmirrorfs.tree import Rank, join
from mmirrorfs.view.view import View

Values = dict[str, Any]

PATIENCE = 1.0
"""Seconds for which a source is waited for."""


class Choices(NamedTuple):
    """The settings of a view about names: ``--exclude`` and ``--match``."""

    excludes: tuple[str, ...] = ()
    match: Match = Match("exact")


class Finding(NamedTuple):
    """What a source has: "there", "absent", "excluded", "link" (left out, or an ancestor of the path), or "unknown".

    ``there``: whether the name exists, also if it is left out.
    """

    state: str
    notes: list[Values]
    there: bool = False


class Probe:
    """Queries the sources of one view. ``progress`` gives that of the crawl of a source."""

    def __init__(
        self, view: View, refresher: Refresher, progress: Callable[[Source], Progress], choices: Choices
    ) -> None:
        self._view = view
        self._refresher = refresher
        self._progress = progress
        self._choices = choices

    def place(self, rank: Rank, path: bytes) -> Values:
        """A path in a source, as a value."""
        source = self._view.sources[rank]
        return {"name": source.name, **json_path(join(source.root, path) if path else source.root)}

    def health(self, rank: Rank) -> list[Values]:
        """The note on a source that is lost or hangs; else none."""
        source = self._view.sources[rank]
        if source.lost is not None:
            since = self._refresher.presences[rank].lost_since
            return [{"about": "lost", **self.place(rank, b""), "why": source.lost, "since": since}]
        if source.threads.hung:
            return [
                {"about": "hung", **self.place(rank, b""), "seconds": round(max(source.threads.waits(), default=0.0))}
            ]
        return []

    async def find(self, rank: Rank, path: bytes, known: bytes = b"") -> Finding:
        """What a source has at a path, whose ancestor ``known`` is in the index."""
        source, cache = self._view.sources[rank], self._view.known[rank]
        for directory, name in _steps(path, known):
            here = join(directory, name)
            if source.reader.excluded(name):
                there = isinstance(await self._query(rank, here), Attributes)
                by = os.fsencode(excluding(self._choices.excludes, name) or "")
                note = {"about": "excluded", "name": json_path(name)["path"], "by": json_path(by)["path"]}
                return Finding("excluded", [note], there)
            above = directory_at(cache.tree, directory)
            if above is not None and name in above.links:
                return Finding("link", [await self._link(rank, here, left_out=True)], True)
            entry = cache.entry(directory, name)
            if here != path and entry is not None and entry.attr is not None and entry.attr.kind == LINK:
                return Finding("link", [await self._link(rank, here, left_out=False)])
        found = await self._query(rank, path)
        if isinstance(found, Attributes):
            return Finding("there", [], True)
        return Finding("absent", []) if found is None else Finding("unknown", self._why(rank, path, found))

    async def listed(self, rank: Rank, path: bytes) -> list[Values]:
        """The note on a folder that cannot be listed; else none. Fetches it if the cache is too old."""
        error: OSError = TimeoutError()
        with trio.move_on_after(PATIENCE):
            try:
                await self._view.fetch[rank].directory(path)
            except OSError as raised:
                error = raised
            else:
                failure = self._view.sources[rank].failures.get(path)
                return [self.unreadable(rank, path, failure.errno, failure.since)] if failure is not None else []
        return self._why(rank, join(path, b"?"), error)

    def opened(self, rank: Rank, path: bytes) -> list[Values]:
        """The note on a file whose last read failed; else none."""
        failure = self._view.sources[rank].failures.get(path)
        return [self.unreadable(rank, path, failure.errno, failure.since)] if failure is not None else []

    def unreadable(self, rank: Rank, path: bytes, code: int, since: float) -> Values:
        """The note that something cannot be read; ``code`` is an errno."""
        return {"about": "unreadable", **self.place(rank, path), "error": os.strerror(code), "since": since}

    def scanned(self, rank: Rank) -> float:
        """When a source was last scanned, in seconds since the epoch."""
        return self._refresher.loops[rank].scanned_at

    def when(self, moment: float) -> float:
        """Convert a monotonic time to seconds since the epoch."""
        return time.time() - (self._view.freshness.clock() - moment)

    async def _query(self, rank: Rank, path: bytes) -> Attributes | OSError | None:
        """The attributes, None if absent; the error if the source has not answered and nothing is cached."""
        directory, _, name = path.rpartition(b"/")
        try:
            with trio.fail_after(PATIENCE):
                return await self._stat(rank, directory, name)
        except trio.TooSlowError:
            error: OSError = TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        except OSError as raised:
            if raised.errno in ABSENT:
                return None
            error = raised
        known = self._view.known[rank]
        last, listing = known.entry(directory, name), known.listings.peek(directory)
        if last is not None or listing is None:
            return last.attr if last is not None else error
        return listing.get(name)  # a name may be cached without its attributes

    async def _stat(self, rank: Rank, directory: bytes, name: bytes) -> Attributes | None:
        """Query the source: directly above the depth, where the cache is the last scan's, else through the cache."""
        source, path = self._view.sources[rank], join(directory, name)
        if directory in self._view.known[rank].listings.above or source.reader.excluded(name):
            return await source.within(PATIENCE, source.reader.stat, path)
        return (await self._view.fetch[rank].entry(directory, name)).attr

    def _why(self, rank: Rank, path: bytes, error: OSError) -> list[Values]:
        """The notes on why it is unknown whether something is there."""
        directory = path.rpartition(b"/")[0]
        notes: list[Values] = []
        if isinstance(error, TimeoutError) and not self._view.sources[rank].threads.hung:
            notes.append({"about": "slow", **self.place(rank, b""), "seconds": PATIENCE})
        failure = self._view.sources[rank].failures.get(directory)
        if failure is not None:
            notes.append(self.unreadable(rank, directory, *failure))
        elif not isinstance(error, TimeoutError | SourceLost):
            notes.append(self.unreadable(rank, directory, error.errno or errno.EIO, time.time()))
        if self._view.known[rank].listings.peek(directory) is None:
            state = self._progress(self._view.sources[rank]).state
            notes.append({"about": "unread", **self.place(rank, directory), "crawl": state})
        return notes

    async def _link(self, rank: Rank, path: bytes, left_out: bool) -> Values:
        try:
            target = await self._view.fetch[rank].value(path, b"", briefly=True)
        except OSError:
            target = b""
        followed = self._view.sources[rank].reader.follow
        note = {"about": "link", **self.place(rank, path), "followed": followed, "left_out": left_out}
        return {**note, "target": json_path(target)} if target else note


def _steps(path: bytes, known: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each ancestor of a path from ``known`` on, with the next name in it."""
    directory = known
    for name in path[len(known) :].strip(b"/").split(b"/"):
        yield directory, name
        directory = join(directory, name)
