"""A mount namespace for one test.

1. Nothing outside is changed: directories that must differ are covered by mounts in the namespace.
2. When the block ends, all processes in the namespace are killed; the kernel removes the mounts with the last one.
3. Copies of mounted views are unmounted first: otherwise their daemons could not exit.
4. Tests access files in it through /proc/PID/root, which blocks on a hung mount.
"""

import ast
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.kernel import TYPE
from tests.support.polling import poll
from tests.support.reach import IMPORTS, opening
from tests.support.users import AS_NOBODY, Word, need, run


@dataclass(frozen=True, slots=True)
class Line:
    """A view in the mount table of the namespace. ``what`` is its source field, unescaped.

    ``options`` has "ro" or "rw" of the mount, not of the superblock.
    """

    where: bytes
    what: bytes
    options: frozenset[str]


@dataclass(frozen=True, slots=True)
class Inside:
    """The namespace, which the process ``pid`` keeps; ``place`` is the test's directory."""

    pid: int
    place: Path

    def run(
        self, *command: Word, seconds: float = 30, environment: dict[str, str] | None = None
    ) -> "subprocess.CompletedProcess[bytes]":
        """Run a program in here, in the test's directory."""
        return run(*self.words(*command), seconds=seconds, environment=environment)

    def words(self, *command: Word) -> list[Word]:
        """The command line that runs a program in here, in the test's directory."""
        return [need("nsenter"), f"--mount=/proc/{self.pid}/ns/mnt", f"--wd={self.place}", "--", *command]

    def output_of(self, *command: Word) -> bytes:
        """The stdout of a program in here. Raises AssertionError when it fails."""
        done = self.run(*command)
        assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stderr!r} {done.stdout!r}"
        return done.stdout

    def seen(self, path: Path) -> Path:
        """A path of the namespace, from outside."""
        return Path(f"/proc/{self.pid}/root{path}")

    def views(self) -> list[Line]:
        """The views mounted in here, hung or not, in the order of mounting."""
        lines = Path(f"/proc/{self.pid}/mountinfo").read_bytes().splitlines()
        return [parsed for parsed in map(_parsed, lines) if parsed is not None]

    def processes(self) -> list[int]:
        """The processes in here, except the one that keeps the namespace."""
        own = os.readlink(f"/proc/{self.pid}/ns/mnt")
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{name}/ns/mnt") == own and int(name) != self.pid:
                    found.append(int(name))
        return found

    def daemon(self) -> int:
        """The id of the daemon, once its crawlers have exited."""
        poll(lambda: len(self.processes()) == 1, "one process, and no other")
        return self.processes()[0]

    def unmount(self, where: Path) -> None:
        """Unmount a view, and wait until its daemon has exited."""
        self.output_of("umount", where)
        poll(lambda: not self.processes(), "the exit of all processes")

    def cover(self, directory: str) -> Path:
        """Cover ``directory`` by a new one with links to the real one's entries; returns the new one."""
        real, mine = self.place / f"real{directory}", self.place / f"mine{directory}"
        real.mkdir(parents=True)
        mine.mkdir(parents=True)
        self.output_of("mount", "--bind", directory, real)
        for name in os.listdir(directory):
            os.symlink(real / name, mine / name)
        self.output_of("mount", "--bind", mine, directory)
        return mine

    def let_everybody_open_fuse(self) -> None:
        """Let a plain user open /dev/fuse, as on a desktop, and run the command. Skips the test where that fails."""
        self.output_of("sh", "-ec", opening())
        if self.run_as_nobody(*IMPORTS).returncode != 0:
            pytest.skip(f"a plain user cannot run {sys.executable}")
        device = self.place / "fuse"
        os.mknod(device, 0o020666, os.stat("/dev/fuse").st_rdev)
        device.chmod(0o666)
        try:
            os.close(os.open(device, os.O_RDWR))
        except OSError as error:
            pytest.skip(f"a device made in {self.place.parent} cannot be opened: {error.strerror}")
        self.output_of("mount", "--bind", device, "/dev/fuse")

    def run_as_nobody(self, *command: Word) -> "subprocess.CompletedProcess[bytes]":
        """Run a program in here as a plain user."""
        return self.run(*AS_NOBODY, *command)


def _parsed(line: bytes) -> Line | None:
    fields, _, rest = line.partition(b" - ")
    _, _, _, _, where, options, *_ = fields.split(b" ")
    kind, what, superblock = rest.split(b" ", 2)
    words = frozenset(options.decode().split(",")) | frozenset(superblock.decode().split(",")) - {"rw", "ro"}
    return Line(_unescaped(where), _unescaped(what), words) if kind == TYPE else None


def _unescaped(text: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), text)


@contextlib.contextmanager
def namespace(place: Path) -> Iterator[Inside]:
    """A new mount namespace with its own /run, where mount(8) keeps its state."""
    need("nsenter")
    script = (
        f"umount --lazy --internal-only --all --types {TYPE.decode()},fuse.hanging || true; "
        "mount -t tmpfs none /run; mkdir /run/mount; echo ready; exec cat"
    )
    holder = subprocess.Popen(
        [need("unshare"), "--mount", "sh", "-ec", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    inside = Inside(holder.pid, place)
    try:
        if holder.stdout.readline() != b"ready\n":
            pytest.skip("a mount namespace cannot be made here")
        yield inside
    finally:
        if holder.poll() is None:
            poll(lambda: not _kill(inside.processes()), "the exit of all processes in the namespace")
        holder.kill()
        holder.communicate()


def _kill(pids: list[int]) -> list[int]:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return pids


@dataclass(frozen=True, slots=True)
class Program:
    """The command as an executable file that records its arguments."""

    path: Path
    _calls: Path

    def calls(self) -> list[list[bytes]]:
        """The arguments of each call, argv[0] first."""
        return [ast.literal_eval(line) for line in self._calls.read_text().splitlines()]

    def forget(self) -> None:
        """Forget the calls so far."""
        self._calls.write_text("")


def program(directory: Path) -> Program:
    """Make the program in a directory."""
    directory.mkdir(exist_ok=True)
    path, calls = directory / "mmirrorfs", directory / "calls"
    path.write_text(
        f"#!{sys.executable}\nimport os, sys\nfrom mmirrorfs.cli.main import main\n"
        f"print([os.fsencode(word) for word in sys.argv], file=open({str(calls)!r}, 'a'))\nmain()\n"
    )
    path.chmod(0o755)
    calls.touch()
    calls.chmod(0o666)
    return Program(path, calls)
