"""Real programs that watch a view for changes are told of them, by the kernel and by nobody else.

Nothing here asks a program to look: what it has in the end it has heard of. The sources report their changes.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.dlna import scanned
from tests.support.held import crawled
from tests.support.mounts import View, mounted
from tests.support.mpd import Player, player, song
from tests.support.polling import poll
from tests.support.samba import shared
from tests.support.songs import library, songs
from tests.support.users import Word, need, needs_root
from tests.support.watched import HOURLY

pytestmark = [pytest.mark.mount(seconds=150), needs_root]

TOLD = 10.0
"""Seconds from a change in a source until a program has it."""


@contextlib.contextmanager
def viewed(place: Path) -> Iterator[tuple[Path, Path, View]]:
    """A view of two small libraries: Ann/Both, Ann/High, Ann/Low and more."""
    high, low = library(place)
    with mounted(place / "mnt", high, low, depth=2, options=[HOURLY, "-o", "allow_other"]) as view:
        crawled(view)
        yield high, low, view


def has(mpd: Player, path: str) -> bool:
    return path in mpd.songs()


def title(mpd: Player, path: str) -> str:
    """The title that the database has of a song."""
    return mpd.mpc("--format", "%title%", "find", "filename", path).strip()


def test_mpd_updates_its_database_by_itself(place: Path) -> None:
    for program in ("mpd", "mpc", "ffmpeg"):
        need(program)
    with viewed(place) as (high, low, view), player(place / "mpd", view.mountpoint, watches=True) as mpd:
        mpd.update()
        assert has(mpd, "Ann/Low/1.mp3")
        song(low / "Ann/New/1.mp3", "new")
        poll(lambda: has(mpd, "Ann/New/1.mp3"), "a new album", TOLD)
        song(low / "Ann/New/2.mp3", "second")
        poll(lambda: has(mpd, "Ann/New/2.mp3"), "a new track", TOLD)
        song(place / "edited.mp3", "edited")
        (low / "Ann/New/2.mp3").write_bytes((place / "edited.mp3").read_bytes())
        poll(lambda: title(mpd, "Ann/New/2.mp3") == "edited", "the tags of an edited track", TOLD)
        song(high / "Ann/New/1.flac", "flac")
        poll(lambda: has(mpd, "Ann/New/1.flac") and not has(mpd, "Ann/New/1.mp3"), "a takeover", TOLD)
        shutil.move(high / "Ann/New", place / "away")
        poll(lambda: has(mpd, "Ann/New/1.mp3") and not has(mpd, "Ann/New/1.flac"), "a fall-back", TOLD)
        (low / "Ann/New/2.mp3").unlink()
        poll(lambda: not has(mpd, "Ann/New/2.mp3"), "the end of a track", TOLD)
        shutil.rmtree(low / "Ann/New")
        poll(lambda: not any(path.startswith("Ann/New/") for path in mpd.songs()), "the end of an album", TOLD)


def test_minidlna_lists_what_came_and_went(place: Path) -> None:
    for program in ("minidlnad", "ffmpeg"):
        need(program)
    with viewed(place) as (_, low, view), scanned(place / "dlna", view.mountpoint, watches=True) as server:
        artist = view.mountpoint / "Ann"
        assert f"{artist}/Low/1.mp3" in server.files()
        number = iter(range(1000))
        told_again_and_again(
            lambda: songs(low / f"Ann/New{next(number)}/1.mp3"),
            lambda: any(path.startswith(f"{artist}/New") and path.endswith("/1.mp3") for path in server.files()),
            "a new album",
        )
        songs(low / "Ann/Low/2.mp3")
        poll(lambda: f"{artist}/Low/2.mp3" in server.files(), "a new track", 2 * TOLD)
        (low / "Ann/Low/2.mp3").unlink()
        poll(lambda: f"{artist}/Low/2.mp3" not in server.files(), "the end of a track", 2 * TOLD)


@contextlib.contextmanager
def hearing(place: Path, *words: Word, stdin: bytes = b"") -> Iterator[Callable[[], str]]:
    """A program that writes what it hears of; gives what it wrote so far."""
    log = place / "heard"
    with open(log, "wb") as file:
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=file, stderr=subprocess.STDOUT)
    assert process.stdin is not None
    process.stdin.write(stdin)
    process.stdin.close()
    try:
        yield lambda: log.read_text(errors="replace")
    finally:
        process.kill()
        process.wait()


def told_again_and_again(change: Callable[[], object], condition: Callable[[], bool], what: str) -> None:
    """Change until it is heard: there is no telling when a program has begun to watch."""

    def heard() -> bool:
        change()
        return condition()

    poll(heard, what, 2 * TOLD)


def test_samba_tells_its_clients(place: Path) -> None:
    need("smbd")
    with viewed(place) as (_, low, view), shared(place / "samba", view.mountpoint) as share:
        words = [*share._client, "--command", "notify Ann"]
        with hearing(place, need("stdbuf"), "-oL", *words) as heard:
            number = iter(range(1000))
            told_again_and_again(
                lambda: (low / f"Ann/New{next(number)}").mkdir(), lambda: "New" in heard(), "a new folder"
            )


WATCHDOG = """
import sys, time
from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer
class Handler(FileSystemEventHandler):
    def on_any_event(self, event):
        print(event.event_type, event.src_path, flush=True)
