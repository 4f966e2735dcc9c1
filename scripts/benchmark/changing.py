"""The cost of a change in a source: the time until it shows, and the latency of other requests meanwhile."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmark.crew import PATIENCE, BenchmarkError, Crew
from benchmark.library import Contents
from benchmark.peers import Subject, mmirrorfs

NEW = "New folder"
ALONE = 1.0
"""Seconds of lookups without any change, as the baseline."""
REST = 1.0
"""Seconds after which a visible change is fully processed."""
PAUSE = 0.02
"""Seconds between two polls for a change."""
PER_CENT = 100
NOTHING = Contents((), (), ())


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds until a change shows in the view, and of the longest lookup in its root meanwhile."""

    shown: float
    longest: float


@dataclass(frozen=True, slots=True)
class Costs:
    """The cost of no change, of one new folder, of one per hundred; ``resident`` is the RSS at the end, in bytes."""

    nothing: Cost
    one: Cost
    many: Cost
    resident: int


def wide(place: str, folders: int, rounds: int, say: Callable[[str], None]) -> Iterator[Costs]:
    """Create two sources with one directory of ``folders`` folders, half of them in both, and change it."""
    say(f"one directory of {folders:,} folders: making it")
    sources = [f"{place}/changing/{name}" for name in ("a", "b")]
    for source, start in zip(sources, (0, folders // 4), strict=True):
        os.makedirs(f"{source}/Wide")
        for number in range(start, start + max(1, folders * 3 // 4)):
            os.mkdir(f"{source}/Wide/{number:07}")
    for number in range(rounds):
        say(f"one directory of {folders:,} folders, round {number + 1} of {rounds}")
        with mmirrorfs(sources[0], sources[1], place, NOTHING) as view:
            more = [f"Wide/{NEW} {extra}" for extra in range(max(1, folders // PER_CENT))]
            yield costs(view, sources[0], more)


def costs(view: Subject, source: str, more: Sequence[str]) -> Costs:
    """Create and remove the first of some folders in a source, then all of them."""
    assert view.daemon is not None
    _settle(view.top)
    nothing = _cost(view.top, source, ())
    one, many = (_cost(view.top, source, folders) for folders in (more[:1], more))
    return Costs(nothing, one, many, view.daemon.memory("VmRSS"))


def _settle(top: str) -> None:
    """Wait until everything was crawled and the rescan is over."""
    until = time.monotonic() + PATIENCE
    while True:
        sources = json.loads(os.getxattr(top, "user.mmirrorfs.status"))["sources"]
        if all(source["crawl"]["state"] != "crawling" for source in sources):
            time.sleep(REST)
            return
        if time.monotonic() > until:
            raise BenchmarkError(f"{top} was still being crawled after {PATIENCE:g} s")
        time.sleep(REST)


def _cost(top: str, source: str, folders: Sequence[str]) -> Cost:
    with Crew([{"kind": "absent", "top": top}]) as crew:
        crew.start()
        time.sleep(ALONE)
        started = time.perf_counter()
        for folder in folders:
            os.mkdir(f"{source}/{folder}")
        shown = _until(lambda: all(os.path.isdir(f"{top}/{folder}") for folder in reversed(folders))) - started
        time.sleep(REST)
        for pid in crew.pids:
            os.kill(pid, signal.SIGUSR1)
        longest = crew.finish()[1][0]["longest"]
    for folder in folders:
        os.rmdir(f"{source}/{folder}")
    _until(lambda: not any(os.path.isdir(f"{top}/{folder}") for folder in folders))
    time.sleep(REST)
    return Cost(shown, longest)


def _until(condition: Callable[[], bool]) -> float:
    until = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > until:
            raise BenchmarkError(f"a change did not show within {PATIENCE:g} s")
        time.sleep(PAUSE)
    return time.perf_counter()


def lines(folders: int, rounds: Sequence[Costs]) -> Iterator[str]:
    """The results, one line per round."""
    yield f"One directory of {folders:,} folders of two sources, and names looked up in the root all the while:"
    for number, found in enumerate(rounds, 1):
        yield (
            f"    round {number}: one folder more shows after {found.one.shown:.2f} s, the longest lookup took "
            f"{found.one.longest * 1e3:,.1f} ms; one for each hundred {found.many.shown:.2f} s, "
            f"{found.many.longest * 1e3:,.1f} ms; with nothing beside it {found.nothing.longest * 1e3:,.1f} ms"
        )
