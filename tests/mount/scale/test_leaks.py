"""After much use a daemon holds what it held before: descriptors, threads, inodes, open files, requests, and memory.

MMIRRORFS_LEAK_TIMES in the environment says how many times as much use; with 50 it is a million lookups, 250,000 opens
and 10,000 refreshes with changes.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.hanging import hanging, see_connections
from tests.support.held import Held, at_rest, comes_back, held, resident, status
from tests.support.mounts import View, mounted
from tests.support.polling import poll
from tests.support.readers import readers
from tests.support.trees import Link, Tree, grow
from tests.support.usage import use
from tests.support.users import NOBODY, WITHOUT_OVERRIDE, need, needs_root

TIMES = int(os.environ.get("MMIRRORFS_LEAK_TIMES", "1"))
GROWTH = 2 << 20
"""Bytes that a daemon may have grown by since it was warm: what memory is lost to allocators."""
GARBAGE = 8 << 20
"""The same where errors came out of threads, or indexes were swapped: what waits for the next look for garbage."""
OPTIONS = ("--refresh=0.1", "--remember=1000", "--crawl=off", "-oallow_other")
"""Little is remembered on purpose, so that a memory that grows is none that was asked for."""
LIMIT = 60.0 + 30 * TIMES

pytestmark = [pytest.mark.mount(seconds=LIMIT), needs_root]

FILES: Tree = {b"%d" % number: b"%d" % number for number in range(30)}
ODD: Tree = {b"loop": Link(b"loop"), b"dangling": Link(b"nowhere"), b"secret": b"x", b"denied": b"x", b"closed": {}}
HIGH: Tree = {b"Artist": {b"Album %d" % number: {**FILES, **({} if number else ODD)} for number in range(20)}}
LOW: Tree = {b"Artist": {b"Album %d" % number: FILES for number in range(10, 30)}, b"Other": {b"Album": FILES}}


@pytest.fixture
def sources(place: Path) -> list[Path]:
    """Two sources that overlap; some of the high one's files may not be read, by the client or by the daemon."""
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
    """A view of the sources by a daemon that has to keep to their modes."""
    prefix = [need(WITHOUT_OVERRIDE[0]), *WITHOUT_OVERRIDE[1:]]
    with mounted(place / "view", *sources, depth=2, options=[*OPTIONS, *options], prefix=prefix) as view:
        yield view


def told(what: str, view: View, before: Held, warm: int) -> None:
    """Print the figures, for who ran the long form to see them."""
    sizes = [f"{size / (1 << 20):.1f}" for size in (warm, resident(view))]
    print(f"{what}: {before} -> {held(view)}, {sizes[0]} -> {sizes[1]} MiB", file=sys.stderr)


@contextlib.contextmanager
def nothing_lost(view: View, what: str, warm_up: Callable[[], object], growth: int = GARBAGE) -> Iterator[None]:
    """Check that the daemon holds after the block what it held before, and has not grown."""
    warm_up()
    before = at_rest(view)
    warm = resident(view)
    yield
    comes_back(view, before)
    told(what, view, before, warm)
    assert resident(view) < warm + growth


