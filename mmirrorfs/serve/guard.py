"""Decorator for request handlers: turns every exception into FUSEError, and counts.

This is the one place where an OSError becomes a FUSEError. Any other exception would end the mount; it is logged and
becomes EIO. An ENOSYS from a source is translated: the kernel would never send that operation again.
"""

import errno
import functools
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

import pyfuse3
import trio
from pyfuse3 import FUSEError

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")
H = TypeVar("H", bound="Guarded")


KINDS: list[str] = []
"""Names of all guarded handlers; their index is the number of the request kind."""


class Guarded(pyfuse3.Operations):
    """Base of the request handlers.

    Once ``ending`` is set, stuck requests are given up and all get EIO. A request that takes longer than ``timeout``
    seconds gets EIO as well (0: no limit).
    """

    def __init__(self, timeout: float) -> None:
        super().__init__()
        self.ending = False
        self.timeout = timeout
        self._requests = [0] * len(KINDS)
        self._errors: Counter[tuple[int, int]] = Counter()
        """By kind and errno."""

    @property
    def served(self) -> int:
        """Number of requests so far."""
        return sum(self._requests)

    def counts(self) -> dict[str, dict[str, Any]]:
        """``requests`` so far by handler name, and ``errors`` by handler name and error name ("EIO")."""
        errors: dict[str, dict[str, int]] = {}
        for (kind, code), count in self._errors.items():
            errors.setdefault(KINDS[kind], {})[errno.errorcode.get(code, str(code))] = count
        return {"requests": dict(zip(KINDS, self._requests, strict=True)), "errors": errors}

    def _failed(self, kind: int, code: int) -> FUSEError:
        """Count an error, and return it."""
        self._errors[kind, code] += 1
        return FUSEError(code)


_OTHERWISE = {
    errno.ENOSYS: errno.EOPNOTSUPP,
    errno.ENOTCONN: errno.EIO,
    errno.ECONNABORTED: errno.EIO,
}
"""Translation of errors from sources. The last two would say that this mount is dead, and not the source's."""


def guarded(
    handler: Callable[Concatenate[H, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[H, P], Coroutine[Any, Any, R]]:
    """Wrap a handler: only FUSEError gets out, and Cancelled unless the mount is ending."""
    kind = len(KINDS)
    KINDS.append(handler.__name__)

    @functools.wraps(handler)
    async def wrapped(self: H, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the handler. Raises FUSEError, or Cancelled unless the mount is ending."""
        self._requests[kind] += 1
        if self.ending:
            raise self._failed(kind, errno.EIO)
        try:
            if not self.timeout:
                return await handler(self, *args, **kwargs)
            with trio.fail_after(self.timeout):
                return await handler(self, *args, **kwargs)
        except trio.TooSlowError:
            raise self._failed(kind, errno.EIO) from None
        except OSError as error:
            code = error.errno or errno.EIO
            raise self._failed(kind, _OTHERWISE.get(code, code)) from None
        except FUSEError as error:
            self._errors[kind, error.errno] += 1
            raise
        except trio.Cancelled:
            if self.ending:  # readers stuck in a hung source get a reply before the unmount
                raise self._failed(kind, errno.EIO) from None
            raise
        except Exception:
            log.exception("internal error in %s", handler.__name__)
            raise self._failed(kind, errno.EIO) from None

    return wrapped  # type: ignore[return-value]  # wraps() hides the coroutine's type
