"""The longest pause of the event loop: each is seen, and it is forgotten when it is long past."""

import time

import trio

from mmirrorfs.mount.pulse import WINDOW, Pulse


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def busy(pulse: Pulse, clock: Clock, seconds: float, rest: float = 0.0) -> None:
    """A turn of the loop: it wakes, works, and looks again, then rests."""
    pulse.after_io_wait(0)
    clock.now += seconds
    pulse.before_io_wait(0)
    clock.now += rest


def test_the_longest_time_between_two_looks_is_told_and_none_in_which_it_rested() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    for seconds in (0.001, 0.25, 0.002):
        busy(pulse, clock, seconds, rest=30)
    assert round(pulse.pause(), 6) == 0.25


def test_what_was_before_the_first_look_is_not_counted() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    clock.now += 5
    pulse.before_io_wait(0)
    assert pulse.pause() == 0


def test_a_pause_is_told_for_one_window_at_least_and_two_at_most() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    busy(pulse, clock, 2.0, rest=WINDOW - 2)
    busy(pulse, clock, 0.5)
    assert pulse.pause() == 2.0
    busy(pulse, clock, 0.125, rest=WINDOW - 1)
    assert pulse.pause() == 2.0, "a window later"
    clock.now += 1.5
    assert pulse.pause() == 0.5
    clock.now += 10 * WINDOW
    assert pulse.pause() == 0


def test_asking_takes_nothing_away_from_others_who_ask() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    busy(pulse, clock, 1.0)
    assert pulse.pause() == pulse.pause() == 1.0


def test_a_task_that_keeps_a_real_loop_is_seen() -> None:
    pulse = Pulse()

    async def work() -> None:
        await trio.sleep(0.01)
        before = pulse.pause()
        time.sleep(0.05 + before)
        await trio.sleep(0.01)
        assert pulse.pause() >= 0.05 + before

    trio.run(work, instruments=[pulse])
