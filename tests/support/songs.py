"""A small library of real audio files in two overlapping sources, and waiting for a view's next scan.

Every file has a sound and tags of its own, so that files cannot be confused.
"""

import functools
import itertools
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.fresh import MAX_STALENESS
from tests.support.model import predict
from tests.support.mounts import View
from tests.support.polling import poll
from tests.support.users import output_of

WAIT = 15.0
"""Seconds that a view may take to notice a change, on a busy machine."""

_seeds: Iterator[int] = itertools.count(1)


def songs(*paths: Path, seconds: float = 1) -> None:
    """Make a file of noise at each path, in the format of its extension, with tags from its path."""
    inputs: list[str] = []
    outputs: list[str | Path] = []
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        inputs += ["-f", "lavfi", "-i", f"anoisesrc=duration={seconds}:seed={next(_seeds)}"]
        source, artist, album = path.parts[-4:-1]
        tags = {"title": f"{path.stem} of {source}", "artist": artist, "album_artist": artist, "album": album}
        outputs += ["-map", str(number), *(word for tag in tags.items() for word in ("-metadata", "=".join(tag))), path]
    output_of("ffmpeg", "-nostdin", "-loglevel", "error", *inputs, *outputs)


def library(place: Path, seconds: float = 1) -> tuple[Path, Path]:
    """The high and the low source: an album that both have, and one or two that only one has."""
    output_of("cp", "-r", f"{_library(seconds).name}/.", place)
    return place / "high", place / "low"


@functools.cache
def _library(seconds: float) -> "tempfile.TemporaryDirectory[str]":
    """The sources, made once for many tests."""
    made = tempfile.TemporaryDirectory(prefix="mmirrorfs-test-songs-")
    high, low = Path(made.name, "high"), Path(made.name, "low")
    flac = [high / f"Ann/{name}.flac" for name in ("Both/1", "Both/2", "High/1")]
    mp3 = [low / f"{name}.mp3" for name in ("Ann/Both/1", "Ann/Both/2", "Ann/Low/1", "Bob/Solo/1")]
    songs(*flac, *mp3, seconds=seconds)
    return made


def winners(*order: Path) -> dict[str, Path]:
    """The files that a view of depth 2 shows, in byte order, with the source file of each."""
    predicted = predict([os.fsencode(source) for source in order], 2)
    paths = {os.fsdecode(path): Path(os.fsdecode(predicted[path].winner)) for path in sorted(predicted)}
    return {path: winner for path, winner in paths.items() if winner.is_file()}


def looked_again(view: View) -> None:
    """Wait until a view with ``--refresh=1`` has scanned each source, and the kernel's cache has expired."""
    begun = time.time()
    poll(lambda: _last_look(view) > begun + MAX_STALENESS, "a refresh of each source", WAIT)


def _last_look(view: View) -> float:
    """The time of each source's last scan, in seconds since the epoch; each is scanned twice a second."""
    return float(json.loads(os.getxattr(view.mountpoint, "user.mmirrorfs.status"))["last_refresh"])
