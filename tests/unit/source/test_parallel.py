"""Several calls: in order while they use the CPU, in threads if they wait, and after an exception."""

import threading
import time

import pytest

from mmirrorfs.source.parallel import THREADS, each


@pytest.mark.alone
def test_calls_that_do_not_wait_run_in_order_in_one_thread() -> None:
    called = list[tuple[int, int]]()
    each(lambda thing: called.append((thing, threading.get_ident())), range(100))
    assert called == [(thing, threading.get_ident()) for thing in range(100)]


def test_calls_that_wait_run_in_several_threads_each_once() -> None:
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
def test_after_an_exception_no_call_is_started_and_it_is_raised(at: int) -> None:
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


def test_without_new_threads_the_calling_one_makes_all_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    called = list[int]()

    def wait(thing: int) -> None:
        time.sleep(0.002)
        called.append(thing)

    monkeypatch.setattr(threading.Thread, "start", none)
    each(wait, range(10))
    assert called == list(range(10))


def test_no_arguments_make_no_calls() -> None:
    each(pytest.fail, [])
