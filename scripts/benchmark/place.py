"""Where it all happens: a temporary directory that is empty of mounts and processes when the benchmark ends."""

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
    """A signal came; like KeyboardInterrupt it passes through whatever handles errors."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.code = 128 + number


@contextlib.contextmanager
def workplace(directory: str | None) -> Iterator[str]:
    """An empty directory below ``directory``; however the block ends, it is unmounted and removed."""
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
    """Once is enough: what is being taken down is taken down to the end."""
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise Stopped(number)
