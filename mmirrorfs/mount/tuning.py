"""Tuning of the process and of the kernel's side of a mount, as far as permitted. Main thread only; never raises."""

import gc
import logging
import resource
import sys

log = logging.getLogger(__name__)

BACKGROUND = 1024
"""max_background. With the kernel's default of 12, read-ahead of 12 stuck readers blocks all others."""
READ_AHEAD_KB = 1024
"""KiB of read-ahead; with the kernel's default of 128 a cold sequential read was four times slower."""


def raise_file_limit() -> None:
    """Raise the soft limit of descriptors to the hard limit: readers soon exceed 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def tune(device: str) -> None:
    """Raise the kernel's limits for the mount with this device number. Root only; else a debug message."""
    connection = device.partition(":")[2]
    _write(f"/sys/fs/fuse/connections/{connection}/max_background", BACKGROUND)
    _write(f"/sys/fs/fuse/connections/{connection}/congestion_threshold", BACKGROUND * 3 // 4)
    _write(f"/sys/class/bdi/{device}/read_ahead_kb", READ_AHEAD_KB)


def _write(path: str, value: int) -> None:
    try:
        with open(path, "w") as file:
            file.write(str(value))
    except OSError as error:
        log.debug("%s stays as it is: %s", path, error.strerror)


YOUNG = 10_000
"""Garbage collection threshold of the youngest generation: a collection takes some 3 ms."""
NEVER = 1 << 30


SWITCH = 0.0005
"""Seconds for which a thread keeps the GIL while others wait. A request takes it several times: with Python's default
of 0.005 it waited for 20 to 100 ms during the scan of a large directory.
"""


def share_interpreter() -> None:
    """Shorten the GIL switch interval, for the latency of requests."""
    sys.setswitchinterval(SWITCH)


def settle_memory() -> None:
    """Exempt all present objects (mostly the index) from garbage collection, and collect the young generation only.

    Requests create no cycles, and collections took a fifth of the time of a walk. A full collection blocks all requests
    (for 1 s after a million folders were rescanned), so there is none.
    """
    gc.freeze()
    gc.enable()
    gc.set_threshold(YOUNG, 1, NEVER)
