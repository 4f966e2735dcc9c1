"""After heavy use a daemon holds no more descriptors, threads, inodes, open files, requests and memory than before.

MMIRRORFS_LEAK_TIMES in the environment multiplies the use; 50 is a million lookups, 250,000 opens and 10,000 rescans
with changes.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.hanging import hanging
from tests.support.held import Held, at_rest, comes_back, held, resident, status
from tests.support.kernel import see_connections
from tests.support.mounts import View, mounted
from tests.support.polling import poll
from tests.support.readers import readers
from tests.support.trees import Link, Tree, grow
from tests.support.usage import use
from tests.support.users import NOBODY, WITHOUT_OVERRIDE, need, needs_root

TIMES = int(os.environ.get("MMIRRORFS_LEAK_TIMES", "1"))
GROWTH = 2 << 20
"""Bytes that a warm daemon may grow by: allocator fragmentation."""
GARBAGE = 8 << 20
"""The same where threads raised errors or indexes were swapped: garbage not yet collected."""
OPTIONS = ("--refresh=0.1", "--remember=1000", "--crawl=off", "-oallow_other")
"""A small cache, so that growing memory is not the cache."""
LIMIT = 60.0 + 30 * TIMES

pytestmark = [pytest.mark.waits, pytest.mark.mount(seconds=LIMIT), needs_root]

FILES: Tree = {b"%d" % number: b"%d" % number for number in range(30)}
ODD: Tree = {b"loop": Link(b"loop"), b"dangling": Link(b"nowhere"), b"secret": b"x", b"denied": b"x", b"closed": {}}
HIGH: Tree = {b"Artist": {b"Album %d" % number: {**FILES, **({} if number else ODD)} for number in range(20)}}
LOW: Tree = {b"Artist": {b"Album %d" % number: FILES for number in range(10, 30)}, b"Other": {b"Album": FILES}}


@pytest.fixture
def sources(place: Path) -> list[Path]:
    """Two overlapping sources; some files of the high one are unreadable for the client or the daemon."""
    see_connections()
    high, low = grow(place / "high", HIGH), grow(place / "low", LOW)
    folder = high / "Artist/Album 0"
    (folder / "secret").chmod(0o600)
    (folder / "closed").chmod(0o700)
    os.chown(folder / "denied", NOBODY, NOBODY)
    (folder / "denied").chmod(0o400)
    return [high, low]


@contextlib.contextmanager
def served(place: Path, sources: list[Path], *options: str) -> Iterator[View]:
    """A view of the sources by a daemon that is subject to their modes."""
    prefix = [need(WITHOUT_OVERRIDE[0]), *WITHOUT_OVERRIDE[1:]]
    with mounted(place / "view", *sources, depth=2, options=[*OPTIONS, *options], prefix=prefix) as view:
        yield view


def report(what: str, view: View, before: Held, warm: int) -> None:
    """Print the figures, for a long run by hand."""
    sizes = [f"{size / (1 << 20):.1f}" for size in (warm, resident(view))]
    print(f"{what}: {before} -> {held(view)}, {sizes[0]} -> {sizes[1]} MiB", file=sys.stderr)


@contextlib.contextmanager
def no_leak(view: View, what: str, warm_up: Callable[[], object], growth: int = GARBAGE) -> Iterator[None]:
    """Check that the daemon holds no more after the block than before, and has not grown."""
    warm_up()
    before = at_rest(view)
    warm = resident(view)
    yield
    comes_back(view, before)
    report(what, view, before, warm)
    assert resident(view) < warm + growth


@pytest.mark.parametrize(("what", "number"), [("lookups", 20_000), ("opens", 5_000), ("listings", 2_000)])
def test_reading_leaks_nothing(place: Path, sources: list[Path], what: str, number: int) -> None:
    with (
        served(place, sources) as view,
        no_leak(view, what, lambda: use(what, number // 4, view.mountpoint), GROWTH),
    ):
        assert use(what, number * TIMES, view.mountpoint, LIMIT) == number * TIMES


def test_errors_leak_nothing(place: Path, sources: list[Path]) -> None:
    with served(place, sources) as view, no_leak(view, "errors", lambda: use("errors", 5, view.mountpoint)):
        assert use("errors", 50 * TIMES, view.mountpoint, LIMIT) >= 1500 * TIMES


def refresh(view: View, source: Path, number: int, folders: int) -> None:
    """Add a folder, hold it open, and remove it; wait for the rescan of each."""
    new = source / "Artist" / f"New {number}"
    grow(new, {b"1": b"one", b"2": b"two"})
    view.send(signal.SIGHUP)
    poll(lambda: status(view)["folders"] == folders + 1, "the new folder")
    with open(view.mountpoint / "Artist" / new.name / "1", "rb") as file, os.scandir(view.mountpoint / "Artist"):
        assert file.read() == b"one"
        new.rename(source / "gone")
        view.send(signal.SIGHUP)
        poll(lambda: status(view)["folders"] == folders, "the folder removed")
    for name in ("1", "2"):
        (source / "gone" / name).unlink()
    (source / "gone").rmdir()


def test_rescans_with_changes_leak_nothing(place: Path, sources: list[Path]) -> None:
    with served(place, sources, "--exclude=gone") as view:
        folders = int(status(view)["folders"])

        def refreshes(start: int, pairs: int) -> None:
            for number in range(start, start + pairs):
                refresh(view, sources[number % 2], number, folders)
                if number % 100 == 0:
                    held(view)  # has the kernel drop removed inodes

        with no_leak(view, "refreshes", lambda: refreshes(0, 20)):
            refreshes(20, 100 * TIMES)


def test_files_deleted_or_replaced_while_open_are_released(place: Path, sources: list[Path]) -> None:
    with served(place, sources) as view:
        folder = sources[1] / "Other/Album"

        def replaced(number: int) -> None:
            (folder / "1").write_bytes(b"%d" % number)
            poll((view.mountpoint / "Other/Album/1").exists, "the new file, once it was reported")
            with contextlib.ExitStack() as files:
                for _ in range(6):
                    files.enter_context(open(view.mountpoint / "Other/Album/1", "rb"))
                    (folder / "new").write_bytes(b"%d new" % number)
                    (folder / "new").rename(folder / "1")
                (folder / "1").unlink()
                assert status(view)["open_files"] == 6

        with no_leak(view, "files deleted while open", lambda: replaced(0)):
            for number in range(1, 20 * TIMES):
                replaced(number)


def test_files_replaced_by_fifos_are_not_kept_open(place: Path, sources: list[Path]) -> None:
    """The kernel has it cached as a file, and the daemon opens a FIFO."""
    with served(place, sources, "--refresh=60") as view:
        folder = sources[1] / "Other/Album"

        def replace_by_fifo(name: str) -> None:
            shown = view.mountpoint / "Other/Album" / name
            assert shown.is_file()
            (folder / name).unlink()
            os.mkfifo(folder / name)
            os.close(os.open(shown, os.O_RDONLY | os.O_NONBLOCK))
            assert shown.is_fifo()

        with no_leak(view, "files replaced by FIFOs", lambda: replace_by_fifo("0")):
            for number in range(1, 20):
                replace_by_fifo(str(number))


HOLDER = """if True:
    import mmap, os, sys
    kept = [os.open(path, os.O_RDONLY) for path in sys.argv[1:]]
    mmap.mmap(kept[0], 1, prot=mmap.PROT_READ)[0]
    print("holds", flush=True)
    os.read(0, 1)
