"""A listener whose descriptor is closed under it says so once, and nothing of its source counts as watched any more."""

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
from mmirrorfs.tree import Rank
from tests.support.trees import Tree, grow

TREE: Tree = {b"A": {b"one": {b"1": b"track"}}}


class Listening:
    """One source that is listened to, and what its listener says."""

    def __init__(self, tmp_path: Path) -> None:
        self.source = Source(Rank(0), "high", os.fsencode(grow(tmp_path / "high", TREE)), 2)
        self.known = Known(self.source.scan(None), Room(1000))
        self.freshness = Freshness.promised(3600, time.monotonic)
        self.doubted = 0
        self.fetch = Fetch(self.source, self.known, self.freshness, lambda source: None)
        self.listener = Listener(
            self.source, self.fetch, lambda source, where: None, self.doubt, self.freshness.clock, True
        )

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
