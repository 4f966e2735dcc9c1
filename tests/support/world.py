"""Two sources on disk, a view that a refresher keeps current, and a fake kernel that records its notifications."""

import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from mmirrorfs.merge.index import Change
from mmirrorfs.serve.publish import Publish
from mmirrorfs.serve.refresh import Refresher
from mmirrorfs.source.freshness import Freshness
from mmirrorfs.source.source import Source
from mmirrorfs.source.walks import Revision
from mmirrorfs.tree import Directory, Leaf, Rank
from mmirrorfs.view.view import View
from tests.support.build import sources, state_of
from tests.support.trees import grow

PATIENCE = 60.0
"""Seconds of real time that a test waits for scans."""


class RecordingNotifier:
    """A fake notifier: records which names, inodes and files were invalidated."""

    def __init__(self) -> None:
        self.names: set[tuple[int, bytes]] = set()
        self.expired: set[tuple[int, bytes]] = set()
        self.inodes: set[int] = set()
        self.files: set[int] = set()

    def name(self, directory: int, name: bytes, way: int) -> None:
        self.names.add((directory, name))

    def expire(self, directory: int, name: bytes, way: int) -> None:
        self.expired.add((directory, name))

    def attributes(self, ino: int, way: int) -> None:
        self.inodes.add(ino)

    def contents(self, ino: int, way: int) -> None:
        self.files.add(ino)

    def then(self, way: int, call: Callable[[], None]) -> None:
        call()

    def nothing(self) -> bool:
        return not (self.names or self.expired or self.inodes or self.files)


class World:
    """The sources, the view, its refresher and the fake kernel.

    ``scans`` counts the scans of each source, ``whole`` those that used no cache; a scan waits for the source's gate.
    """

    def __init__(self, where: Path, depth: int = 1, period: float | None = 1.0, fallback: bool = False) -> None:
        self.high = grow(where / "high", {"Gold": {"01": "flac"}, "A": {"x": {}}})
        self.low = grow(where / "low", {"Gold": {"01": "mp3"}, "More": {}, "A": {"x": {}, "y": {}}})
        self.sources = sources(self.high, self.low, depth=depth)
        self.kernel = RecordingNotifier()
        state = state_of(self.sources, freshness=Freshness(1.0, 1.0, period, time.monotonic))
        self.told: Callable[[list[Change]], None] = lambda changes: None
        self.publish = Publish(state, self.kernel, lambda changes: self.told(changes))
        self.refresher = Refresher(state, self.publish, fallback, self._note)
        self.view = View(state, self.refresher)
        self.scans = [0, 0]
        self.whole = [0, 0]
        self.gates = [threading.Event(), threading.Event()]
        self._looked = trio.Event()

    @asynccontextmanager
    async def watched(self, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
        """Run the refresher while the block runs."""
        for source, gate in zip(self.sources, self.gates, strict=True):
            gate.set()
            monkeypatch.setattr(source, "scan", self._counting(source, source.scan))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.publish.run)
            nursery.start_soon(self.refresher.run)
            yield
            nursery.cancel_scope.cancel()

    def _counting(self, source: Source, scan: Callable[..., Directory]) -> Callable[..., Directory]:
        def counted(old: Directory, seen: Callable[[int], None], **how: object) -> Directory:
            self.scans[source.rank] += 1
            self.whole[source.rank] += bool(how.get("anew"))
            self.gates[source.rank].wait()
            return scan(old, seen, **how)

        return counted

    def _note(self, source: Source, revised: list[Revision]) -> None:
        self._looked.set()
        self._looked = trio.Event()

    async def looked(self) -> None:
        """Wait until the next scan of any source has ended."""
        await self._looked.wait()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Scan until the condition is true, for at most PATIENCE: with an autojump clock there is no limit on scans."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, "scanned long enough"
            await self.looked()

    async def full_scan(self) -> None:
        """Wait until each source was scanned from start to end: one scan has ended when the next starts."""
        goal = [scans + 2 for scans in self.scans]
        await self.until(lambda: all(scans >= least for scans, least in zip(self.scans, goal, strict=True)))

    def winner(self, name: bytes) -> Rank | None:
        child = self.view.inodes.index.children.get(name)
        return child.source if isinstance(child, Leaf) else None


def warnings(caplog: pytest.LogCaptureFixture, text: str) -> int:
    return sum(text in record.getMessage() for record in caplog.records)
