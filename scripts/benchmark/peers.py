"""The peers: how each mounts a view of the library, and what that view contains."""

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from benchmark.crew import BenchmarkError, Crew
from benchmark.kernel import Daemon, daemon_of, take_down
from benchmark.library import Contents, Library

START = 30.0
"""Timeout in seconds until a mount is usable."""
SWITCH = "MMIRRORFS_REQUEST_LOOP"
"""The environment variable of mmirrorfs/mount/requestloop.py."""
TUNED = (
    "cache.files=auto-full,category.search=ff,cache.attr=60,cache.entry=60,cache.negative_entry=60,cache.readdir=true"
)

OURS, FLOOR, TUNED_PEER, BARE = "mmirrorfs", "floor", "mergerfs-tuned", "bare"
DEFAULT = (FLOOR, TUNED_PEER, BARE)
"""Peers measured by default."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One peer's mounted view. ``seconds`` is the time from the command until it was usable."""

    top: str
    contents: Contents
    follow: bool = False
    daemon: Daemon | None = None
    seconds: float | None = None

    def settle(self) -> None:
        """Wait until mmirrorfs has crawled its sources; returns at once for other peers. Raises BenchmarkError."""
        until = time.monotonic() + START
        while time.monotonic() < until:
            try:
                status = json.loads(os.getxattr(self.top, "user.mmirrorfs.status"))
            except OSError:
                return
            if all(source["crawl"]["state"] != "crawling" for source in status["sources"]):
                return
            time.sleep(0.02)
        raise BenchmarkError(f"{self.top} was still being crawled after {START:g} s")


View = contextlib.AbstractContextManager[Subject]


@dataclass(frozen=True, slots=True)
class Peer:
    """``view(library, place)`` mounts a fresh view in ``place``; ``program`` must be installed for it.

    ``unites``: it shows both sources, and reads from them on demand. ``starts``: its start time is of interest.
    """

    name: str
    view: Callable[[Library, str], View]
    program: str | None = None
    version: Sequence[str] = field(default=())
    unites: bool = True
    starts: bool = True


_numbers = itertools.count()


@contextlib.contextmanager
def mounted(command: Sequence[str], place: str, contents: Contents, environment: dict[str, str]) -> Iterator[Subject]:
    """Mount by a command whose last argument is the mountpoint; unmount afterwards. Raises BenchmarkError."""
    mountpoint = f"{place}/mount-{next(_numbers)}"
    os.mkdir(mountpoint)
    words = [mountpoint if word == "MOUNTPOINT" else word for word in command]
    try:
        seconds = _mount(words, mountpoint, environment)
        daemon = daemon_of(mountpoint)
        if not daemon.pids:
            raise BenchmarkError(f"{command[0]}: no process has {mountpoint} in its command line")
        yield Subject(mountpoint, contents, daemon=daemon, seconds=seconds)
    finally:
        take_down(mountpoint)
        os.rmdir(mountpoint)


def _mount(words: Sequence[str], mountpoint: str, environment: dict[str, str]) -> float:
    """Seconds from the command to the first reply to another process."""
    job = {"kind": "usable", "mountpoint": mountpoint, "seconds": START}
    with open(f"{mountpoint}.log", "w+") as log, Crew([job]) as watcher:
        watcher.start()
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(START)
            if code:
                log.seek(0)
                raise BenchmarkError(f"{words[0]} ended with {code}: {log.read().strip()}")
            return watcher.finish(START + 1)[0]
        except subprocess.TimeoutExpired:
            raise BenchmarkError(f"{words[0]} did not return within {START:g} s") from None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(START)
            os.unlink(log.name)


def mmirrorfs(first: str, second: str, place: str, contents: Contents, plain: bool = False) -> View:
    """mmirrorfs from this checkout."""
    command = [sys.executable, "-m", "mmirrorfs", first, second, "MOUNTPOINT", "--depth", "2"]
    return mounted(command, place, contents, {SWITCH: "plain"} if plain else {})


def _ours(plain: bool) -> Callable[[Library, str], View]:
    return lambda library, place: mmirrorfs(library.first, library.second, place, library.both, plain)


def _union(*command: str) -> Callable[[Library, str], View]:
    """A union filesystem of both sources; FIRST and SECOND are replaced by their paths."""

    def view(library: Library, place: str) -> View:
        words = [word.replace("FIRST", library.first).replace("SECOND", library.second) for word in command]
        return mounted([*words, "MOUNTPOINT"], place, library.both, {})

    return view


def _bindfs(library: Library, place: str) -> View:
    return mounted(["bindfs", library.first, "MOUNTPOINT"], place, library.alone, {})


def _floor(library: Library, place: str) -> View:
    command = [sys.executable, "-m", "benchmark.floor", library.first, library.second, "MOUNTPOINT"]
    return mounted(command, place, library.both, {})


@contextlib.contextmanager
def _symlinks(library: Library, place: str) -> Iterator[Subject]:
    """A link farm: a directory per artist with a symbolic link to each folder's winner."""
    top = f"{place}/links-{next(_numbers)}"
    started = time.monotonic()
    os.mkdir(top)
    try:
        for source in (library.first, library.second):
            for artist in os.listdir(source):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(f"{top}/{artist}")
                for album in os.listdir(f"{source}/{artist}"):
                    with contextlib.suppress(FileExistsError):
                        os.symlink(f"{source}/{artist}/{album}", f"{top}/{artist}/{album}")
        yield Subject(top, library.both, follow=True, seconds=time.monotonic() - started)
    finally:
        shutil.rmtree(top)


@contextlib.contextmanager
def _bare(library: Library, place: str) -> Iterator[Subject]:
    """The first source itself."""
    yield Subject(library.first, library.alone)


def everybody(fast_path: bool) -> tuple[Peer, ...]:
    """All peers; ours comes first."""
    sources = "FIRST:SECOND"
    return (
        Peer(OURS, _ours(plain=not fast_path)),
        Peer("mmirrorfs-plain", _ours(plain=True)),
        Peer(FLOOR, _floor, unites=False, starts=False),
        Peer(TUNED_PEER, _union("mergerfs", "-o", TUNED, sources), "mergerfs", ("mergerfs", "-V")),
        Peer("mergerfs", _union("mergerfs", sources), "mergerfs", ("mergerfs", "-V")),
        Peer("unionfs-fuse", _union("unionfs-fuse", "FIRST=RO:SECOND=RO"), "unionfs-fuse", ("unionfs-fuse", "-V")),
        Peer("bindfs", _bindfs, "bindfs", ("bindfs", "-V"), unites=False),
        Peer("symlinks", _symlinks),
        Peer(BARE, _bare, unites=False, starts=False),
    )


NAMES = tuple(peer.name for peer in everybody(fast_path=True))


def available(peers: Sequence[Peer], library: Library, place: str) -> tuple[list[Peer], dict[str, str]]:
    """The peers that can mount this library here (each is tried once), and why the others cannot. Ours must."""
    present, left_out = [], {}
    for peer in peers:
        try:
            if peer.program is not None and shutil.which(peer.program) is None:
                raise BenchmarkError(f"{peer.program} is not installed (--install installs it)")
            with peer.view(library, place):
                present.append(peer)
        except BenchmarkError as error:
            if peer.name == OURS:
                raise
            left_out[peer.name] = str(error)
    return present, left_out
