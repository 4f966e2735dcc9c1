"""The soak: two views of sources that are changed, read, lost and brought back continuously, then compared.

``scripts/soak`` runs it as a program. It exits with 0 and a report, or with 1 and the first failure.

1. Readers get no other errors than in a plain directory under concurrent changes, and EIO while a source is lost.
2. Each view logs each loss and each return.
3. A watchdog aborts what hangs; that is a failure.
4. When the changes have stopped, each view equals the model, and its daemon holds what it held before.
5. The picture that an inotify watcher made of a view, from the events alone, equals the view.
"""

import argparse
import contextlib
import errno
import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.fresh import MARGIN, MAX_STALENESS, REFRESH, becomes, observer
from tests.support.held import Held, at_rest, comes_back, held, resident, threads
from tests.support.kernel import abort_under, see_connections
from tests.support.losing import Losable, renamed, unmounted
from tests.support.mounts import View, mounted
from tests.support.mutator import Mutator
from tests.support.polling import holds, poll
from tests.support.readers import readers
from tests.support.trees import folders, grow
from tests.support.users import Word
from tests.support.watchdog import Watchdog, watched
from tests.support.watcher import Watcher, below, watcher
from tests.support.workers import READERS, Noted, Report, Worker

DEPTH = 2
OPTIONS = (REFRESH, "--remember=20000")
"""The cache is small, so that memory that grows is a leak; but it holds all of the sources, because watchers are not
notified of changes in what was evicted."""
GROWTH = 16 << 20
"""Bytes that a warm daemon may grow by: uncollected garbage, and fragmentation."""
BOUND = 30.0
"""Seconds without an answer after which a view is hung."""
NOTICED = MAX_STALENESS + MARGIN + 2
"""Seconds within which a view notices that a source is lost or back: it scans a lost source every two seconds."""
TOLD = 10.0
"""Seconds within which watchers are notified of the last changes."""
LATE = 2.0
"""Seconds that a reader may take to record an error."""
REST = 10.0
"""Most seconds between two losses."""
STEADY = [f"{number:02}" for number in range(16)]
"""Folders that no worker changes, so that their content is known."""
STRESSORS = ("rename 1", "chmod 1", "filename 1", "utime 1", "dentry 1 --dentries 500", "dir 1 --dir-dirs 500")
"""What stress-ng, where it is installed, does to a source for a second at a time. Thousands of names in a directory
would change the daemon's memory by more than a leak."""
LOST, BACK = r"source \w+ \(.*\) is lost", r"source \w+ \(.*\) is back"


@dataclass
class Soak:
    """One run. ``losses`` are the periods in which a source was lost, as (start, end)."""

    seconds: float
    sources: list[Losable]
    views: list[View]
    workers: list[Worker] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    losses: list[tuple[float, float]] = field(default_factory=list)
    warm: dict[int, int] = field(default_factory=dict)
    chance: random.Random = field(default_factory=random.Random)

    def pids(self) -> list[int]:
        """The processes that the watchdog watches."""
        return [view.pid for view in self.views] + [worker.process.pid for worker in list(self.workers)]

    def run(self, watchdog: Watchdog) -> None:
        """Run until the time is over and each source was lost at least once. Raises AssertionError."""
        kinds = [kind for kind in READERS if kind != "handles" or os.geteuid() == 0]
        try:
            for seed in (1, 2):
                self.workers.append(Worker("change", seed, [source.changed for source in self.sources]))
            for seed, kind in enumerate(kinds):
                self.workers.append(Worker(kind, seed, [view.mountpoint for view in self.views]))
            self._disturb(watchdog)
            for worker in self.workers:
                self._take_in(worker.kind, worker.end())
        finally:
            for worker in self.workers:
                worker.kill()

    def _take_in(self, kind: str, told: Report) -> None:
        self.counts[kind] += told.done
        assert told.done, f"{kind} did nothing"
        wrong = [error for error in told.errors if not self._is_due_to_a_loss(error)]
        assert not wrong, f"errors that nobody expects: {wrong[:20]}; sources were lost {self.losses[-50:]}"

    def _is_due_to_a_loss(self, error: Noted) -> bool:
        return error.code == errno.EIO and any(start <= error.when <= end + LATE for start, end in self.losses)

    def _disturb(self, watchdog: Watchdog) -> None:
        started = time.monotonic()
        for source in itertools.cycle(self.sources):
            self._rest(watchdog, self.chance.uniform(0, min(REST, self.seconds / 10)))
            self._read_at_once()
            self._stress()
            self._lose(watchdog, source)
            passed = time.monotonic() - started
            if not self.warm and passed > self.seconds / 4:
                self.warm = {view.pid: resident(view) for view in self.views}
            if self.warm and passed > self.seconds and len(self.losses) >= len(self.sources):
                return

    def _rest(self, watchdog: Watchdog, seconds: float) -> None:
        """Wait while the workers work, and request scans at random times."""
        until = time.monotonic() + seconds
        while True:
            assert watchdog.reason is None, "the watchdog acted"
            self.chance.choice(self.views).send(signal.SIGHUP)
            self.counts["SIGHUP"] += 1
            if time.monotonic() > until:
                return
            holds(lambda: watchdog.reason, self.chance.uniform(0, 0.3))

    def _lose(self, watchdog: Watchdog, source: Losable) -> None:
        """Lose a source for a while; both views must notice that it is lost, and that it is back."""
        began = time.monotonic()
        self._say(LOST, source.lose, watchdog)
        self._rest(watchdog, self.chance.uniform(0, 2))
        self._say(BACK, source.bring_back, watchdog)
        self.losses.append((began, time.monotonic()))
        self.counts[source.how] += 1

    def _say(self, pattern: str, act: Callable[[], None], watchdog: Watchdog) -> None:
        """Call ``act``, after which each view must log one more line that matches."""
        before = [said(view, pattern) for view in self.views]
        act()
        poll(
            lambda: watchdog.reason or [said(view, pattern) for view in self.views] == [n + 1 for n in before],
            f"{pattern}, after {before} times",
            NOTICED,
        )

    def _read_at_once(self) -> None:
        """Read the steady files, sixteen at a time, and check their content."""
        for view, source in zip(self.views, ("high", "low"), strict=True):
            paths = [view.mountpoint / "Steady" / name / "track" for name in STEADY]
            with readers(paths, view.mountpoint.with_suffix(".told")) as reading:
                reading.start()
                expected = [f"{source}{name}".encode().hex() for name in STEADY]
                answers = reading.answers(BOUND)
            assert answers == expected, f"{answers}, not {expected}"
            self.counts["at once"] += len(paths)

    def _stress(self) -> None:
        program = shutil.which("stress-ng")
        if program is not None:
            what, where = self.chance.choice(STRESSORS).split(), self.chance.choice(self.sources).where
            words: list[Word] = [program, "--quiet", "--timeout", "1", "--temp-path", where, f"--{what[0]}", *what[1:]]
            subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
            self.counts["stress-ng"] += 1


