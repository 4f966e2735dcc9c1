"""Threads share the result of a check that began after they needed it, and of no other."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from mmirrorfs.source.shared_check import SharedCheck
from tests.support.polling import poll

PATIENCE = 60.0


class Gate:
    """A check that waits until it is let go on; then it does what ``outcomes`` says next."""

    def __init__(self, *outcomes: Exception | None) -> None:
        self.begun = 0
        self.gate = threading.Semaphore(0)
        self._outcomes = iter(outcomes)

    def __call__(self) -> None:
        self.begun += 1
        self.gate.acquire()
        if (outcome := next(self._outcomes, None)) is not None:
            raise outcome


def waiting(pool: ThreadPoolExecutor, check: Callable[[], None], number: int) -> list["Future[None]"]:
    """So many threads that have called ``check``."""
    entered = threading.Semaphore(0)

    def call() -> None:
        entered.release()
        check()

    calls = [pool.submit(call) for _ in range(number)]
    for _ in calls:
        assert entered.acquire(timeout=PATIENCE)
    return calls


def test_those_that_wait_while_one_checks_share_the_next_check() -> None:
    gate = Gate(None, *[ValueError("lost")] * 19)
    check = SharedCheck(gate, ValueError, PATIENCE)
    with ThreadPoolExecutor(20) as pool:
        (first,) = waiting(pool, check, 1)
        poll(lambda: gate.begun == 1, "the first check")
        others = waiting(pool, check, 19)
        gate.gate.release()
        assert first.result(PATIENCE) is None
        gate.gate.release(19)
        assert [str(one.exception(PATIENCE)) for one in others] == ["lost"] * 19
    assert gate.begun <= 5, "two, and some more for threads that a busy machine has call late"


def test_a_later_call_checks_anew() -> None:
    gate = Gate(ValueError("lost"))
    gate.gate.release(2)
    check = SharedCheck(gate, ValueError, PATIENCE)
    with pytest.raises(ValueError, match="lost"):
        check()
    check()
    assert gate.begun == 2


def test_an_exception_of_another_type_is_not_shared() -> None:
    gate = Gate(None, OSError("no memory"), None)
    check = SharedCheck(gate, ValueError, PATIENCE)
    with ThreadPoolExecutor(3) as pool:
        waiting(pool, check, 1)
        poll(lambda: gate.begun == 1, "the first check")
        others = waiting(pool, check, 2)
        gate.gate.release(3)
        assert sorted(repr(one.exception(PATIENCE)) for one in others) == ["None", "OSError('no memory')"]
    assert gate.begun == 3


def test_who_has_waited_long_enough_for_a_stuck_check_makes_its_own() -> None:
    gate = Gate()
    check = SharedCheck(gate, ValueError, 0.01)
    with ThreadPoolExecutor(2) as pool:
        stuck = waiting(pool, check, 1)
        poll(lambda: gate.begun == 1, "the first check")
        stuck += waiting(pool, check, 1)
        poll(lambda: gate.begun == 2, "the second check")
        gate.gate.release(2)
        assert [one.result(PATIENCE) for one in stuck] == [None, None]