observer = Observer()
observer.schedule(Handler(), sys.argv[1], recursive=True)
observer.start()
print("ready", flush=True)
observer.join()
"""
WATCHFILES = """
import sys
from watchfiles import watch
for changes in watch(sys.argv[1], step=50, yield_on_timeout=True, rust_timeout=300):
    print("ready", *((kind.name, path) for kind, path in changes), flush=True)
"""


@pytest.mark.parametrize(
    ("script", "new", "edited", "gone"),
    [(WATCHDOG, "created", "modified", "deleted"), (WATCHFILES, "'added'", "'modified'", "'deleted'")],
    ids=["watchdog", "watchfiles"],
)
def test_libraries_that_watch_say_what_happened(place: Path, script: str, new: str, edited: str, gone: str) -> None:
    with viewed(place) as (_, low, view), hearing(place, sys.executable, "-c", script, view.mountpoint) as heard:
        poll(lambda: "ready" in heard(), "it watches", TOLD)

        def says(kind: str, name: str) -> bool:
            return any(kind in line and name in line for line in heard().replace("(", "\n").splitlines())

        (low / "Ann/Low/9.mp3").write_bytes(b"new")
        poll(lambda: says(new, "Ann/Low/9.mp3"), "a new track", TOLD)
        with open(low / "Ann/Low/9.mp3", "r+b") as file:
            file.write(b"edit")
        poll(lambda: says(edited, "Ann/Low/9.mp3"), "an edit", TOLD)
        (low / "Ann/New").mkdir()
        poll(lambda: says(new, "Ann/New"), "a new album", TOLD)
        (low / "Ann/New/1.mp3").write_bytes(b"new")
        poll(lambda: says(new, "Ann/New/1.mp3"), "a track in it", TOLD)
        (low / "Ann/Low/9.mp3").unlink()
        poll(lambda: says(gone, "Ann/Low/9.mp3"), "the end of a track", TOLD)


def test_entr_runs_a_command(place: Path) -> None:
    with viewed(place) as (_, low, view):
        track = view.mountpoint / "Ann/Low/1.mp3"
        words = [need("entr"), "-n", "-p", "echo", "it is told"]
        with hearing(place, *words, stdin=os.fsencode(track) + b"\n") as heard:

            def edit() -> None:
                with open(low / "Ann/Low/1.mp3", "ab") as file:
                    file.write(b"more")

            told_again_and_again(edit, lambda: "it is told" in heard(), "an edit")


def test_the_watcher_of_dotnet_hears_of_all_that_it_listens_to(place: Path) -> None:
    """Its mask is that of FileSystemWatcher with all of NotifyFilters; Jellyfin goes by it."""
    with viewed(place) as (_, low, view):
        mask = "move,create,delete,modify,close_write,attrib"
        with hearing(place, need("inotifywait"), "-m", "-r", "-e", mask, view.mountpoint) as heard:
            poll(lambda: "Watches established" in heard(), "it watches", TOLD)
            (low / "Ann/New").mkdir()
            poll(lambda: "MOVED_TO,ISDIR New" in heard(), "a new album", TOLD)
            (low / "Ann/Low/9.mp3").write_bytes(b"new")
            poll(lambda: "MOVED_TO 9.mp3" in heard(), "a new track", TOLD)
