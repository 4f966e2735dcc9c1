"""How costs grow with the library: index, memory and latency at several sizes, and one very wide directory."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmark.changing import NEW, PER_CENT, costs
from benchmark.crew import PROBE, BenchmarkError, Crew, Job
from benchmark.kernel import drop_caches
from benchmark.library import Contents
from benchmark.peers import mmirrorfs

ALBUMS = 5
ASKED = 200
"""Artists for which lookup, open and listing are timed."""
SETTLED = 3.0
"""Seconds after which mmirrorfs trusts the stamp of a directory (source/scan.py, COARSE)."""
LIMIT_BASE, LIMIT_FOLDER = 60 << 20, 500
"""Bytes of memory allowed for a mount: in total, and per folder."""
ALONE = 1.0
"""Seconds of stat calls without other load, as the baseline."""
NOTHING = Contents((), (), ())

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Scale:
    """The figures of all rounds at one size, in seconds and bytes. ``folders`` are those of the view."""

    asked: int
    folders: int
    figures: dict[str, list[float]] = field(default_factory=dict)

    def note(self, figures: dict[str, float]) -> None:
        """Add the figures of one round."""
        for name, value in figures.items():
            self.figures.setdefault(name, []).append(value)

    def median(self, name: str) -> float | None:
        """The median over the rounds; None if not measured."""
        return median(self.figures[name]) if name in self.figures else None

    def ratio(self, above: str, below: str) -> float | None:
        """The median of the ratios of two figures within the same rounds."""
        pairs = zip(self.figures.get(above, ()), self.figures.get(below, ()), strict=True)
        ratios = [first / second for first, second in pairs]
        return median(ratios) if ratios else None


def measure(place: str, asked: int, rounds: int, say: Say, into: list[Scale]) -> None:
    """Create two sources of so many empty folders, append the figures to ``into``, keep the sources."""
    say(f"{asked:,} folders: making them")
    where = f"{place}/scale-{asked}"
    artists = max(2, asked // ALBUMS)
    first, second = (_folders(f"{where}/{name}", start, artists) for name, start in (("a", 0), ("b", artists // 2)))
    os.sync()
    time.sleep(SETTLED)
    scale = Scale(asked, (artists + artists // 2) * ALBUMS)
    into.append(scale)
    for number in range(rounds):
        say(f"{asked:,} folders, round {number + 1} of {rounds}: index")
        scale.note(_index(first, second, number, scale.folders))
        say(f"{asked:,} folders, round {number + 1} of {rounds}: mount")
        scale.note(_live(first, second, place, artists, walk=number == 0))


def _folders(top: str, start: int, artists: int) -> str:
    """A source: the artists from ``start`` on, each with ALBUMS empty folders."""
    for artist in range(start, start + artists):
        path = f"{top}/Artist {artist:06}"
        os.makedirs(path)
        for album in range(ALBUMS):
            os.mkdir(f"{path}/Album {album}")
    return top


def _index(first: str, second: str, number: int, folders: int) -> dict[str, float]:
    """One round of building the index, and of find over the same directories, in alternating order."""
    figures: dict[str, float] = {}
    both: list[Callable[[bool], dict[str, float]]] = [
        lambda cold: _built(first, second, cold, folders),
        lambda cold: {"find": _found(first, second, cold)},
    ]
    for state in ("cold", "warm") if can_drop() else ("warm",):
        for step in both[:: -1 if number % 2 else 1]:
            figures.update({f"{name} {state}": value for name, value in step(state == "cold").items()})
    return figures


def _built(first: str, second: str, cold: bool, folders: int) -> dict[str, float]:
    job: Job = {"kind": "index", "sources": [first, second], "changing": f"{first}/Artist 000000/New"}
    with Crew([job], PROBE) as probe:
        if cold:
            drop_caches(2)
        probe.start()
        answer = probe.finish()[1][0]
    if answer["folders"] != folders:
        raise BenchmarkError(f"the index has {answer['folders']:.0f} folders, not {folders}")
    return {"build": answer["build"]} if cold else answer


def _found(first: str, second: str, cold: bool) -> float:
    """The time of the whole command; its own files are cached before the clock starts."""
    if cold:
        drop_caches(2)
        subprocess.run(["find", "--version"], stdout=subprocess.DEVNULL, check=True)
    command = ["find", first, second, "-maxdepth", "2", "-type", "d"]
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def can_drop() -> bool:
    """Whether the kernel's caches can be dropped (root only)."""
    return os.access("/proc/sys/vm/drop_caches", os.W_OK)


