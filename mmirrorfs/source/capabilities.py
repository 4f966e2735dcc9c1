"""Capabilities of this thread and of those that it starts (capabilities(7)): what root needs is kept, and no more."""

import contextlib
import ctypes
import os
from collections.abc import Iterator

DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, SYS_ADMIN = 1, 2, 3, 21
NEEDED = (SYS_ADMIN, DAC_READ_SEARCH, FOWNER)
"""What root needs to unmount and to listen, to read all sources, and not to move access times there (open(2))."""
_VERSION = 0x20080522
"""_LINUX_CAPABILITY_VERSION_3 (linux/capability.h): 64 bits in two words."""
_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _got() -> "ctypes.Array[_Data]":
    data = (_Data * 2)()
    if _libc.capget(ctypes.byref(_Header(_VERSION, 0)), data):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return data


def _set(data: "ctypes.Array[_Data]") -> None:
    if _libc.capset(ctypes.byref(_Header(_VERSION, 0)), data):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def has(*wanted: int) -> bool:
    """Whether this thread may use all of these."""
    with contextlib.suppress(OSError):
        permitted = _got()[0].permitted
        return all(permitted >> one & 1 for one in wanted)
    return False


def keep(*permitted: int) -> None:
    """Give up all but those that are needed, for good; ``permitted`` may be raised again in a thread. Raises OSError.

    A program that root starts has all of them again, as far as the bounding set goes.
    """
    data = _got()
    usable = sum(1 << one for one in NEEDED)
    data[0].permitted &= usable | sum(1 << one for one in permitted)
    data[0].effective &= usable & data[0].permitted
    data[1].permitted = data[1].effective = 0
    _set(data)


@contextlib.contextmanager
def raised(*wanted: int) -> Iterator[None]:
    """Have these in effect in this thread meanwhile. Raises OSError."""
    before, now = _got(), _got()
    now[0].effective |= sum(1 << one for one in wanted)
    _set(now)
    try:
        yield
    finally:
        _set(before)
