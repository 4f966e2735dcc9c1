"""A shortage of our own (threads, descriptors, memory) is an OSError, and does not mark a source as lost."""

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest
import trio
from trio.testing import MockClock

from mmirrorfs.serve import indexer as indexer_module
from mmirrorfs.source.source import SHORTAGE, SourceLost
from mmirrorfs.source.threads import AGAIN, NoThread, SourceThreads, threaded
from tests.support.build import move, sources
from tests.support.trees import grow
from tests.support.world import World, warnings


class Pool:
    """Replaces trio.to_thread.run_sync; its next ``lacking`` calls fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, message: str = "can't start new thread") -> None:
        self.lacking = 0
        self._run_sync, self._message = trio.to_thread.run_sync, message
        monkeypatch.setattr(trio.to_thread, "run_sync", self._run)

    async def _run(self, *args: object, **kwargs: object) -> object:
        if self.lacking:
            self.lacking -= 1
            raise RuntimeError(self._message)
        return await self._run_sync(*args, **kwargs)  # type: ignore[arg-type]


async def test_a_call_for_which_no_thread_can_be_started_raises_enomem(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, pool = SourceThreads(), Pool(monkeypatch)
    pool.lacking = 1
    with pytest.raises(NoThread) as caught:
        await threads.in_thread(lambda: None)
    assert caught.value.errno == errno.ENOMEM
    assert (await threads.in_thread(lambda: "answered"), threads.busy, threads.hung) == ("answered", False, False)


async def test_any_other_runtimeerror_is_raised_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(monkeypatch, "a bug")
    pool.lacking = 1
    with pytest.raises(RuntimeError, match="a bug"):
        await threaded(lambda: None)


async def test_a_close_for_which_no_thread_can_be_started_is_retried(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    threads, pool = SourceThreads(), Pool(monkeypatch)
    fd = os.open("/dev/null", os.O_RDONLY)
    pool.lacking = 3
    threads.close(fd, local=False)
    await trio.sleep(2.5 * AGAIN)
    os.fstat(fd)
    await trio.sleep(AGAIN)
    while threads.busy:
        await trio.sleep(AGAIN)
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        os.fstat(fd)


@pytest.mark.parametrize("code", sorted(SHORTAGE))
def test_a_scan_that_fails_for_a_shortage_does_not_mark_the_source_as_lost(
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
async def test_a_merge_that_fails_for_a_shortage_is_made_up_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    world, failures = World(tmp_path), [error]
    original = indexer_module._merged

    def merged(*args: object) -> object:
        if failures:
            raise failures.pop()
        return original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(indexer_module, "_merged", merged)
    async with world.watched(monkeypatch):
        (world.high / "More").mkdir()
        await world.until(lambda: world.winner(b"More") == 0)
    assert failures == []
    assert warnings(caplog, "could not be scanned") == 1
