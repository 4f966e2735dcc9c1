"""The working directory: temporary, without mounts or processes left when the benchmark ends."""

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator

from benchmark.kernel import mounts_under, take_down

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """A signal arrived. Like KeyboardInterrupt, no error handler catches it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.code = 128 + number


@contextlib.contextmanager
def workplace(directory: str | None) -> Iterator[str]:
    """An empty directory below ``directory``; unmounted and removed when the block ends."""
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    place = os.path.realpath(tempfile.mkdtemp(prefix="mmirrorfs-bench-", dir=directory))
    os.chmod(place, 0o755)
    try:
        yield place
    finally:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        for mountpoint in mounts_under(place):
            take_down(mountpoint)
        if left := mounts_under(place):
            print(f"still mounted, so {place} stays: {' '.join(left)}", file=sys.stderr)
        else:
            shutil.rmtree(place)


def _interrupt(number: int, frame: object) -> None:
    """Ignore further signals, so that the clean-up completes."""
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise Stopped(number)
