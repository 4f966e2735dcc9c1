"""What a listener makes of reports, and that it says so once when its descriptor is closed under it: nothing of its
source counts as watched any more.
"""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from mmirrorfs.serve.listen import Listener
from mmirrorfs.source.fetch import Fetch
from mmirrorfs.source.freshness import WATCHED, Freshness
from mmirrorfs.source.known import Known
from mmirrorfs.source.room import Room
from mmirrorfs.source.source import Source
from mmirrorfs.tree import Directory, Leaf, Rank
from tests.support.trees import Tree, grow

TREE: Tree = {b"A": {b"one": {b"1": b"track"}}}


class Listening:
    """One source that is listened to, and what its listener says."""

    def __init__(self, tmp_path: Path) -> None:
        self.source = Source(Rank(0), "high", os.fsencode(grow(tmp_path / "high", TREE)), 2, skip_empty=True)
        self.hinted: list[set[bytes]] = []
        self.known = Known(self.source.scan(None), Room(1000))
        self.freshness = Freshness.promised(3600, time.monotonic)
        self.doubted = 0
        self.fetch = Fetch(self.source, self.known, self.freshness, lambda source: None)
        self.listener = Listener(self.source, self.fetch, self.hint, self.doubt, self.freshness.clock, True)

    def hint(self, source: Source, where: set[bytes]) -> None:
        """Something is to be looked at."""
        self.hinted.append(where)

    def doubt(self, source: Source) -> None:
        """Everything is to be looked at again: what a session does first is to begin anew."""
        self.doubted += 1
        self.listener.begin()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait, but not for ever."""
        with trio.fail_after(5):
            while not condition():
                await trio.sleep(0.01)


@pytest.mark.parametrize("early", [True, False], ids=["before it listens", "between two readings"])
def test_a_descriptor_that_is_closed_ends_the_watch_and_nothing_else(
    tmp_path: Path, early: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        one = Listening(tmp_path)
        await one.listener.open()
        await one.fetch.directory(b"A/one")
        assert one.known.when(b"A/one") == WATCHED
        fds = one.source.watch.descriptors
        async with trio.open_nursery() as nursery:
            if not early:
                nursery.start_soon(one.listener.run)
                (tmp_path / "high/A/one/2").touch()  # then it sleeps for a moment, and reads again
                await one.until(lambda: one.known.listings.below[b"A/one"].get(b"2") is not None)
            for fd in fds:
                os.close(fd)
                os.open("/dev/null", os.O_WRONLY)  # so that nothing else gets the number
            if early:
                nursery.start_soon(one.listener.run)
            await one.until(lambda: one.doubted > 0)
            assert not one.known.trust.is_begun
            one.listener.begin()
            assert not one.known.trust.is_begun, "nobody listens, whoever begins anew"
            assert one.known.when(b"A/one") != WATCHED
            nursery.cancel_scope.cancel()

    with caplog.at_level(logging.WARNING):
        trio.run(main)
    assert "everything in it is looked at again" in caplog.text


@pytest.mark.parametrize("early", [True, False], ids=["before it is known", "once it is known"])
def test_a_folder_is_to_be_searched_when_something_comes_into_it_at_any_level(tmp_path: Path, early: bool) -> None:
    async def main() -> None:
        one = Listening(tmp_path)
        await one.listener.open()
        grow(tmp_path / "high/A/empty/a", {})
        found = one.source.scan(one.known.tree, anew=True)
        if not early:
            one.known.install(found)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.listener.run)
            (tmp_path / "high/A/empty/a/1").touch()
            if early:
                await one.until(lambda: any(one.known.trust.last_report(key) > 0 for key in keys_of(found, b"empty")))
                one.known.install(found)
                assert one.hinted == [], "nobody knew what it is about"
                one.listener.scanned([])
            await one.until(lambda: {b"A/empty"} in one.hinted)
            nursery.cancel_scope.cancel()

    trio.run(main)


def keys_of(tree: Directory, name: bytes) -> tuple[bytes, ...]:
    """The keys of the directories in a folder."""
    artist = tree.entries[b"A"]
    assert isinstance(artist, Directory)
    folder = artist.entries[name]
    assert isinstance(folder, Leaf)
    assert folder.evidence is not None
    return folder.evidence.keys
