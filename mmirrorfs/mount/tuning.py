"""Limits of the process and of the kernel's side of a mount, raised as far as we may. Nothing here can fail a mount."""

import gc
import logging
import resource
import sys

log = logging.getLogger(__name__)

BACKGROUND = 1024
"""Requests that the kernel keeps under way for read-ahead; its default of 12 lets 12 stuck readers stop all others."""
READ_AHEAD_KB = 1024
"""KiB asked for ahead in a sequential read; the default of 128 made a cold read four times slower."""


def raise_file_limit() -> None:
    """Let the process have as many descriptors as it may: the soft limit of 1024 is soon reached by readers."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def tune(device: str) -> None:
    """Raise the kernel's limits for the mount of this device number, which root alone may do."""
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
"""Objects that are looked through for garbage at once, at the most three times as many: some 3 ms."""
NEVER = 1 << 30


SWITCH = 0.0005
"""Seconds for which a thread that computes keeps the interpreter's lock while others want it: a request wants it a few
times, and Python's own 0.005 made it wait for 20 to 100 ms beside the scan of a large directory.
"""


def share_interpreter() -> None:
    """Let requests come before what threads compute."""
    sys.setswitchinterval(SWITCH)


def settle_memory() -> None:
    """What is there by now, the index above all, is not looked through for garbage again, and of the rest what is new.

    A request makes no cycles, and looking for some took a fifth of the time of a walk. What is old is never looked
    through: that holds everybody up for as long as it takes, a second where a million folders were scanned anew.
    """
    gc.freeze()
    gc.enable()
    gc.set_threshold(YOUNG, 1, NEVER)