def said(view: View, pattern: str) -> int:
    """The number of matches in the log."""
    return len(re.findall(pattern, view.text()))


@contextlib.contextmanager
def two_sources(place: Path) -> Iterator[list[Losable]]:
    """A disk and a directory as root, otherwise two directories."""
    with (
        unmounted(place / "high") if os.geteuid() == 0 else renamed(place / "high") as high,
        renamed(place / "low") as low,
    ):
        sources = [high, low]
        for source in sources:
            grow(source.changed + b"/Steady", folders(source.where.name, *STEADY))
        seed = Mutator([source.changed for source in sources], 1)
        for _ in range(300):
            seed.step()
        yield sources


def soak(place: Path, seconds: float, bound: float) -> list[str]:
    """Run in an empty directory; returns the report's lines. Raises AssertionError."""
    with two_sources(place) as sources:
        places = [source.where for source in sources]
        with (
            mounted(place / "best", *places, depth=DEPTH, options=OPTIONS) as best,
            mounted(place / "small", *places, depth=DEPTH, options=OPTIONS, prefer="low") as small,
        ):
            for view in (best, small):
                view.expect(LOST)
                view.expect(BACK)
            made = Soak(seconds, sources, [best, small])
            before = {view.pid: at_rest(view) for view in made.views}
            with watched(place, [view.mountpoint for view in made.views], bound, made.pids) as watchdog:
                print(f"soak: begins, {best.pid} serves {best.mountpoint}, {small.pid} {small.mountpoint}", flush=True)
                with watching(made.views) as watchers:
                    made.run(watchdog)
                    with observer() as eyes:
                        for view, order in ((best, places), (small, places[::-1])):
                            becomes(eyes, view.mountpoint, order, DEPTH, "when the sources rest")
                    for view, heard in zip(made.views, watchers, strict=False):
                        made.counts[f"events of {view.mountpoint.name}"] += pictured(view, heard)
            return [told(made), *[settled(view, before[view.pid], made.warm[view.pid]) for view in made.views]]


@contextlib.contextmanager
def watching(views: list[View]) -> Iterator[list[Watcher]]:
    """A watcher for each view; none for the views of a plain user, whose changes are not announced."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(watcher(view.mountpoint)) for view in views if os.geteuid() == 0]


def pictured(view: View, heard: Watcher) -> int:
    """Check a watcher's picture of the view; returns the number of events."""
    names = below(view.where)
    assert holds(lambda: heard.picture() == names, TOLD), f"{view.mountpoint}: {heard.picture() ^ names} of the picture"
    events = heard.events()
    assert not [event for event in events if "OVERFLOW" in event[0]], "a watcher's queue has overflowed"
    return len(events)


def settled(view: View, before: Held, warm: int) -> str:
    """Check that the daemon holds what it held before, and has not grown; returns the report's line."""
    comes_back(view, before)
    now = resident(view)
    sizes = f"{warm / (1 << 20):.1f} -> {now / (1 << 20):.1f} MiB"
    assert now < warm + GROWTH, f"{view.mountpoint} has grown: {sizes}"
    return f"{view.mountpoint.name}: {before} -> {held(view)}, {threads(view)} threads, {sizes}"


def told(made: Soak) -> str:
    """The report's line of what was done."""
    return ", ".join(f"{kind}: {number:,}" for kind, number in made.counts.items())


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(prog="soak", description="Two views over sources that never rest.")
    parser.add_argument("minutes", metavar="MINUTES", type=float, nargs="?", default=10)
    parser.add_argument("--bound", type=float, default=BOUND, help="seconds without an answer that are a failure")
    parser.add_argument("--place", type=Path, help="an empty directory to work in")
    words = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    see_connections()
    place = Path(words.place or tempfile.mkdtemp(prefix="mmirrorfs-soak-")).resolve()
    try:
        figures = soak(place, words.minutes * 60, words.bound)
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        sys.exit(f"soak: FAILED: {error}")
    finally:
        abort_under(os.fsencode(place))
        if words.place is None:
            shutil.rmtree(place, ignore_errors=True)
    print(*[f"soak: {line}" for line in figures], sep="\n")


if __name__ == "__main__":
    main()
