"""A watchdog that detects hung views and threads, aborts the FUSE connections, and records the reason.

1. A probe process per view makes requests continuously. A view that has not answered for ``bound`` seconds is hung.
2. A thread in state D that was not scheduled for ``bound`` seconds is hung.
3. In both cases all connections are aborted through fusectl, so that pending requests fail, and ``reason`` is set.
4. Only the probes access a view, so that nothing else here can hang.

``start`` and ``stop`` are for one thread; ``reason`` and ``answers`` may be read by any.
"""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.support.kernel import abort_under
from tests.support.polling import holds, poll

LOOK = 0.2
"""Seconds between two checks, and between two requests of a probe."""
START = 30.0
"""Seconds that the probes may take to start; views are timed from then on."""
LAST = 5.0
"""Seconds that the watchdog has to find the reason of a failure elsewhere, which may be noticed before the bound."""

Threads = dict[Path, tuple[str, float]]
"""By directory in /proc: the number of times the thread was scheduled (schedstat), and since when it is that."""


class Watchdog:
    """Watches ``views``, which are below ``place``, and the processes that ``pids()`` returns, until ``stop``."""

    def __init__(self, place: Path, views: Sequence[Path], bound: float, pids: Callable[[], Sequence[int]]) -> None:
        self.reason: str | None = None
        self.answers = 0
        self._place, self._bound, self._pids = place, bound, pids
        self._probes = {view: _probe(view) for view in views}
        self._answered = dict.fromkeys(views, time.monotonic())
        self._stuck: Threads = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Wait for the probes, then start watching. Raises AssertionError where a probe does not start in time."""
        for view, probe in self._probes.items():
            poll(lambda probe=probe: self._has_started(probe), f"the probe of {view} started", START)  # type: ignore[misc]
        self._answered = dict.fromkeys(self._probes, time.monotonic())
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and the probes."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        for probe in self._probes.values():
            probe.kill()
            probe.communicate()

    def _run(self) -> None:
        while not self._stopped.wait(LOOK):
            reason = self._hung_view() or self._hung_thread()
            if reason is not None:
                aborted = [os.fsdecode(where) for where in abort_under(os.fsencode(self._place))]
                self.reason = f"{reason}; aborted: {', '.join(aborted) or 'nothing'}"
                return

    @staticmethod
    def _has_started(probe: "subprocess.Popen[bytes]") -> bool:
        assert probe.stdout is not None
        return _available(probe.stdout.fileno()) != b""

    def _hung_view(self) -> str | None:
        for view, probe in self._probes.items():
            assert probe.stdout is not None
            answers = _available(probe.stdout.fileno())
            if answers is None:
                return f"the view {view} cannot be asked any more"
            if answers:
                self.answers += len(answers)
                self._answered[view] = time.monotonic()
            elif time.monotonic() - self._answered[view] > self._bound:
                return f"the view {view} did not answer for {self._bound:g} s"
        return None

    def _hung_thread(self) -> str | None:
        now, stuck = time.monotonic(), Threads()
        for thread, runs in _in_the_kernel(self._pids()):
            last = self._stuck.get(thread)
            stuck[thread] = last if last is not None and last[0] == runs else (runs, now)
            if now - stuck[thread][1] > self._bound:
                return f"process {thread.parts[2]} ({_name(thread)}) was stuck in the kernel for {self._bound:g} s"
        self._stuck = stuck
        return None


@contextlib.contextmanager
def watched(place: Path, views: Sequence[Path], bound: float, pids: Callable[[], Sequence[int]]) -> Iterator[Watchdog]:
    """Run a watchdog while the block runs. Raises AssertionError with its reason if it aborted the views."""
    watchdog = Watchdog(place, views, bound, pids)
    try:
        try:
            watchdog.start()
            yield watchdog
        except Exception:
            holds(lambda: watchdog.reason, LAST)
            raise
        finally:
            watchdog.stop()
    except Exception as error:
        if watchdog.reason is None:
            raise
        raise AssertionError(watchdog.reason) from error
    assert watchdog.reason is None, watchdog.reason


def _in_the_kernel(pids: Sequence[int]) -> Iterator[tuple[Path, str]]:
    """The threads in state D, and how many times each was scheduled."""
    for pid in pids:
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{pid}/task").iterdir():
                if (thread / "stat").read_text().rpartition(")")[2].split()[0] == "D":
                    yield thread, (thread / "schedstat").read_text().split()[2]


def _name(thread: Path) -> str:
    with contextlib.suppress(OSError):
        return (thread / "comm").read_text().strip()
    return "gone"


def _probe(view: Path) -> "subprocess.Popen[bytes]":
    program = [sys.executable, "-m", "tests.support.watchdog", os.fspath(view)]
    top = Path(__file__).parents[2]
    probe = subprocess.Popen(program, cwd=top, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert probe.stdout is not None
    os.set_blocking(probe.stdout.fileno(), False)
    return probe


def _available(fd: int) -> bytes | None:
    """The bytes that can be read now; None at the end of file."""
    try:
        return os.read(fd, 1 << 16) or None
    except BlockingIOError:
        return b""


def _ask(view: str) -> None:
    """The probe: report the start; then request what needs no source, for ever: statfs, the status, a listing."""
    os.write(1, b"!")
    while True:
        os.statvfs(view)
        os.getxattr(view, "user.mmirrorfs.status")
        os.listdir(view)
        os.write(1, b".")
        time.sleep(LOOK)


if __name__ == "__main__":
    _ask(sys.argv[1])
