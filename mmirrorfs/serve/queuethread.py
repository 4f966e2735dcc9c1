"""A daemon thread that works off a queue and may block in the kernel: it is asked to stop, and waited for so long."""

import abc
import threading
import time
from collections.abc import Iterable


class QueueThread(abc.ABC):
    """The thread. It does not keep the process alive. Any thread may call this."""

    def __init__(self, name: str) -> None:
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._stopping = False

    def start(self) -> None:
        """Start it; not before the process has gone to the background, as threads do not survive a fork."""
        self._thread.start()

    @abc.abstractmethod
    def request_stop(self) -> None:
        """Stop after the current system call. Does not wait."""

    def join(self, seconds: float) -> bool:
        """Join the thread, for so long at the most; returns whether it has stopped."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    @abc.abstractmethod
    def _run(self) -> None:
        """Work until the thread is to stop."""


def stop_all(threads: Iterable[QueueThread], seconds: float) -> bool:
    """Stop each after its current system call; returns False if one is in it still after ``seconds``."""
    threads = list(threads)
    for one in threads:
        one.request_stop()
    until = time.monotonic() + seconds
    stopped = [one.join(max(0.0, until - time.monotonic())) for one in threads]
    return all(stopped)
