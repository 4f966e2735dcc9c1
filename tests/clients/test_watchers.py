"""Real programs that watch a view with inotify are notified of changes.

No program is asked to rescan: it must act on events alone. The sources are watched themselves.
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
from tests.support.handles import forget
from tests.support.held import crawled
from tests.support.mounts import View, mounted
from tests.support.mpd import Player, player, song
from tests.support.polling import holds, poll
from tests.support.samba import shared
from tests.support.songs import library, songs
from tests.support.users import Word, need, needs_root
from tests.support.watched import HOURLY

pytestmark = [pytest.mark.waits, pytest.mark.mount(seconds=150), needs_root]

NOTICED = 10.0
"""Seconds from a change in a source until a program has acted on it."""


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
    """MPD waits for some seconds before each update: changes of all kinds are made at once, each to an album."""
    for program in ("mpd", "mpc", "ffmpeg"):
        need(program)
    with viewed(place) as (high, low, view), player(place / "mpd", view.mountpoint, watches=True) as mpd:
        mpd.update()
        assert has(mpd, "Ann/Low/1.mp3")
        albums = ("New", "Edited", "Taken", "Gone")
        for album in albums:
            song(low / f"Ann/{album}/1.mp3", "new")
        poll(lambda: all(has(mpd, f"Ann/{album}/1.mp3") for album in albums), "new albums", NOTICED)

        song(low / "Ann/New/2.mp3", "second")
        song(place / "edited.mp3", "edited")
        (low / "Ann/Edited/1.mp3").write_bytes((place / "edited.mp3").read_bytes())
        song(high / "Ann/Taken/1.flac", "flac")
        shutil.rmtree(low / "Ann/Gone")
        poll(lambda: has(mpd, "Ann/New/2.mp3"), "a new track", NOTICED)
        poll(lambda: title(mpd, "Ann/Edited/1.mp3") == "edited", "the tags of an edited track", NOTICED)
        poll(lambda: has(mpd, "Ann/Taken/1.flac") and not has(mpd, "Ann/Taken/1.mp3"), "a takeover", NOTICED)
        poll(lambda: not any(path.startswith("Ann/Gone/") for path in mpd.songs()), "an album removed", NOTICED)

        (low / "Ann/New/2.mp3").unlink()
        shutil.move(high / "Ann/Taken", place / "away")
        poll(lambda: not has(mpd, "Ann/New/2.mp3"), "a track removed", NOTICED)
        poll(lambda: has(mpd, "Ann/Taken/1.mp3") and not has(mpd, "Ann/Taken/1.flac"), "a fallback", NOTICED)


def test_minidlna_lists_added_and_removed_tracks_by_itself(place: Path) -> None:
    for program in ("minidlnad", "ffmpeg"):
        need(program)
    with viewed(place) as (_, low, view), scanned(place / "dlna", view.mountpoint, watches=True) as server:
        artist = view.mountpoint / "Ann"
        assert f"{artist}/Low/1.mp3" in server.files()
        number = iter(range(1000))
        repeat_until_notified(
            lambda: songs(low / f"Ann/New{next(number)}/1.mp3"),
            lambda: any(path.startswith(f"{artist}/New") and path.endswith("/1.mp3") for path in server.files()),
            "a new album",
        )
        songs(low / "Ann/Low/2.mp3")
        poll(lambda: f"{artist}/Low/2.mp3" in server.files(), "a new track", 2 * NOTICED)
        (low / "Ann/Low/2.mp3").unlink()
        poll(lambda: f"{artist}/Low/2.mp3" not in server.files(), "a track removed", 2 * NOTICED)


@contextlib.contextmanager
def printing(place: Path, *words: Word, stdin: bytes = b"") -> Iterator[Callable[[], str]]:
    """Run a program that prints events; gives its output so far."""
    log = place / f"{os.path.basename(os.fsdecode(words[0]))}.events"
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


def repeat_until_notified(change: Callable[[], object], condition: Callable[[], bool], what: str) -> None:
    """Repeat the change until the program has noticed: it does not say when it starts to watch.

    Not at once, as entr waits for 50 ms without an event, and ignores events for as long after it has run.
    """

    def is_noticed() -> bool:
        change()
        return holds(condition, 0.5)

    poll(is_noticed, what, 2 * NOTICED)


def test_samba_notifies_its_clients(place: Path) -> None:
    need("smbd")
    with viewed(place) as (_, low, view), shared(place / "samba", view.mountpoint) as share:
        words = [*share._client, "--command", "notify Ann"]
        with printing(place, need("stdbuf"), "-oL", *words) as output:
            number = iter(range(1000))
            repeat_until_notified(
                lambda: (low / f"Ann/New{next(number)}").mkdir(), lambda: "New" in output(), "a new folder"
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
def test_watching_libraries_report_each_change(place: Path, script: str, new: str, edited: str, gone: str) -> None:
    with (
        viewed(place) as (_, low, view),
        printing(place, sys.executable, "-c", script, view.mountpoint) as output,
    ):
        poll(lambda: "ready" in output(), "watching", NOTICED)

        def says(kind: str, name: str) -> bool:
            return any(kind in line and name in line for line in output().replace("(", "\n").splitlines())

        (low / "Ann/Low/9.mp3").write_bytes(b"new")
        poll(lambda: says(new, "Ann/Low/9.mp3"), "a new track", NOTICED)
        with open(low / "Ann/Low/9.mp3", "r+b") as file:
            file.write(b"edit")
        poll(lambda: says(edited, "Ann/Low/9.mp3"), "an edit", NOTICED)
        (low / "Ann/New").mkdir()
        poll(lambda: says(new, "Ann/New"), "a new album", NOTICED)
        (low / "Ann/New/1.mp3").write_bytes(b"new")
        poll(lambda: says(new, "Ann/New/1.mp3"), "a track in it", NOTICED)
        (low / "Ann/Low/9.mp3").unlink()
        poll(lambda: says(gone, "Ann/Low/9.mp3"), "a track removed", NOTICED)


def append(path: Path) -> None:
    """Edit a file in place."""
    with open(path, "ab") as file:
        file.write(b"more")


def replace(path: Path) -> None:
    """Replace a file by rename, as most editors do."""
    new = path.with_name(".new")
    new.write_bytes(b"new")
    new.rename(path)


def test_entr_runs_its_command_after_an_edit(place: Path) -> None:
    words = [need("entr"), "-n", "-p", "echo", "it ran"]
    with viewed(place) as (_, low, view):
        track = os.fsencode(view.mountpoint / "Ann/Low/1.mp3")
        with printing(place, *words, stdin=track + b"\n") as output:
            repeat_until_notified(lambda: append(low / "Ann/Low/1.mp3"), lambda: "it ran" in output(), "an edit")
            before = output()
            repeat_until_notified(lambda: replace(low / "Ann/Low/1.mp3"), lambda: output() != before, "a replacement")


def test_a_watch_of_one_file_gets_its_events_although_the_kernel_has_dropped_the_directory(place: Path) -> None:
    """A watch pins its inode, but not the inode of the parent, which the kernel drops when it needs memory."""
    with viewed(place) as (_, low, view):
        for path, change, event in (
            ("Ann/Low/1.mp3", append, "CLOSE_WRITE,CLOSE"),
            ("Ann/Low/1.mp3", replace, "CLOSE_WRITE,CLOSE"),
            ("Ann/Low/1.mp3", lambda track: track.chmod(0o640), "ATTRIB"),
            ("Ann/Low", lambda album: album.chmod(0o750), "ATTRIB,ISDIR"),
            ("Ann", lambda artist: artist.chmod(0o750), "ATTRIB,ISDIR"),
        ):
            with printing(place, need("inotifywait"), "-m", view.mountpoint / path) as events:
                poll(lambda events=events: "Watches established" in events(), "watching", NOTICED)  # type: ignore[misc]
                forget()
                change(low / path)
                poll(lambda events=events, event=event: f" {event} " in events(), f"{event} of {path}", NOTICED)  # type: ignore[misc]


def test_a_watcher_with_the_mask_of_dotnet_gets_its_events(place: Path) -> None:
    """The mask of FileSystemWatcher with all NotifyFilters, which Jellyfin uses."""
    with viewed(place) as (_, low, view):
        mask = "move,create,delete,modify,close_write,attrib"
        with printing(place, need("inotifywait"), "-m", "-r", "-e", mask, view.mountpoint) as output:
            poll(lambda: "Watches established" in output(), "watching", NOTICED)
            (low / "Ann/New").mkdir()
            poll(lambda: "MOVED_TO,ISDIR New" in output(), "a new album", NOTICED)
            (low / "Ann/Low/9.mp3").write_bytes(b"new")
            poll(lambda: "MOVED_TO 9.mp3" in output(), "a new track", NOTICED)
