"""A time limit that also ends calls that hang in the kernel on a mount that does not answer.

Signals do not interrupt these, so a thread first aborts the FUSE connections, which makes the calls fail. A test that
goes on regardless is ended by SIGALRM.
"""

import contextlib
import faulthandler
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

import pytest

from tests.support.kernel import abort_under, end_processes_of

GRACE = 5.0
"""Seconds between the abort of the connections and SIGALRM."""


@contextlib.contextmanager
def limit(seconds: float, where: bytes) -> Iterator[None]:
    """Fail the test if the block takes longer, and abort every view below ``where``. Main thread only."""
    over = f"it took longer than {seconds} s"
    ended = threading.Event()

    def fail(number: int, frame: FrameType | None) -> None:
        pytest.fail(over)

    def watch() -> None:
        if not ended.wait(seconds):
            faulthandler.dump_traceback(sys.__stderr__ or 2)
            abort_under(where)
            end_processes_of(where)
            if not ended.wait(GRACE):
                signal.pthread_kill(main, signal.SIGALRM)

    main = threading.main_thread().ident or 0
    before = signal.signal(signal.SIGALRM, fail)
    started = time.monotonic()
    watchdog = threading.Thread(target=watch, daemon=True)
    watchdog.start()
    try:
        yield
        assert time.monotonic() - started < seconds, over
    finally:
        ended.set()
        watchdog.join()
        signal.signal(signal.SIGALRM, before)