@pytest.mark.parametrize(("what", "number"), [("lookups", 20_000), ("opens", 5_000), ("listings", 2_000)])
def test_much_reading_loses_nothing(place: Path, sources: list[Path], what: str, number: int) -> None:
    with (
        served(place, sources) as view,
        nothing_lost(view, what, lambda: use(what, number // 4, view.mountpoint), GROWTH),
    ):
        assert use(what, number * TIMES, view.mountpoint, LIMIT) == number * TIMES


def test_errors_lose_nothing(place: Path, sources: list[Path]) -> None:
    with served(place, sources) as view, nothing_lost(view, "errors", lambda: use("errors", 5, view.mountpoint)):
        assert use("errors", 50 * TIMES, view.mountpoint, LIMIT) >= 1500 * TIMES


def refresh(view: View, source: Path, number: int, folders: int) -> None:
    """Have a folder come, be looked at and held open, and go; two refreshes, each seen to have happened."""
    new = source / "Artist" / f"New {number}"
    grow(new, {b"1": b"one", b"2": b"two"})
    view.send(signal.SIGHUP)
    poll(lambda: status(view)["folders"] == folders + 1, "the new folder")
    with open(view.mountpoint / "Artist" / new.name / "1", "rb") as file, os.scandir(view.mountpoint / "Artist"):
        assert file.read() == b"one"
        new.rename(source / "gone")
        view.send(signal.SIGHUP)
        poll(lambda: status(view)["folders"] == folders, "the end of the folder")
    for name in ("1", "2"):
        (source / "gone" / name).unlink()
    (source / "gone").rmdir()


def test_refreshes_with_changes_lose_nothing(place: Path, sources: list[Path]) -> None:
    with served(place, sources, "--exclude=gone") as view:
        folders = int(status(view)["folders"])

        def refreshes(start: int, pairs: int) -> None:
            for number in range(start, start + pairs):
                refresh(view, sources[number % 2], number, folders)
                if number % 100 == 0:
                    held(view)  # or the kernel would keep what went away

        with nothing_lost(view, "refreshes", lambda: refreshes(0, 20)):
            refreshes(20, 100 * TIMES)


def test_files_deleted_or_replaced_while_open_are_let_go_of(place: Path, sources: list[Path]) -> None:
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

        with nothing_lost(view, "files deleted while open", lambda: replaced(0)):
            for number in range(1, 20 * TIMES):
                replaced(number)


def test_files_that_became_something_else_are_not_kept_open(place: Path, sources: list[Path]) -> None:
    """The kernel still believes that it is a file, and the daemon opens a FIFO."""
    with served(place, sources, "--refresh=60") as view:
        folder = sources[1] / "Other/Album"

        def became_a_fifo(name: str) -> None:
            shown = view.mountpoint / "Other/Album" / name
            assert shown.is_file()
            (folder / name).unlink()
            os.mkfifo(folder / name)
            os.close(os.open(shown, os.O_RDONLY | os.O_NONBLOCK))
            assert shown.is_fifo()

        with nothing_lost(view, "files that became something else", lambda: became_a_fifo("0")):
            for number in range(1, 20):
                became_a_fifo(str(number))


HOLDER = """if True:
    import mmap, os, sys
    kept = [os.open(path, os.O_RDONLY) for path in sys.argv[1:]]
    mmap.mmap(kept[0], 1, prot=mmap.PROT_READ)[0]
    print("holds", flush=True)
    os.read(0, 1)
"""


def test_what_killed_clients_held_is_let_go_of(place: Path, sources: list[Path]) -> None:
    """Open files, a mapping, and directories that were opened and never read."""
    with served(place, sources) as view:

        def killed() -> None:
            held_open = [view.mountpoint / path for path in ("Artist/Album 1/1", "Artist/Album 1", "Artist", "")]
            words = [sys.executable, "-c", HOLDER, *map(str, held_open)]
            with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
                try:
                    assert client.stdout is not None
                    assert client.stdout.readline() == b"holds\n"
                    assert status(view)["open_directories"] == 3
                finally:
                    client.kill()

        with nothing_lost(view, "killed clients", killed):
            for _ in range(10 * TIMES):
                killed()


def test_readers_killed_or_interrupted_in_mid_read_leave_nothing(place: Path, sources: list[Path]) -> None:
    """Sixteen at a time wait for a source that hangs, and are killed; others get a signal while they wait."""
    with (
        hanging(sources[0], place / "slow", hang="reads") as slow,
        mounted(place / "view", slow.mountpoint, sources[1], depth=2, options=OPTIONS) as view,
    ):
        paths = [view.mountpoint / f"Artist/Album {number}/1" for number in range(16)]

        def killed(turn: int) -> None:
            for number in range(16):
                os.utime(sources[0] / f"Artist/Album {number}/1", (turn, turn))
            with readers(paths, place / "told") as reading:
                slow.hang()
                reading.start()
                poll(lambda: slow.figures.held >= 16, "readers that wait for the source")
                for number in (signal.SIGCHLD, signal.SIGKILL):
                    reading.process.send_signal(number)
                slow.go_on()
                poll(lambda: reading.process.poll() is not None, "the end of the readers")

        with nothing_lost(view, "killed readers", lambda: killed(1)):
            for turn in range(2, 2 + 5 * TIMES):
                killed(turn)
