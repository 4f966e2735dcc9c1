"""Directories of a view that are in use are left alone by changes elsewhere: by their users' names they stay what they
are. In use are a working directory, open files and directories, bind mounts of them, and what is mounted on them.
"""

import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.held import crawled
from tests.support.kernel import mounted_under
from tests.support.mounts import View, mounted
from tests.support.polling import poll
from tests.support.trees import Tree, grow
from tests.support.users import needs_root, output_of
from tests.support.watched import HOURLY

pytestmark = [pytest.mark.waits, needs_root]

HIGH: Tree = {
    b"Ann": {b"Both": {b"1": b"high", b"sub": {b"2": b"high"}}, b"loose": b"loose"},
    b"Bob": {b"Mount": {b"1": b"high"}},
}
LOW: Tree = {b"Ann": {b"Both": {b"1": b"low"}}, b"Cid": {b"Album": {b"1": b"low"}}}
USING = """
import os, sys
os.chdir("Ann")
used = [open("Both/1"), open("loose"), os.open("Both/sub", os.O_RDONLY), os.open("Both", os.O_RDONLY)]
for line in sys.stdin:
    names = [f"/proc/self/fd/{file if isinstance(file, int) else file.fileno()}" for file in used]
    try:
        print(os.getcwd(), *map(os.readlink, names), flush=True)
    except OSError as error:
        print(error, flush=True)
"""
CHANGES: dict[str, Callable[[Path, Path], object]] = {
    "an edit": lambda high, low: (high / "Ann/Both/1").write_bytes(b"edited"),
    "an edit of a loose file": lambda high, low: (high / "Ann/loose").write_bytes(b"edited"),
    "another mode of a file": lambda high, low: (high / "Ann/Both/1").chmod(0o640),
    "another mode of an album": lambda high, low: (high / "Ann/Both").chmod(0o750),
    "another mode of an artist": lambda high, low: (high / "Ann").chmod(0o750),
    "another mode above a mount": lambda high, low: (high / "Bob").chmod(0o750),
    "another mode below a mount": lambda high, low: (high / "Bob/Mount").chmod(0o750),
    "new albums": lambda high, low: [grow(high / name / "New", {b"1": b"1"}) for name in ("Ann", "Bob")],
    "an album less": lambda high, low: (low / "Ann/Both/1").unlink(),
}


class Using:
    """A process in the directory ``Ann`` of a view, which has some of it open."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def names(self) -> list[str]:
        """Its working directory and what it has open, by name, relative to the view."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return [name.rpartition("/view/")[2] for name in self._process.stdout.readline().rstrip("\n").split(" ")]


@contextmanager
def using(view: View) -> Iterator[Using]:
    """A process that uses the view."""
    words, pipe = [sys.executable, "-c", USING], subprocess.PIPE
    with subprocess.Popen(words, cwd=view.mountpoint, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield Using(process)
        finally:
            process.kill()


def mountpoints(place: Path) -> dict[str, str]:
    """The root of each mount below ``place``, by its mountpoint there."""
    lines = [line.split(" ") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return {line[4].removeprefix(f"{place}/"): line[3] for line in lines if line[4].startswith(f"{place}/")}


@pytest.mark.parametrize("options", [[], ["--announce=off"], ["--watch=off", "--refresh=1"]], ids=" ".join)
def test_what_is_in_use_stays_where_it_is_through_changes(place: Path, options: list[str]) -> None:
    release = tuple(int(number) for number in platform.release().split("-")[0].split(".")[:2])
    if release < (6, 2):
        pytest.skip(f"Linux {platform.release()} cannot only expire a name (6.2)")
    high, low, bound = grow(place / "high", HIGH), grow(place / "low", LOW), grow(place / "bound", {})
    with mounted(place / "view", high, low, depth=2, options=[HOURLY, *options]) as view, using(view) as user:
        crawled(view)
        output_of("mount", "-t", "tmpfs", "none", view.mountpoint / "Bob/Mount")
        output_of("mount", "--bind", view.mountpoint / "Ann", bound)
        try:
            names, mounts = ["Ann", "Ann/Both/1", "Ann/loose", "Ann/Both/sub", "Ann/Both"], mountpoints(place)
            assert (user.names(), set(mounts)) == (names, {"view", "view/Bob/Mount", "bound"})
            for what, change in CHANGES.items():
                change(high, low)
                grow(low / what, {b"1": b"1"})
                poll((view.mountpoint / what / "1").exists, what)
                assert (user.names(), mountpoints(place)) == (names, mounts), what
            view.send(signal.SIGHUP)
            grow(low / "all", {b"1": b"1"})
            poll((view.mountpoint / "all/1").exists, "all scanned")
            walked = [os.listdir(directory) for directory, _, _ in os.walk(view.mountpoint)]
            assert ["Both", "New", "loose"] in walked
            assert (user.names(), mountpoints(place)) == (names, mounts), "SIGHUP"
        finally:
            for where in mounted_under(os.fsencode(place)):
                if where != view.where:
                    output_of("umount", "--lazy", where)
