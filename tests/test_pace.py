"""Where a blocking call runs, and how long anybody waits for it."""

import errno
import threading
from collections.abc import Iterator

import pytest
import trio
from trio.testing import MockClock

from mmirrorfs.source import pace as pace_module
from mmirrorfs.source.pace import IDLE, QUICK, Pace


class Stopwatch:
    """The time that calls take, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Stopwatch:
    stopwatch = Stopwatch()
    monkeypatch.setattr(pace_module, "perf_counter", stopwatch)
    return stopwatch


class Disk:
    """A call that takes ``takes`` seconds, and notes where it ran and whether it was to answer from memory only."""

    def __init__(self, watch: Stopwatch, takes: float = 0.0) -> None:
        self.takes = takes
        self.cold = False
        self.calls: list[str] = []
        self._watch = watch
        self._loop = threading.get_ident()

    def __call__(self, answer: int, cached: bool) -> int:
        here = threading.get_ident() == self._loop
        assert here == cached, "on the loop only what is in memory is asked for, in a thread everything"
        self.calls.append("loop" if here else "thread")
        self._watch.now += self.takes
        if cached and self.cold:
            raise BlockingIOError(errno.EAGAIN, "not in memory")
        return answer


async def test_a_local_source_is_asked_in_a_thread_first_and_on_the_loop_while_it_is_quick(watch: Stopwatch) -> None:
    pace, disk = Pace(local=True), Disk(watch)
    assert [await pace.run(disk, n) for n in range(3)] == [0, 1, 2]
    assert disk.calls == ["thread", "loop", "loop"]


async def test_any_other_source_is_asked_in_threads_only(watch: Stopwatch) -> None:
    pace, disk = Pace(local=False), Disk(watch)
    for n in range(3):
        assert await pace.run(disk, n) == n
    assert disk.calls == ["thread"] * 3


async def test_what_is_not_in_memory_is_asked_again_in_a_thread(watch: Stopwatch) -> None:
    pace, disk = Pace(local=True), Disk(watch)
    await pace.run(disk, 1)
    disk.cold = True
    assert await pace.run(disk, 2) == 2
    assert disk.calls == ["thread", "loop", "thread"]


async def test_a_source_that_was_slow_is_asked_in_threads_until_it_is_quick_again(watch: Stopwatch) -> None:
    pace, disk = Pace(local=True), Disk(watch)
    await pace.run(disk, 1)
    disk.takes = QUICK * 2
    await pace.run(disk, 2)
    await pace.run(disk, 3)
    disk.takes = 0
    await pace.run(disk, 4)
    await pace.run(disk, 5)
    assert disk.calls == ["thread", "loop", "thread", "thread", "loop"]


async def test_after_a_long_rest_the_disk_may_sleep_and_is_asked_in_a_thread(watch: Stopwatch) -> None:
    pace, disk = Pace(local=True), Disk(watch)
    await pace.run(disk, 1)
    watch.now += IDLE + 1
    await pace.run(disk, 2)
    await pace.run(disk, 3)
    assert disk.calls == ["thread", "thread", "loop"]


@pytest.mark.parametrize("local", [True, False])
async def test_errors_are_passed_on_from_the_loop_and_from_threads(local: bool, watch: Stopwatch) -> None:
    pace = Pace(local)

    def failing(cached: bool) -> None:
        raise FileNotFoundError(errno.ENOENT, "none")

    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            await pace.run(failing)
        with pytest.raises(FileNotFoundError):
            await pace.within(1, failing)
    assert not pace.hung


# Hanging


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What calls to a hung source wait for."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def hanging(gate: threading.Event) -> "Hanging":
    return Hanging(gate)


class Hanging:
    """A source that does not answer before its gate is open."""

    def __init__(self, gate: threading.Event) -> None:
        self.calls = 0
        self._gate = gate

    def __call__(self, cached: bool) -> str:
        self.calls += 1
        self._gate.wait()
        return "at last"


async def test_nobody_waits_longer_than_agreed_and_then_not_at_all(hanging: Hanging, autojump_clock: MockClock) -> None:
    pace = Pace(local=False)
    start = trio.current_time()
    with pytest.raises(TimeoutError) as caught:
        await pace.within(0.3, hanging)
    assert caught.value.errno == errno.ETIMEDOUT
    assert trio.current_time() - start == pytest.approx(0.3)
    assert pace.hung
    for _ in range(100):
        with pytest.raises(TimeoutError):
            await pace.within(0.3, hanging)
    assert trio.current_time() - start == pytest.approx(0.3)
    assert hanging.calls <= 1


async def test_a_source_does_not_hang_any_longer_once_any_call_returns(
    hanging: Hanging, gate: threading.Event, autojump_clock: MockClock
) -> None:
    pace = Pace(local=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pace.run, hanging)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(TimeoutError):
            await pace.within(0.3, hanging)
        assert pace.hung
        gate.set()
    assert not pace.hung
    autojump_clock.autojump_threshold = float("inf")
    assert await pace.within(0.3, hanging) == "at last"


async def test_a_call_that_gave_up_waiting_for_a_thread_counts_as_hung_too(
    hanging: Hanging, autojump_clock: MockClock
) -> None:
    pace = Pace(local=False, threads=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pace.run, hanging)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(TimeoutError):
            await pace.within(0.3, hanging)
        assert hanging.calls <= 1
        nursery.cancel_scope.cancel()


async def test_a_hung_source_takes_no_thread_from_another(
    hanging: Hanging, watch: Stopwatch, autojump_clock: MockClock
) -> None:
    stuck, healthy = Pace(local=False), Pace(local=False)
    autojump_clock.autojump_threshold = float("inf")
    async with trio.open_nursery() as nursery:
        for _ in range(60):
            nursery.start_soon(stuck.run, hanging)
        await trio.testing.wait_all_tasks_blocked()
        assert await healthy.run(Disk(watch), 7) == 7
        nursery.cancel_scope.cancel()


async def test_a_cancelled_caller_does_not_wait_for_its_thread(hanging: Hanging, autojump_clock: MockClock) -> None:
    pace = Pace(local=False)
    with trio.move_on_after(5) as scope:
        await pace.run(hanging)
    assert scope.cancelled_caught
