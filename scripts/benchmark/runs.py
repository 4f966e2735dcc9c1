"""The runs: each as jobs for workers on a given view."""

import contextlib
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TypeVar

from benchmark import slowdisk
from benchmark.crew import WORKER, Job
from benchmark.library import LARGE, STAMP, TAGS, Library
from benchmark.peers import Subject

BLOCK = 1 << 20
RANDOM_BLOCK = 64 << 10
RANDOM_READS = 2048
STREAMS = 16
OPENED = 10_000
"""Opens of cached files, of which there are some hundred."""
TAGGED = 4000
"""Maximum number of files whose tags are read."""
SYSTEM_PYTHON = "/usr/bin/python3"
"""Has mutagen if Debian's package is installed."""

COLD, WARM = "cold", "warm"
RESCAN, UPDATE, IDLE_UPDATE = "rescan, cold", "update right after", "update when the caches have run out"
ALONE, BESIDE = "nobody else reading", "beside a slow disk"

T = TypeVar("T")
Jobs = Callable[[Subject, Library], list[Job]]
Stage = Callable[[Library, str], contextlib.AbstractContextManager[Library]]


def _nothing(place: str) -> None:
    """No requirements."""


@dataclass(frozen=True, slots=True)
class Run:
    """``jobs`` is None for the run that only mounts; ``per`` is the unit: entry, file, MB, mount or worst.

    The jobs run once for each of ``states`` on one mount, and once more for ``late`` after that mount has been idle.
    ``whole``: everything in the view must be found. ``stage`` prepares the sources, for uniting peers only; ``lacking``
    returns why the run is impossible here, ``version`` is a command. The README shows the states in ``known``.
    """

    name: str
    title: str
    per: str
    jobs: Jobs | None
    states: tuple[str, ...] = (COLD, WARM)
    late: str | None = None
    whole: bool = False
    worker: Sequence[str] = WORKER
    stage: Stage | None = None
    lacking: Callable[[str], str | None] = _nothing
    version: Sequence[str] = ()
    known: tuple[str, ...] = ()
    usual: bool = True


def available(runs: Sequence[Run], place: str) -> tuple[list[Run], dict[str, str]]:
    """The runs that are possible here, and why the others are not."""
    why = {run.name: run.lacking(place) for run in runs}
    return [run for run in runs if why[run.name] is None], {name: text for name, text in why.items() if text}


def _program(name: str, place: str) -> str | None:
    return None if shutil.which(name) else f"{name} is not installed (--install installs it)"


def _mutagen_is_lacking(place: str) -> str | None:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run([SYSTEM_PYTHON, "-I", "-c", "import mutagen"], capture_output=True, check=True, timeout=60)
        return None
    return f"{SYSTEM_PYTHON} has no mutagen (--install installs it)"


def _walk(processes: int) -> Jobs:
    def jobs(subject: Subject, library: Library) -> list[Job]:
        return [
            {"kind": "walk", "top": subject.top, "follow": subject.follow, "part": part, "parts": processes}
            for part in range(processes)
        ]

    return jobs


def _tags(processes: int) -> Jobs:
    """Each process reads its own part of the library; the names come from the sources, not from the view."""

    def jobs(subject: Subject, library: Library) -> list[Job]:
        paths = [f"{subject.top}/{track}" for track in subject.contents.tracks[:TAGGED]]
        return [{"kind": "tags", "paths": part} for part in _parts(paths, processes)]

    return jobs


def _opened(subject: Subject, library: Library) -> list[Job]:
    paths = [f"{subject.top}/{track}" for track in subject.contents.tracks[:100]]
    return [{"kind": "tags", "paths": (paths * OPENED)[:OPENED], "prepared": True}]


def _missing(subject: Subject, library: Library) -> list[Job]:
    contents = subject.contents
    names = [f"{subject.top}/{artist}/artist.nfo" for artist in contents.artists]
    names += [f"{subject.top}/{album}/{name}" for album in contents.albums for name in ("cover.jpg", "folder.jpg")]
    return [{"kind": "missing", "paths": names}]


def _streams(count: int) -> Jobs:
    """The large file sequentially, or one part of it per process."""

    def jobs(subject: Subject, library: Library) -> list[Job]:
        offsets = list(range(0, library.size.large_bytes, BLOCK))
        return [_read(subject, BLOCK, part) for part in _parts(offsets, count)]

    return jobs


