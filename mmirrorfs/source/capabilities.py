"""Capabilities of this thread and of those that it starts (capabilities(7)): how they are given up, for good.

Which of them are needed, and for what, is said by ``mount.privileges``. Call it before threads start: each thread has
capabilities, a bounding set and the no_new_privs bit of its own.
"""

import contextlib
import ctypes
import os
from collections.abc import Collection, Iterator
from enum import IntEnum


class Capability(IntEnum):
    """Those that anything here needs, by their numbers (linux/capability.h)."""

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
    """A mask of the first 32."""
    return sum(1 << one for one in capabilities)


def has(*wanted: Capability) -> bool:
    """Whether this thread may use all of these."""
    with contextlib.suppress(OSError):
        permitted = _got()[0].permitted
        return all(permitted >> one & 1 for one in wanted)
    return False


def keep(effective: Collection[Capability], raisable: Collection[Capability] = ()) -> None:
    """Give up all but ``effective``, and ``raisable``, which have no effect until a thread raises them.

    What is not had is not missed. The inheritable set becomes empty, and with it the ambient one. Raises OSError.
    """
    data = _got()
    data[0].permitted &= _bits(effective) | _bits(raisable)
    data[0].effective &= _bits(effective)
    data[1].permitted = data[1].effective = 0
    data[0].inheritable = data[1].inheritable = 0
    _set(data)


def bound(kept: Collection[Capability]) -> None:
    """Let no program that is started from here on have any other. Before ``keep``: needs CAP_SETPCAP.

    Raises OSError: EPERM without it.
    """
    number = 0
    while (held := _libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0)) >= 0:
        if held and number not in kept and _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        number += 1


def no_new_privileges() -> None:
    """Let no program that is started from here on gain anything by being set-user-id, or by root's starting it."""
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def confine(effective: Collection[Capability], raisable: Collection[Capability] = ()) -> None:
    """``keep``, and let no program that is started from here on have any other. Raises OSError."""
    no_new_privileges()
    with contextlib.suppress(PermissionError):  # for want of CAP_SETPCAP: nothing can be gained all the same
        bound((*effective, *raisable))
    keep(effective, raisable)


@contextlib.contextmanager
def raised(*wanted: Capability) -> Iterator[None]:
    """Have those of these that it may use in effect in this thread meanwhile. Raises OSError."""
    before, now = _got(), _got()
    now[0].effective |= _bits(wanted) & now[0].permitted
    _set(now)
    try:
        yield
    finally:
        _set(before)
