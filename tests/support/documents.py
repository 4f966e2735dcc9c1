"""README.md, CONTRIBUTING.md, CHANGELOG.md and docs/: their fenced blocks, and the sessions in them, run.

1. ``console`` is a session: commands after ``$ ``, each with its output. ``sh`` is run as a whole, and must succeed. A
   block with ``not-run`` after its language is not run.
2. A session runs in a mount namespace, in /srv, which has the library of the documents. /srv, /mnt, /run and
   /usr/local/bin are the namespace's own.
3. Output is compared exactly, except times, dates, versions, process ids and the kind of watch; ``...`` stands for
   anything in a line, or alone for any lines. A command that only reads is repeated until its output is as shown.
"""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import mmirrorfs
from tests.support.namespace import Inside, namespace
from tests.support.trees import Tree, grow
from tests.support.users import AS_NOBODY

ROOT = Path(mmirrorfs.__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
LANGUAGES = {"console", "sh", "toml", "fstab", "ini", "json", "text"}
LIBRARY: Tree = {
    b"flac": {
        b"Mira Lund": {b"Harbour": {b"01 Ebb.flac": b"e"}, b"Lighthouse": {b"01 Lamp.flac": b"l"}},
        b"Tin Sparrows": {b"Rooftops": {b"01 Tiles.flac": b"t"}},
    },
    b"mp3": {
        b"Mira Lund": {b"Harbour": {b"01 Ebb.mp3": b"", b"02 Flow.mp3": b"", b"cover.jpg": b""}},
        b"Tin Sparrows": {b"Quay": {b"01 Rope.mp3": b"r"}, b"Rooftops [MP3]": {b"01 Tiles.mp3": b"t"}},
    },
}
"""The content of /srv at the start of each document."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, whether it may be run, its text, and its first line's number."""

    language: str
    is_run: bool
    text: str
    line: int

    def steps(self) -> list[tuple[str, list[str]]]:
        """The commands of a session, each with the lines of its output."""
        found: list[tuple[str, list[str]]] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif line.startswith("> ") and not found[-1][1]:
                found[-1] = (f"{found[-1][0]}\n{line[2:]}", [])
            else:
                found[-1][1].append(line)
        return found

    def commands(self) -> str:
        """The commands in it, as a shell script."""
        return "\n".join(command for command, _ in self.steps()) if self.language == "console" else self.text


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    text = page.read_text()
    found = re.finditer(r"^```(\w*)( not-run)?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(one[1], not one[2], one[3], text[: one.start()].count("\n") + 2) for one in found]


def prose(page: Path) -> str:
    """A page without its blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


_VARYING = (
    (r"\d{4}-\d\d-\d\d( \d\d:\d\d(:\d\d)?)?", "DATE"),
    (r"\b(process|pid|after) \d+", r"\1 N"),
    (r"\b\d+(\.\d+)? (s|ms)\b", "TIME"),
    (r"\b\d+(\.\d+)+[\w+-]*", "VERSION"),
    (r"\b\d{1,3}(,\d{3})+\b|\b\d{4,}\b", "MANY"),
    (r"changes are reported by .*", "REPORTED"),
)


def _constant(line: str) -> str:
    """A line with everything replaced that varies from run to run."""
    for pattern, what in _VARYING:
        line = re.sub(pattern, what, line)
    return line.rstrip()


def is_as_shown(shown: list[str], seen: list[str]) -> bool:
    """Whether a command's output is what a document shows."""
    patterns = [r"(.*\n)*" if line == "..." else f"{_pattern(line)}\n" for line in shown]
    return re.fullmatch("".join(patterns), "".join(f"{_constant(line)}\n" for line in seen)) is not None


def _pattern(line: str) -> str:
    return re.escape(_constant(line)).replace(r"\.\.\.", ".*")


_READS = re.compile(r"(ls|cat|grep|getfattr|mmirrorfs --(status|explain|doctor|simulate))\b")
_BOUND = 10.0
"""Seconds that a change may take to show."""
LONGEST = 200
"""Seconds that a session may take."""
_PATH = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass
class Session:
    """A shell in a namespace. Its directory and variables persist from one command to the next."""

    inside: Inside
    shell: "subprocess.Popen[bytes]"
    turns: Iterator[int] = field(default_factory=lambda: iter(range(1_000_000)))

    def run(self, command: str) -> tuple[int, list[str]]:
        """Run a command; returns its exit status, and the lines of its stdout and stderr."""
        assert self.shell.stdin is not None
        assert self.shell.stdout is not None
        out = self.inside.place / f"out-{next(self.turns)}"
        if re.fullmatch(r"mmirrorfs --simulate [^|>]*", command):
            command = f"NO_COLOR=1 PAGER=cat script -qec '{command}' /dev/null"
        self.shell.stdin.write(f"{{ {command}\n}} >{out} 2>&1 </dev/null; echo $?\n".encode())
        self.shell.stdin.flush()
        status = int(self.shell.stdout.readline())
        return status, out.read_bytes().decode(errors="replace").replace("\r", "").splitlines()

    def check(self, command: str, shown: list[str]) -> list[str]:
        """Run a command, repeatedly if it only reads, until its output is as shown. Returns the last output."""
        last = time.monotonic() + _BOUND
        while True:
            status, seen = self.run(command)
            if is_as_shown(shown, seen) and (shown or status == 0):
                return seen
            if not _READS.match(command) or time.monotonic() > last:
                raise AssertionError(f"$ {command} ended with {status}\n" + "\n".join(seen))
            time.sleep(0.02)


_PROGRAMS = {
    "mmirrorfs": f'exec env PYTHONPATH="{ROOT}" "{sys.executable}" -m mmirrorfs "$@"',
    "sudo": f'[ "$1" = -u ] || exec "$@"; shift 2; exec {" ".join(AS_NOBODY)} "$@"',
}


@contextlib.contextmanager
def session(place: Path, with_user: bool = False) -> Iterator[Session]:
    """A root shell in the library's directory, where ``sudo -u nobody`` works. Mounts are removed with it."""
    with namespace(place) as inside:
        mine = inside.cover("/usr/local/bin")
        for where in ("/srv", "/mnt"):
            inside.output_of("mount", "-t", "tmpfs", "none", where)
        grow(inside.seen(Path("/srv")), LIBRARY)
        if os.path.exists("/etc/fuse.conf"):  # that of this machine may have user_allow_other
            inside.output_of("mount", "--bind", "/dev/null", "/etc/fuse.conf")
        if with_user:
            inside.let_everybody_open_fuse()
        for name, script in _PROGRAMS.items():
            (mine / name).unlink(missing_ok=True)
            (mine / name).write_text(f"#!/bin/sh\n{script}\n")
            (mine / name).chmod(0o755)
        words = inside.words("env", "-C", "/srv", "LC_ALL=C.UTF-8", f"PATH={_PATH}", "timeout", str(LONGEST), "bash")
        shell = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            yield Session(inside, shell)
        finally:
            shell.kill()
            shell.communicate()