def _random(subject: Subject, library: Library) -> list[Job]:
    """The same offsets in the same order for all peers and rounds; no offset twice."""
    blocks = max(1, library.size.large_bytes // RANDOM_BLOCK)
    chosen = random.Random(1).sample(range(blocks), min(blocks, RANDOM_READS))
    return [_read(subject, RANDOM_BLOCK, [block * RANDOM_BLOCK for block in chosen])]


def _read(subject: Subject, block: int, offsets: Sequence[int]) -> Job:
    path, mounted = f"{subject.top}/{LARGE}", subject.daemon is not None
    return {"kind": "read", "path": path, "block": block, "offsets": list(offsets), "forget": mounted}


def _parts(things: Sequence[T], count: int) -> list[Sequence[T]]:
    """The items in consecutive parts of nearly equal length."""
    cuts = [len(things) * number // count for number in range(count + 1)]
    return [things[start:end] for start, end in pairwise(cuts)]


def _find(subject: Subject, library: Library) -> list[Job]:
    """find -newer with a reference newer than all files: it matches none, and must stat everything."""
    stamp = f"{os.path.dirname(library.first)}/{STAMP}"
    words = ["find", *_links(subject), subject.top, "-newer", stamp, "-type", "f"]
    return [_command(words, 0, subject.contents.entries + 1)]


def _du(subject: Subject, library: Library) -> list[Job]:
    contents = subject.contents
    directories = len(contents.artists) + len(contents.albums) + 1
    return [_command(["du", *_links(subject), subject.top], directories, contents.entries + 1)]


def _rsync(subject: Subject, library: Library) -> list[Job]:
    """rsync -an to a missing directory, so that only the view does work; each entry is itemized."""
    entries = subject.contents.entries + 1
    target = f"{os.path.dirname(library.first)}/nowhere/"
    return [_command(["rsync", "-an", "-i", *_links(subject), f"{subject.top}/", target], entries + 1, entries)]


def _links(subject: Subject) -> list[str]:
    return ["-L"] if subject.follow else []


def _command(words: list[str], lines: int, amount: int) -> Job:
    return {"kind": "command", "words": words, "lines": lines, "amount": amount}


def _mutagen(subject: Subject, library: Library) -> list[Job]:
    name, value = TAGS[0]
    paths = [f"{subject.top}/{track}" for track in subject.contents.tracks[:TAGGED]]
    return [{"kind": "mutagen", "paths": paths, "tag": name.lower(), "value": value}]


def _mpd(subject: Subject, library: Library) -> list[Job]:
    songs = len(subject.contents.tracks) + 1
    return [{"kind": "mpd", "top": subject.top, "place": os.path.dirname(library.first), "songs": songs}]


def _beside(subject: Subject, library: Library) -> list[Job]:
    """Open the start of files in the fast source while whole files of the slow one are read."""
    fast = [f"{subject.top}/{track}" for track in library.both.tracks[:100]]
    slow = [f"{subject.top}/{track}" for track in library.alone.tracks]
    return [{"kind": "beside", "fast": fast, "slow": slow, "count": OPENED}]


RUNS = (
    Run(
        "mpd",
        "MPD",
        "file",
        _mpd,
        states=(RESCAN, UPDATE),
        late=IDLE_UPDATE,
        lacking=partial(_program, "mpd"),
        version=("mpd", "--version"),
        known=(RESCAN, UPDATE, IDLE_UPDATE),
    ),
    Run("mount", "mount, until usable", "mount", None, states=(COLD,)),
    Run("walk", "walk with stat", "entry", _walk(1), whole=True),
    Run("walk4", "walk with stat, 4 processes", "entry", _walk(4), whole=True),
    Run("walk8", "walk with stat, 8 processes", "entry", _walk(8), whole=True),
    Run("find", "find -newer", "entry", _find, known=(COLD, WARM)),
    Run("du", "du", "entry", _du, known=(WARM,)),
    Run(
        "rsync",
        "rsync -an",
        "entry",
        _rsync,
        lacking=partial(_program, "rsync"),
        version=("rsync", "--version"),
        known=(COLD, WARM),
    ),
    Run(
        "mutagen",
        "tags read by mutagen",
        "file",
        _mutagen,
        worker=(SYSTEM_PYTHON, "-I", WORKER[-1]),
        lacking=_mutagen_is_lacking,
        version=(SYSTEM_PYTHON, "-I", "-c", "import mutagen; print(mutagen.version_string)"),
        known=(COLD, WARM),
    ),
    Run("tags", "tag scan", "file", _tags(1)),
    Run("tags4", "tag scan, 4 processes", "file", _tags(4)),
    Run("tags8", "tag scan, 8 processes", "file", _tags(8), known=(COLD,)),
    Run("open", "open, read and close of a cached file", "file", _opened, states=(WARM,)),
    Run("missing", "names that are not there", "name", _missing),
    Run("read", "sequential read, 1 MiB", "MB", _streams(1), known=(COLD,)),
    Run("streams", f"{STREAMS} streams, 1 MiB", "MB", _streams(STREAMS), usual=False),
    Run("random", "random reads, 64 KiB", "MB", _random, usual=False),
    Run(
        "beside",
        f"slowest of {OPENED:,} opens",
        "worst",
        _beside,
        states=(ALONE, BESIDE),
        stage=slowdisk.beside,
        lacking=slowdisk.lacking,
        known=(BESIDE,),
    ),
)
