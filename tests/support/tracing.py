"""Counts the FUSE requests that a daemon gets, and the system calls that it makes on its sources, by strace(1).

A section of strace's output ends where the daemon was asked for an extended attribute that no file has: requests are
served in order, so that all earlier ones have been answered by then.
"""

import contextlib
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.polling import poll

OPCODES = {
    1: "LOOKUP",
    2: "FORGET",
    3: "GETATTR",
    5: "READLINK",
    14: "OPEN",
    15: "READ",
    17: "STATFS",
    18: "RELEASE",
    22: "GETXATTR",
    23: "LISTXATTR",
    25: "FLUSH",
    27: "OPENDIR",
    28: "READDIR",
    29: "RELEASEDIR",
    36: "INTERRUPT",
    42: "BATCH_FORGET",
    44: "READDIRPLUS",
}
"""The names of the requests of a read-only mount, from <linux/fuse.h>."""

ALIKE = {
    "openat": "open",
    "openat2": "open",
    "preadv2": "read",
    "pread64": "read",
    "faccessat2": "faccessat",
    "fstat": "newfstatat",
}
"""Calls that are equivalent: the loop uses one and a thread another, or C libraries differ."""

BOOKKEEPING = ("fcntl", "lseek", "write")
"""Calls that do not count: what the C library does with a directory's descriptor, and the log."""

MARK = "user.mmirrorfs.mark%d"
"""An extended attribute that no file has."""

_HEX = re.compile(r"(?:\\x[0-9a-f]{2})+")
_CALL = re.compile(r"(\w+)\(")


@dataclass
class Costs:
    """The cost of an operation: requests by name, and successful system calls on the sources by name."""

    requests: dict[str, int]
    calls: dict[str, int]


@dataclass
class Trace:
    """strace's output for a running daemon. ``sources`` is the directory that contains all sources."""

    record: Path
    mountpoint: Path
    sources: Path
    _marks: int = 0
    _read: int = 0
    _pending: dict[str, str] = field(default_factory=dict)

    def costs(self, work: Callable[[], object]) -> Costs:
        """Call ``work`` in this process, and count what the daemon did meanwhile."""
        self._upto_mark()
        work()
        return self._counted(self._upto_mark())

    def _upto_mark(self) -> list[str]:
        """End a section; returns its lines, each a whole call."""
        self._marks += 1
        mark = MARK % self._marks
        with contextlib.suppress(OSError):
            os.getxattr(self.mountpoint, mark)
        end = "".join(f"\\x{byte:02x}" for byte in mark.encode() + b"\0")
        poll(lambda: end in self.record.read_text()[self._read :], f"{mark} in the record")
        text = self.record.read_text()
        cut = text.index("\n", text.index(end, self._read)) + 1
        lines, self._read = text[self._read : cut].splitlines(), cut
        return [whole for line in lines if (whole := self._whole(line)) and end not in whole]

    def _whole(self, line: str) -> str | None:
        """Join the two lines of a call that strace has split because another thread made one meanwhile."""
        thread, _, call = line.partition(" ")
        call = call.strip()
        if call.endswith("<unfinished ...>"):
            self._pending[thread] = call.removesuffix("<unfinished ...>")
            return None
        if call.startswith("<... "):
            return self._pending.pop(thread, "") + call.partition("resumed>")[2]
        return call

    def _counted(self, lines: list[str]) -> Costs:
        requests: Counter[str] = Counter()
        calls: Counter[str] = Counter()
        inside = os.fsdecode(self.sources)
        for line in lines:
            text = _HEX.sub(lambda found: bytes.fromhex(found[0].replace("\\x", "")).decode("latin-1"), line)
            name = _CALL.match(text)
            if name is None or " = -1 " in text:
                continue
            if "</dev/fuse>" in text:
                if name[1] == "read":
                    requests[_request(text)] += 1
            elif inside in text and name[1] not in BOOKKEEPING:
                calls[ALIKE.get(name[1], name[1])] += 1
        return Costs(dict(requests), dict(calls))


def _request(text: str) -> str:
    """The name of a request: its header starts with two 32-bit numbers, the length and the opcode."""
    header = text.partition('"')[2].encode("latin-1")
    code = int.from_bytes(header[4:8], "little")
    return OPCODES.get(code, str(code))


@contextlib.contextmanager
def traced(pid: int, mountpoint: Path, sources: Path) -> Iterator[Trace]:
    """Trace the process ``pid`` while the block runs."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    record = mountpoint.parent / "record"
    record.touch()
    words = [strace, "-f", "-y", "-xx", "-s", "120", "-o", str(record), "-p", str(pid)]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            if b"attached" not in said:
                pytest.skip(f"strace may not look at other processes here: {os.fsdecode(said).strip()}")
            yield Trace(record, mountpoint, sources)
        finally:
            process.terminate()
            process.wait(10)
