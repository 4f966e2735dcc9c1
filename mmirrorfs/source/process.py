"""What a new process of ours does first: it closes inherited descriptors, and ends with its parent.

Main thread of that process, before it starts others.
"""

import contextlib
import ctypes
import itertools
import os
import signal
from collections.abc import Collection

_PR_SET_PDEATHSIG = 1


def close_others(kept: Collection[int]) -> None:
    """Close all descriptors above the lowest of ``kept``, except those: the parent's parent may have left some open."""
    for one, other in itertools.pairwise((*sorted(kept), os.sysconf("SC_OPEN_MAX"))):
        os.closerange(one + 1, other)


def become_helper(kept: Collection[int]) -> None:
    """Close all other descriptors, die with the parent thread, and use the idle scheduling class where permitted."""
    close_others(kept)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
