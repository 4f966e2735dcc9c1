"""The listener: what it makes of events, and that a closed descriptor ends the watch with one warning."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from mmirrorfs.serve.listen import Listener
from mmirrorfs.source.cache_limit import CacheLimit
from mmirrorfs.source.fetch import Fetch
from mmirrorfs.source.freshness import WATCHED, Freshness
from mmirrorfs.source.known import Known
from mmirrorfs.source.source import Source
from mmirrorfs.tree import Directory, Leaf, Rank
from tests.support.trees import Tree, grow

TREE: Tree = {b"A": {b"one": {b"1": b"track"}}}


class ListenedSource:
    """A watched source, and the calls of its listener."""

    def __init__(self, tmp_path: Path) -> None:
        self.source = Source(Rank(0), "high", os.fsencode(grow(tmp_path / "high", TREE)), 2, skip_empty=True)
        self.hinted: list[set[bytes]] = []
        self.known = Known(self.source.scan(None), CacheLimit(1000))
        self.freshness = Freshness.promised(3600, time.monotonic)
        self.doubted = 0
        self.fetch = Fetch(self.source, self.known, self.freshness, lambda source: None)
        self.listener = Listener(self.source, self.fetch, self.hint, self.doubt, self.freshness.clock, True)

    def hint(self, source: Source, where: set[bytes]) -> None:
        """Record a hint."""
        self.hinted.append(where)

    def doubt(self, source: Source) -> None:
        """Count a request for a rescan, and restart the watch as the session does."""
        self.doubted += 1
        self.listener.begin()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds, for 5 s at the most."""
        with trio.fail_after(5):
            while not condition():
                await trio.sleep(0.01)


@pytest.mark.parametrize("early", [True, False], ids=["before it is read", "between two reads"])
def test_a_closed_descriptor_ends_the_watch_and_has_the_source_polled(
    tmp_path: Path, early: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        listening = ListenedSource(tmp_path)
        await listening.listener.open()
        await listening.fetch.directory(b"A/one")
        assert listening.known.when(b"A/one") == WATCHED
        fds = listening.source.watch.descriptors
        async with trio.open_nursery() as nursery:
            if not early:
                nursery.start_soon(listening.listener.run)
                (tmp_path / "high/A/one/2").touch()  # the listener then sleeps, and reads again
                await listening.until(lambda: listening.known.listings.below[b"A/one"].get(b"2") is not None)
            for fd in fds:
                os.close(fd)
                os.open("/dev/null", os.O_WRONLY)  # reserves the number
            if early:
                nursery.start_soon(listening.listener.run)
            await listening.until(lambda: listening.doubted > 0)
            assert not listening.known.trust.is_begun
            listening.listener.begin()
            assert not listening.known.trust.is_begun, "nothing reads events any more"
            assert listening.known.when(b"A/one") != WATCHED
            nursery.cancel_scope.cancel()

    with caplog.at_level(logging.WARNING):
        trio.run(main)
    assert "everything in it is scanned again" in caplog.text


@pytest.mark.parametrize("early", [True, False], ids=["before the install", "after the install"])
def test_a_file_created_at_any_level_of_an_empty_folder_has_it_searched(tmp_path: Path, early: bool) -> None:
    async def main() -> None:
        listening = ListenedSource(tmp_path)
        await listening.listener.open()
        grow(tmp_path / "high/A/empty/a", {})
        found = listening.source.scan(listening.known.tree, anew=True)
        if not early:
            listening.known.install(found)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listening.listener.run)
            (tmp_path / "high/A/empty/a/1").touch()
            if early:
                await listening.until(
                    lambda: any(listening.known.trust.last_report(key) > 0 for key in keys_of(found, b"empty"))
                )
                listening.known.install(found)
                assert listening.hinted == [], "its key was not known yet"
                listening.listener.scanned([])
            await listening.until(lambda: {b"A/empty"} in listening.hinted)
            nursery.cancel_scope.cancel()

    trio.run(main)


def keys_of(tree: Directory, name: bytes) -> tuple[bytes, ...]:
    """The watch keys of the directories in a folder."""
    artist = tree.entries[b"A"]
    assert isinstance(artist, Directory)
    folder = artist.entries[name]
    assert isinstance(folder, Leaf)
    assert folder.evidence is not None
    return folder.evidence.keys