def _live(first: str, second: str, place: str, artists: int, walk: bool) -> dict[str, float]:
    """One mount: its memory when new and after a full walk, and the time of the first accesses."""
    step = max(1, artists // ASKED)
    with mmirrorfs(first, second, place, NOTHING) as view:
        assert view.daemon is not None
        figures = {"mount": view.seconds or 0, "resident": float(view.daemon.memory("VmRSS"))}
        names = [f"{view.top}/Artist {artist:06}" for artist in range(0, artists, step)]
        with Crew([{"kind": "latency", "directories": names}]) as crew:
            crew.start()
            answer = crew.finish()[1][0]
        figures.update({name: answer[name] for name in ("lookup", "open", "list")})
        if walk:
            with Crew([{"kind": "walk", "top": view.top, "follow": False, "part": 0, "parts": 1}]) as crew:
                crew.run()
            figures["resident after a walk"] = float(view.daemon.memory("VmRSS"))
        more = [f"Artist {artist:06}/{NEW}" for artist in range(0, artists, PER_CENT)]
        found = costs(view, first, more)
        figures.update({"resident, crawled": float(found.resident), "nothing, longest": found.nothing.longest})
        for name, cost in (("one", found.one), ("many", found.many)):
            figures.update({name: cost.shown, f"{name}, longest": cost.longest})
        return figures


@dataclass(frozen=True, slots=True)
class Pause:
    """One round, in seconds: the longest stat during the listing and without it, and the listing itself."""

    beside: float
    alone: float
    listing: float


def pauses(place: str, files: int, rounds: int, say: Say) -> Iterator[Pause]:
    """List a directory of so many files of one source while a file of the other one is stat'ed."""
    say(f"one directory of {files:,} files: making it")
    healthy, wide = "a/Artist/Album", "b/Wide/Album"
    for path in (healthy, wide):
        os.makedirs(f"{place}/{path}")
    for name in ("a/Artist/Album/01.flac", *(f"b/Wide/Album/{number:07}.flac" for number in range(files))):
        os.close(os.open(f"{place}/{name}", os.O_CREAT | os.O_WRONLY, 0o644))
    for number in range(rounds):
        say(f"one directory of {files:,} files, round {number + 1} of {rounds}")
        with mmirrorfs(f"{place}/a", f"{place}/b", place, NOTHING) as view:
            yield _pause(view.top, files)


def _pause(top: str, files: int) -> Pause:
    stat: Job = {"kind": "pauses", "path": f"{top}/Artist/Album/01.flac"}
    with Crew([{"kind": "listing", "path": f"{top}/Wide/Album"}]) as lister:

        def nothing() -> float:
            time.sleep(ALONE)
            return ALONE

        def listed() -> float:
            seconds, amount = lister.run()
            if amount != files:
                raise BenchmarkError(f"the listing has {amount:.0f} names, not {files}")
            return seconds

        alone, _ = _longest(stat, nothing)
        beside, listing = _longest(stat, listed)
    return Pause(beside, alone, listing)


def _longest(stat: Job, meanwhile: Callable[[], float]) -> tuple[float, float]:
    """The longest stat during a call, and the call's result."""
    with Crew([stat]) as crew:
        crew.start()
        time.sleep(0.1)
        seconds = meanwhile()
        for pid in crew.pids:
            os.kill(pid, signal.SIGUSR1)
        return crew.finish()[1][0]["longest"], seconds


Cell = Callable[[Scale], float | None]


def lines(scales: Sequence[Scale]) -> Iterator[tuple[str, ...]]:
    """The lines of the table: a figure, and its values by size."""
    yield ("", *(f"{scale.folders:,} folders" for scale in scales))
    for title, cell, form in _CELLS:
        yield (title, *(_shown(cell(scale), form) for scale in scales))


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _of(name: str, factor: float) -> Cell:
    def cell(scale: Scale) -> float | None:
        value = scale.median(name)
        return None if value is None else value * factor

    return cell


def _limit(scale: Scale) -> float:
    return (LIMIT_BASE + LIMIT_FOLDER * scale.folders) / 2**20


_MS, _US, _MIB = "{:,.1f} ms", "{:,.0f} us", "{:,.1f} MiB"
_CELLS: tuple[tuple[str, Cell, str], ...] = (
    ("index built, cold", _of("build cold", 1e3), _MS),
    ("find, cold", _of("find cold", 1e3), _MS),
    ("    built/find", lambda scale: scale.ratio("build cold", "find cold"), "{:.2f}"),
    ("index built, warm", _of("build warm", 1e3), _MS),
    ("find, warm", _of("find warm", 1e3), _MS),
    ("    built/find", lambda scale: scale.ratio("build warm", "find warm"), "{:.2f}"),
    ("refresh, nothing changed", _of("quiet warm", 1e3), _MS),
    ("    refresh/built", lambda scale: scale.ratio("quiet warm", "build warm"), "{:.2f}"),
    ("refresh, one folder more", _of("changed warm", 1e3), _MS),
    ("merge alone, names exact", _of("merge exact warm", 1e3), _MS),
    ("    nfc/exact", lambda scale: scale.ratio("merge nfc warm", "merge exact warm"), "{:.2f}"),
    ("    casefold/exact", lambda scale: scale.ratio("merge casefold warm", "merge exact warm"), "{:.2f}"),
    ("command to usable mount", _of("mount", 1e3), _MS),
    ("resident, new mount", _of("resident", 2**-20), _MIB),
    ("resident, after a walk", _of("resident after a walk", 2**-20), _MIB),
    ("resident, all read ahead", _of("resident, crawled", 2**-20), _MIB),
    ("    60 MiB + 500 bytes a folder", _limit, _MIB),
    ("one folder more, until it shows", _of("one", 1e3), _MS),
    ("    longest lookup meanwhile", _of("one, longest", 1e3), _MS),
    ("one for 1 % of artists", _of("many", 1e3), _MS),
    ("    longest lookup meanwhile", _of("many, longest", 1e3), _MS),
    ("    and with nothing changing", _of("nothing, longest", 1e3), _MS),
    ("lookup of an artist", _of("lookup", 1e6), _US),
    ("opening one", _of("open", 1e6), _US),
    ("listing one", _of("list", 1e6), _US),
)
