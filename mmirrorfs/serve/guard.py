"""What each request handler is wrapped in, once: nothing but FUSEError comes out of one.

The one place where an OSError becomes a FUSEError. Anything else that came out of a handler would end the mount, so it
is logged and becomes EIO. ENOSYS never passes from a source: the kernel would not ask for that operation again as long
as the mount lives.
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
"""The names of all handlers that are guarded: kinds of requests are numbered by them."""


class Guarded(pyfuse3.Operations):
    """Request handlers. ``ending`` is set when stuck requests are given up: all get EIO then.

    So does each that takes longer than ``timeout`` seconds (0: none does).
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
        """Requests so far."""
        return sum(self._requests)

    def counts(self) -> dict[str, dict[str, Any]]:
        """``requests`` so far, by the names of their handlers, and those of them that were answered with an error, by
        name and error ("EIO").
        """
        errors: dict[str, dict[str, int]] = {}
        for (kind, code), count in self._errors.items():
            errors.setdefault(KINDS[kind], {})[errno.errorcode.get(code, str(code))] = count
        return {"requests": dict(zip(KINDS, self._requests, strict=True)), "errors": errors}

    def _failed(self, kind: int, code: int) -> FUSEError:
        """The error to raise."""
        self._errors[kind, code] += 1
        return FUSEError(code)


_OTHERWISE = {
    errno.ENOSYS: errno.EOPNOTSUPP,
    errno.ENOTCONN: errno.EIO,
    errno.ECONNABORTED: errno.EIO,
}
"""What does not pass from a source: the last two would say that this mount is dead, when a source's is."""


def guarded(
    handler: Callable[Concatenate[H, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[H, P], Coroutine[Any, Any, R]]:
    """Count; let nothing but FUSEError out of a handler, and the cancellation of a mount that is not ending."""
    kind = len(KINDS)
    KINDS.append(handler.__name__)

    @functools.wraps(handler)
    async def wrapped(self: H, *args: P.args, **kwargs: P.kwargs) -> R:
        """The handler; raises FUSEError, or Cancelled where the mount is not ending."""
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
            if self.ending:  # a reader stuck in a hung source gets an answer before the mount goes
                raise self._failed(kind, errno.EIO) from None
            raise
        except Exception:
            log.exception("internal error in %s", handler.__name__)
            raise self._failed(kind, errno.EIO) from None

    return wrapped  # type: ignore[return-value]  # wraps() hides the coroutine's type
