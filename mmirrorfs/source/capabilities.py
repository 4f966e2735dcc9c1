"""Dropping capabilities (capabilities(7)) of this thread and of those that it starts, for good.

``mount.privileges`` lists which are needed, and for what. Call it before threads are started: each thread has its own
capabilities, bounding set and no_new_privs bit. Raises OSError.
"""

import contextlib
import ctypes
import os
from collections.abc import Collection, Iterator
from enum import IntEnum


class Capability(IntEnum):
    """The capabilities in use, by their numbers (linux/capability.h)."""

    DAC_OVERRIDE = 1
    DAC_READ_SEARCH = 2
    FOWNER = 3
    SYS_ADMIN = 21


DAC_OVERRIDE, SYS_ADMIN = Capability.DAC_OVERRIDE, Capability.SYS_ADMIN
_VERSION = 0x20080522
"""_LINUX_CAPABILITY_VERSION_3 (linux/capability.h): 64 bits in two words."""
_PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 23, 24, 38
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


def _bits(capabilities: Collection[Capability]) -> int:
    """The mask of the first 32."""
    return sum(1 << one for one in capabilities)


def has(*wanted: Capability) -> bool:
    """Whether all of these are permitted in this thread."""
    with contextlib.suppress(OSError):
        permitted = _got()[0].permitted
        return all(permitted >> one & 1 for one in wanted)
    return False


def keep(effective: Collection[Capability], raisable: Collection[Capability] = ()) -> None:
    """Drop all but ``effective``, and ``raisable``, which are permitted and not effective until a thread raises them.

    Those that the thread lacks are ignored. The inheritable set becomes empty, and with it the ambient one.
    """
    data = _got()
    data[0].permitted &= _bits(effective) | _bits(raisable)
    data[0].effective &= _bits(effective)
    data[1].permitted = data[1].effective = 0
    data[0].inheritable = data[1].inheritable = 0
    _set(data)


def bound(kept: Collection[Capability]) -> None:
    """Drop all others from the bounding set, before ``keep``. Raises OSError: EPERM without CAP_SETPCAP."""
    number = 0
    while (held := _libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0)) >= 0:
        if held and number not in kept and _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        number += 1


def no_new_privileges() -> None:
    """Set no_new_privs: set-user-id programs started from here on gain nothing."""
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def confine(effective: Collection[Capability], raisable: Collection[Capability] = ()) -> None:
    """``keep``, and let no program started from here on gain any other."""
    no_new_privileges()
    with contextlib.suppress(PermissionError):  # no CAP_SETPCAP: no_new_privs is enough
        bound((*effective, *raisable))
    keep(effective, raisable)


@contextlib.contextmanager
def raised(*wanted: Capability) -> Iterator[None]:
    """Make those that are permitted effective in this thread, inside the block."""
    before, now = _got(), _got()
    now[0].effective |= _bits(wanted) & now[0].permitted
    _set(now)
    try:
        yield
    finally:
        _set(before)
