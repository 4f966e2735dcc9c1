"""A blocking check whose result threads share.

When a source fails, all requests to it fail, and each has its root checked. The kernel looks up one name of a directory
at a time, so that twenty checks of a server that cannot be reached took twenty times its timeout, one after the other
(seen with sshfs: over a minute until it was known to be lost).
"""

import threading
from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar

E = TypeVar("E", bound=Exception)


class SharedCheck(Generic[E]):
    """Calls ``check``; whether it raised ``failure`` holds for all threads that were waiting when it began.

    Any other exception holds for the calling thread only. Any thread may call this.
    """

    def __init__(self, check: Callable[[], None], failure: type[E], patience: float) -> None:
        """``patience``: seconds to wait for the check of another thread, which may be stuck, before making one."""
        self._check = check
        self._failure = failure
        self._patience = patience
        self._lock = threading.Lock()
        self._last: tuple[float, E | None] = (-1.0, None)
        """When the last check began, and what it raised."""

    def __call__(self) -> None:
        """Check, or take the result of a check that began after this call. Raises what ``check`` raises."""
        called = monotonic()
        held = self._lock.acquire(timeout=self._patience)
        try:
            begun, error = self._last
            if not held or begun < called:
                self._run()
            elif error is not None:
                raise error.with_traceback(None)
        finally:
            if held:
                self._lock.release()

    def _run(self) -> None:
        begun = monotonic()
        try:
            self._check()
        except self._failure as error:
            self._last = begun, error
            raise
        self._last = begun, None
