"""Several calls: in order while they work, at once where they wait, and what happens when some fail."""

import threading
import time

import pytest

from mmirrorfs.source.several import THREADS, each


@pytest.mark.alone
def test_what_does_not_wait_is_called_in_order_in_one_thread() -> None:
    called = list[tuple[int, int]]()
    each(lambda thing: called.append((thing, threading.get_ident())), range(100))
    assert called == [(thing, threading.get_ident()) for thing in range(100)]


def test_what_waits_is_called_in_several_threads_each_once() -> None:
    called, together = list[int](), threading.Barrier(THREADS)

    def wait(thing: int) -> None:
        if thing:
            together.wait(10)
        else:
            time.sleep(0.01)
        called.append(thing)

    each(wait, range(2 * THREADS + 1))
    assert sorted(called) == list(range(2 * THREADS + 1))


@pytest.mark.parametrize("at", [0, 1, 40])
def test_after_a_failure_no_other_call_is_begun_and_the_failure_is_raised(at: int) -> None:
    called = list[int]()

    def fail(thing: int) -> None:
        called.append(thing)
        time.sleep(0.002)
        if thing == at:
            raise OSError(thing, "failed")

    with pytest.raises(OSError, match="failed") as caught:
        each(fail, range(100))
    assert caught.value.errno == at
    assert len(called) <= at + 2 * THREADS


def test_where_there_are_no_threads_to_be_had_one_does_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    called = list[int]()

    def wait(thing: int) -> None:
        time.sleep(0.002)
        called.append(thing)

    monkeypatch.setattr(threading.Thread, "start", none)
    each(wait, range(10))
    assert called == list(range(10))


def test_of_nothing_nothing_is_called() -> None:
    each(pytest.fail, [])
