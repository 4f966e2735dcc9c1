"""What each request handler is wrapped in, once: nothing but FUSEError comes out of one.

The one place where an OSError becomes a FUSEError. Anything else that came out of a handler would end the mount, so it
is logged and becomes EIO. ENOSYS never passes from a source: the kernel would not ask for that operation again as long
as the mount lives.
"""

import errno
import functools
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

import pyfuse3
import trio
from pyfuse3 import FUSEError

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")
H = TypeVar("H", bound="Guarded")


class Guarded(pyfuse3.Operations):
    """Request handlers. ``ending`` is set when stuck requests are given up: all get EIO then.

    So does each that takes longer than ``timeout`` seconds (0: none does).
    """

    def __init__(self, timeout: float) -> None:
        super().__init__()
        self.ending = False
        self.timeout = timeout
        self.served = 0
        """Requests so far."""


_OTHERWISE = {
    errno.ENOSYS: errno.EOPNOTSUPP,
    errno.ENOTCONN: errno.EIO,
    errno.ECONNABORTED: errno.EIO,
}
"""What does not pass from a source: the last two would say that this mount is dead, when a source's is."""


def guarded(
    handler: Callable[Concatenate[H, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[H, P], Coroutine[Any, Any, R]]:
    """Let nothing but FUSEError out of a handler, and the cancellation of a mount that is not ending."""

    @functools.wraps(handler)
    async def wrapped(self: H, *args: P.args, **kwargs: P.kwargs) -> R:
        """The handler; raises FUSEError, or Cancelled where the mount is not ending."""
        if self.ending:
            raise FUSEError(errno.EIO)
        self.served += 1
        try:
            if not self.timeout:
                return await handler(self, *args, **kwargs)
            with trio.fail_after(self.timeout):
                return await handler(self, *args, **kwargs)
        except trio.TooSlowError:
            raise FUSEError(errno.EIO) from None
        except OSError as error:
            code = error.errno or errno.EIO
            raise FUSEError(_OTHERWISE.get(code, code)) from None
        except FUSEError:
            raise
        except trio.Cancelled:
            if self.ending:  # a reader stuck in a hung source gets an answer before the mount goes
                raise FUSEError(errno.EIO) from None
            raise
        except Exception:
            log.exception("internal error in %s", handler.__name__)
            raise FUSEError(errno.EIO) from None

    return wrapped  # type: ignore[return-value]  # wraps() hides the coroutine's type
