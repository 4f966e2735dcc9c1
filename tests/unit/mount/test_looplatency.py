"""Event loop latency: every pause is measured, and dropped after two windows."""

import time

import trio

from mmirrorfs.mount.looplatency import WINDOW, LoopLatency


class Clock:
    """A clock advanced by the test; in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def busy(latency: LoopLatency, clock: Clock, seconds: float, rest: float = 0.0) -> None:
    """One iteration of the loop: work for ``seconds``, poll, then idle for ``rest``."""
    latency.after_io_wait(0)
    clock.now += seconds
    latency.before_io_wait(0)
    clock.now += rest


def test_longest_interval_between_polls_counts_and_idle_time_does_not() -> None:
    clock = Clock()
    latency = LoopLatency(clock)
    for seconds in (0.001, 0.25, 0.002):
        busy(latency, clock, seconds, rest=30)
    assert round(latency.longest_pause(), 6) == 0.25


def test_time_before_the_first_poll_does_not_count() -> None:
    clock = Clock()
    latency = LoopLatency(clock)
    clock.now += 5
    latency.before_io_wait(0)
    assert latency.longest_pause() == 0


def test_pause_is_reported_for_one_to_two_windows() -> None:
    clock = Clock()
    latency = LoopLatency(clock)
    busy(latency, clock, 2.0, rest=WINDOW - 2)
    busy(latency, clock, 0.5)
    assert latency.longest_pause() == 2.0
    busy(latency, clock, 0.125, rest=WINDOW - 1)
    assert latency.longest_pause() == 2.0, "a window later"
    clock.now += 1.5
    assert latency.longest_pause() == 0.5
    clock.now += 10 * WINDOW
    assert latency.longest_pause() == 0


def test_reading_the_latency_does_not_reset_it() -> None:
    clock = Clock()
    latency = LoopLatency(clock)
    busy(latency, clock, 1.0)
    assert latency.longest_pause() == latency.longest_pause() == 1.0


def test_task_that_blocks_a_real_event_loop_is_measured() -> None:
    latency = LoopLatency()

    async def work() -> None:
        await trio.sleep(0.01)
        before = latency.longest_pause()
        time.sleep(0.05 + before)
        await trio.sleep(0.01)
        assert latency.longest_pause() >= 0.05 + before

    trio.run(work, instruments=[latency])
