"""Timed calls, and calls in threads of their own that may block until the test ends."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from tests.support.polling import poll, repeat

T = TypeVar("T")


class Asked(Generic[T]):
    """A call in a daemon thread. It may block for ever; ``took`` is its duration in seconds, once it has returned."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._answer: list[T] = []
        self._error: list[OSError] = []
        self._started = time.monotonic()
        self.took = 0.0
        threading.Thread(target=self._ask, daemon=True).start()

    def _ask(self) -> None:
        try:
            self._answer.append(self._call())
        except OSError as error:
            self._error.append(error)
        finally:
            self.took = time.monotonic() - self._started

    @property
    def is_waiting(self) -> bool:
        """Whether the call has not returned yet."""
        return not self._answer and not self._error

    def answer(self, seconds: float) -> T:
        """What the call returned. Raises its OSError, or AssertionError where it takes longer than ``seconds``."""
        poll(lambda: not self.is_waiting, "an answer", seconds)
        if self._error:
            raise self._error[0]
        return self._answer[0]


def timed(call: Callable[[], T]) -> tuple[T, float]:
    """What the call returns, and how many seconds it took."""
    start = time.monotonic()
    return call(), time.monotonic() - start


def worst(calls: Callable[[], object], seconds: float) -> float:
    """The longest duration of a call that is repeated for ``seconds``."""
    durations: list[float] = []
    repeat(lambda: durations.append(timed(calls)[1]), seconds)
    return max(durations)
