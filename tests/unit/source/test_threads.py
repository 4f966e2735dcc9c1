"""Where a blocking call runs, and when a source hangs."""

import errno
import os
import threading
from collections.abc import Iterator

import pytest
import trio
from trio.testing import MockClock

from mmirrorfs.source.threads import HUNG, SourceThreads
from tests.support.stopwatch import Stopwatch


@pytest.fixture
def watch() -> Stopwatch:
    return Stopwatch()


@pytest.fixture
def threads(watch: Stopwatch) -> SourceThreads:
    return SourceThreads(clock=watch)


class Gate:
    """Blocks calls to a source that hangs, once it is shut after the first."""

    def __init__(self) -> None:
        self._begun = threading.Event()
        self._open = threading.Event()

    def wait(self) -> None:
        self._begun.set()
        self._open.wait()

    def set(self) -> None:
        self._open.set()

    async def begun(self) -> None:
        """Wait until somebody waits."""
        with trio.fail_after(10):
            await trio.to_thread.run_sync(self._begun.wait, abandon_on_cancel=True)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.set()


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


async def test_a_call_runs_in_a_thread(threads: SourceThreads) -> None:
    assert await threads.in_thread(threading.get_ident) != threading.get_ident()


async def test_errors_are_passed_on(threads: SourceThreads) -> None:
    def failing() -> None:
        raise FileNotFoundError(errno.ENOENT, "none")

    with pytest.raises(FileNotFoundError):
        await threads.in_thread(failing)
    assert not threads.hung


async def test_a_source_hangs_if_no_call_in_progress_returns_in_time(
    threads: SourceThreads, watch: Stopwatch, gate: Gate
) -> None:
    watch.now += 10 * HUNG
    assert not threads.hung, "no call is in progress"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(threads.in_thread, gate.wait)
        await gate.begun()
        assert threads.patience == HUNG
        watch.now += HUNG - 0.1
        assert threads.patience == pytest.approx(0.1)
        assert not threads.hung
        watch.now += 0.1
        assert threads.hung
        gate.set()
    watch.now += 10 * HUNG
    assert (threads.hung, threads.busy) == (False, False)


async def test_a_slow_source_whose_calls_return_does_not_hang(
    threads: SourceThreads, watch: Stopwatch, gate: Gate
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(threads.in_thread, gate.wait)
        await gate.begun()
        for _ in range(5):
            watch.now += HUNG - 0.1
            await threads.in_thread(lambda: None)
            assert threads.patience == HUNG
        watch.now += HUNG - 0.1
        threads.answered()
        watch.now += HUNG - 0.1
        assert not threads.hung
        gate.set()


async def test_a_hung_source_takes_no_threads_from_another(gate: Gate, autojump_clock: MockClock) -> None:
    stuck, healthy = SourceThreads(), SourceThreads()
    autojump_clock.autojump_threshold = float("inf")
    async with trio.open_nursery() as nursery:
        for _ in range(60):
            nursery.start_soon(stuck.in_thread, gate.wait)
        await trio.testing.wait_all_tasks_blocked()
        assert await healthy.in_thread(lambda: 7) == 7
        nursery.cancel_scope.cancel()


async def test_a_cancelled_caller_does_not_wait_for_the_thread(
    threads: SourceThreads, gate: Gate, autojump_clock: MockClock
) -> None:
    with trio.move_on_after(5) as scope:
        await threads.in_thread(gate.wait)
    assert scope.cancelled_caught
    assert threads.busy


async def test_a_descriptor_is_closed_on_the_loop_on_a_local_filesystem_only(threads: SourceThreads) -> None:
    for local in (True, False):
        readable, writable = os.pipe()
        os.close(writable)
        threads.close(readable, local)
        assert is_open(readable) == (not local)
    with trio.fail_after(10):
        while is_open(readable):
            await trio.sleep(0.01)
