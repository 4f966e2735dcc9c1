"""A shortage of our own (threads, descriptors, memory) is an errno like any other, and no news of a source."""

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest
import trio
from trio.testing import MockClock

from mmirrorfs.serve import indexer as indexer_module
from mmirrorfs.source.pace import AGAIN, NoThread, Pace, threaded
from mmirrorfs.source.source import SHORTAGE, SourceLost
from tests.support.build import move, sources
from tests.support.trees import grow
from tests.support.world import World, warnings


class Threads:
    """Takes the place of trio's: there are none as often as it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, message: str = "can't start new thread") -> None:
        self.lacking = 0
        self._really, self._message = trio.to_thread.run_sync, message
        monkeypatch.setattr(trio.to_thread, "run_sync", self._run)

    async def _run(self, *words: object, **more: object) -> object:
        if self.lacking:
            self.lacking -= 1
            raise RuntimeError(self._message)
        return await self._really(*words, **more)  # type: ignore[arg-type]


async def test_where_no_thread_can_be_had_the_caller_gets_an_errno(monkeypatch: pytest.MonkeyPatch) -> None:
    pace, threads = Pace(), Threads(monkeypatch)
    threads.lacking = 1
    with pytest.raises(NoThread) as caught:
        await pace.in_thread(lambda: None)
    assert caught.value.errno == errno.ENOMEM
    assert (await pace.in_thread(lambda: "answered"), pace.busy, pace.hung) == ("answered", False, False)


async def test_any_other_error_of_a_call_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = Threads(monkeypatch, "a fault of ours")
    threads.lacking = 1
    with pytest.raises(RuntimeError, match="a fault of ours"):
        await threaded(lambda: None)


async def test_a_descriptor_that_no_thread_was_left_for_is_closed_later(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    pace, threads = Pace(), Threads(monkeypatch)
    fd = os.open("/dev/null", os.O_RDONLY)
    threads.lacking = 3
    pace.close(fd, local=False)
    await trio.sleep(2.5 * AGAIN)
    os.fstat(fd)
    await trio.sleep(AGAIN)
    while pace.busy:
        await trio.sleep(AGAIN)
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        os.fstat(fd)


@pytest.mark.parametrize("code", sorted(SHORTAGE))
def test_a_source_that_we_cannot_list_is_not_lost_for_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    (source,) = sources(grow(tmp_path / "root", {"A": {}}))
    known = source.scan(None)

    def short(path: bytes) -> NoReturn:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(source.reader, "open_directory", short)
    grow(tmp_path / "root" / "B", {})
    move(tmp_path / "root")
    with pytest.raises(OSError, match=os.strerror(code)) as caught:
        source.scan(known)
    assert not isinstance(caught.value, SourceLost)
    with pytest.raises(SourceLost, match=os.strerror(code)):
        source.scan(None)


@pytest.mark.parametrize("error", [NoThread(), MemoryError()], ids=["no thread", "no memory"])
async def test_a_merge_that_there_was_no_room_for_is_made_up_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    world, failures = World(tmp_path), [error]
    really = indexer_module._merged

    def merged(*words: object) -> object:
        if failures:
            raise failures.pop()
        return really(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(indexer_module, "_merged", merged)
    async with world.watched(monkeypatch):
        (world.high / "More").mkdir()
        await world.until(lambda: world.winner(b"More") == 0)
    assert failures == []
    assert warnings(caplog, "could not be looked at") == 1
