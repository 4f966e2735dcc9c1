"""Descriptors that a process was started with, or inherited: what is left open stays so as long as it lives."""

import itertools
import os
from collections.abc import Sequence


def close_others(kept: Sequence[int]) -> None:
    """Close all descriptors above the first of these but them: what somebody left open who started the daemon."""
    for one, other in itertools.pairwise((*sorted(kept), os.sysconf("SC_OPEN_MAX"))):
        os.closerange(one + 1, other)
