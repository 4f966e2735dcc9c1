"""The cost of a full crawl: its time against find(1), its memory, and the latency of other requests meanwhile."""

import itertools
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

from benchmark.crew import BenchmarkError
from benchmark.kernel import drop_caches
from benchmark.library import Contents
from benchmark.peers import mmirrorfs

FILES, FOLDERS = 12, 10
"""Files per folder, and folders per artist."""
LONGEST = 600.0
"""Timeout of a crawl in seconds."""
BASE = 60 << 20
"""Bytes allowed for the process itself."""
LOOKS = 400
"""Sequential lookups per figure."""
NOTHING = Contents((), (), ())


@dataclass(frozen=True, slots=True)
class Knowing:
    """One round: seconds of the crawl and of find, of a lookup during the crawl and after it; RSS in bytes; entries."""

    crawl: float
    find: float
    beside: float
    alone: float
    resident: int
    entries: int


def measure(place: str, files: int, rounds: int, cold: bool, say: Callable[[str], None]) -> Iterator[Knowing]:
    """Create two sources with ``files`` files in total, walk them with find, then crawl them."""
    say(f"{files:,} files: making them")
    first, second = (_source(f"{place}/knowing/{name}", files // 2) for name in ("a", "b"))
    os.sync()
    for number in range(rounds):
        say(f"{files:,} files, round {number + 1} of {rounds}")
        yield _round(first, second, place, cold)


def _source(top: str, files: int) -> str:
    for number in range(-(-files // FILES)):
        path = f"{top}/Artist {number // FOLDERS:06}/Album {number % FOLDERS}"
        os.makedirs(path)
        for file in range(FILES):
            os.close(os.open(f"{path}/{file:02} - Track.flac", os.O_WRONLY | os.O_CREAT))
    return top


def _round(first: str, second: str, place: str, cold: bool) -> Knowing:
    if cold:
        drop_caches(3)
    command = ["find", first, second, "-printf", "%p %s %T@\n"]
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    find = time.perf_counter() - started
    if cold:
        drop_caches(3)
    crawl, resident, entries, _ = _crawled(first, second, place, lambda top: time.sleep(0.02))
    fresh, beside = itertools.count(), list[float]()
    *_, alone = _crawled(first, second, place, lambda top: beside.append(_lookup(top, fresh)), fresh)
    return Knowing(crawl, find, median(beside), alone, resident, entries)


def _crawled(
    first: str, second: str, place: str, meanwhile: Callable[[str], None], fresh: Iterator[int] | None = None
) -> tuple[float, int, int, float]:
    """One crawl, from program start: its seconds, bytes and entries, and the seconds of a lookup afterwards."""
    started = time.perf_counter()
    with mmirrorfs(first, second, place, NOTHING) as view:
        assert view.daemon is not None
        while (crawls := _crawls(view.top))[0] == "crawling":
            meanwhile(view.top)
            if time.perf_counter() > started + LONGEST:
                raise BenchmarkError(f"the crawl took more than {LONGEST:g} s")
        crawl = time.perf_counter() - started
        alone = median(_lookup(view.top, fresh) for _ in range(9)) if fresh is not None else 0.0
        return crawl, view.daemon.memory("VmRSS"), crawls[1], alone


def _crawls(top: str) -> tuple[str, int]:
    """The common state of all crawls, and the entries so far."""
    crawls = [source["crawl"] for source in json.loads(os.getxattr(top, "user.mmirrorfs.status"))["sources"]]
    states = {crawl["state"] for crawl in crawls}
    return "crawling" if "crawling" in states else states.pop(), sum(crawl["entries"] for crawl in crawls)


def _lookup(top: str, fresh: Iterator[int]) -> float:
    """Seconds of one lookup of a name never looked up before."""
    started = time.perf_counter()
    for _ in range(LOOKS):
        os.path.exists(f"{top}/none {next(fresh)}")
    return (time.perf_counter() - started) / LOOKS


def lines(rounds: list[Knowing]) -> Iterator[str]:
    """The figures of each round."""
    for one in rounds:
        yield (
            f"mount and crawl {one.crawl:.2f} s, find {one.find:.2f} s: {one.crawl / one.find:.2f}; a lookup meanwhile "
            f"{one.beside * 1e6:.1f} us, afterwards {one.alone * 1e6:.1f} us: {one.beside / one.alone:.2f}; "
            f"{one.resident >> 20} MiB, {(one.resident - BASE) / max(1, one.entries):.0f} bytes above 60 MiB "
            f"for each of {one.entries:,} entries"
        )