"""


def test_handles_of_killed_clients_are_released(place: Path, sources: list[Path]) -> None:
    """Open files, a mapping, and directories opened but never read."""
    with served(place, sources) as view:

        def kill_client() -> None:
            held_open = [view.mountpoint / path for path in ("Artist/Album 1/1", "Artist/Album 1", "Artist", "")]
            words = [sys.executable, "-c", HOLDER, *map(str, held_open)]
            with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
                try:
                    assert client.stdout is not None
                    assert client.stdout.readline() == b"holds\n"
                    assert status(view)["open_directories"] == 3
                finally:
                    client.kill()

        with no_leak(view, "killed clients", kill_client):
            for _ in range(10 * TIMES):
                kill_client()


def test_readers_killed_or_interrupted_while_reading_leak_nothing(place: Path, sources: list[Path]) -> None:
    """Sixteen readers wait for a hung source, get a signal, and are killed."""
    with (
        hanging(sources[0], place / "slow", hang="reads") as slow,
        mounted(place / "view", slow.mountpoint, sources[1], depth=2, options=OPTIONS) as view,
    ):
        paths = [view.mountpoint / f"Artist/Album {number}/1" for number in range(16)]

        def kill_readers(turn: int) -> None:
            for number in range(16):
                os.utime(sources[0] / f"Artist/Album {number}/1", (turn, turn))
            with readers(paths, place / "answers") as reading:
                slow.hang()
                reading.start()
                poll(lambda: slow.figures.held >= 16, "readers waiting for the source")
                for number in (signal.SIGCHLD, signal.SIGKILL):
                    reading.process.send_signal(number)
                slow.go_on()
                poll(lambda: reading.process.poll() is not None, "the readers ended")

        with no_leak(view, "killed readers", lambda: kill_readers(1)):
            for turn in range(2, 2 + 5 * TIMES):
                kill_readers(turn)
