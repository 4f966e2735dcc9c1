"""A mount ends although its invalidating thread is blocked in the kernel by a lookup that is never answered."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.kernel import Abort, view_at
from tests.support.mounts import View, mounted
from tests.support.polling import poll
from tests.support.trees import grow
from tests.support.users import needs_root

pytestmark = needs_root

NAMES = 3000
"""Names of one directory that change at once: more than can be invalidated before the signal arrives."""
LOOKUPS = 4
"""Processes that look up names there: the kernel admits one at a time, so that one always waits for an answer."""
END = 6.0
"""Seconds from the signal to the end of the process."""
LOOKING_UP = """
import itertools, os, sys
for number in itertools.count():
    try:
        os.stat(f"{sys.argv[1]}/{sys.argv[2]} {number}")
    except FileNotFoundError:
        pass
    except OSError:
        break
"""


@contextmanager
def lookups(directory: Path) -> Iterator[None]:
    """Processes that look up absent names, each once, until lookups fail."""
    words = [sys.executable, "-c", LOOKING_UP, str(directory)]
    processes = [subprocess.Popen([*words, str(number)]) for number in range(LOOKUPS)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait(END)


@contextmanager
def connected(view: View) -> Iterator[None]:
    """Abort the view's connection when the block fails: a detached mount is not in the mount table."""
    with Abort.of(view.where) as connection:
        try:
            yield
        except BaseException:
            connection.abort()
            raise


def is_invalidating(pid: int) -> bool:
    """Whether a thread of the daemon is blocked in the kernel, invalidating a name."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that just ended
            if (task / "wchan").read_text() == "fuse_reverse_inval_entry":
                return True
    return False


def test_sigterm_ends_a_daemon_whose_invalidation_is_blocked_by_a_lookup(place: Path) -> None:
    high = grow(place / "high", {b"%d" % number: {} for number in range(NAMES)})
    low = grow(place / "low", {b"B": {b"t": b"l"}})
    with mounted(place / "view", high, low) as view, lookups(view.mountpoint), connected(view):
        assert len(os.listdir(view.mountpoint)) == NAMES + 1
        for path in high.iterdir():
            path.rmdir()
        view.send(signal.SIGHUP)
        poll(lambda: is_invalidating(view.pid), "a blocked invalidation")
        view.send(signal.SIGTERM)
        assert view.process is not None
        assert view.process.wait(END) == 0
        assert view_at(view.where) is None
