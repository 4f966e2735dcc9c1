"""What is measured: each run as jobs for workers, on whatever view it is given."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from benchmark.crew import Job
from benchmark.library import LARGE, Library
from benchmark.peers import Subject

BLOCK = 1 << 20
RANDOM_BLOCK = 64 << 10
RANDOM_READS = 2048
STREAMS = 16

T = TypeVar("T")
Jobs = Callable[[Subject, Library], list[Job]]


@dataclass(frozen=True, slots=True)
class Run:
    """``jobs`` is None for the run that only mounts; ``per`` is what is counted: entry, MB or mount.

    ``whole`` says that everything that the view shows has to be found.
    """

    name: str
    title: str
    per: str
    jobs: Jobs | None
    whole: bool = False


def _walk(processes: int) -> Jobs:
    def jobs(subject: Subject, library: Library) -> list[Job]:
        return [
            {"kind": "walk", "top": subject.top, "follow": subject.follow, "part": part, "parts": processes}
            for part in range(processes)
        ]

    return jobs


def _tags(processes: int) -> Jobs:
    """Each process has a stretch of the library of its own; the names come from the sources, not from the view."""

    def jobs(subject: Subject, library: Library) -> list[Job]:
        paths = [f"{subject.top}/{track}" for track in subject.contents.tracks]
        return [{"kind": "tags", "paths": part} for part in _parts(paths, processes)]

    return jobs


def _missing(subject: Subject, library: Library) -> list[Job]:
    contents = subject.contents
    names = [f"{subject.top}/{artist}/artist.nfo" for artist in contents.artists]
    names += [f"{subject.top}/{album}/{name}" for album in contents.albums for name in ("cover.jpg", "folder.jpg")]
    return [{"kind": "missing", "paths": names}]


def _streams(count: int) -> Jobs:
    """The large file from one end to the other, or each of several processes its own stretch of it."""

    def jobs(subject: Subject, library: Library) -> list[Job]:
        offsets = list(range(0, library.size.large_bytes, BLOCK))
        return [_read(subject, BLOCK, part) for part in _parts(offsets, count)]

    return jobs


def _random(subject: Subject, library: Library) -> list[Job]:
    """The same places, in the same order, for everybody and in every round; no place twice."""
    blocks = max(1, library.size.large_bytes // RANDOM_BLOCK)
    chosen = random.Random(1).sample(range(blocks), min(blocks, RANDOM_READS))
    return [_read(subject, RANDOM_BLOCK, [block * RANDOM_BLOCK for block in chosen])]


def _read(subject: Subject, block: int, offsets: Sequence[int]) -> Job:
    path, mounted = f"{subject.top}/{LARGE}", subject.daemon is not None
    return {"kind": "read", "path": path, "block": block, "offsets": list(offsets), "forget": mounted}


def _parts(things: Sequence[T], count: int) -> list[Sequence[T]]:
    """The things in so many stretches of nearly the same length."""
    cuts = [len(things) * number // count for number in range(count + 1)]
    return [things[start:end] for start, end in pairwise(cuts)]


RUNS = (
    Run("mount", "mount, until usable", "mount", None),
    Run("walk", "walk with stat", "entry", _walk(1), whole=True),
    Run("walk4", "walk with stat, 4 processes", "entry", _walk(4), whole=True),
    Run("walk8", "walk with stat, 8 processes", "entry", _walk(8), whole=True),
    Run("tags", "tag scan", "entry", _tags(1)),
    Run("tags4", "tag scan, 4 processes", "entry", _tags(4)),
    Run("tags8", "tag scan, 8 processes", "entry", _tags(8)),
    Run("missing", "names that are not there", "entry", _missing),
    Run("read", "sequential read, 1 MiB", "MB", _streams(1)),
    Run("streams", f"{STREAMS} streams, 1 MiB", "MB", _streams(STREAMS)),
    Run("random", "random reads, 64 KiB", "MB", _random),
)
