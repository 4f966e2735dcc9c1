"""Turns what libfuse writes to stderr when a mount fails into one line of advice. libfuse reports it nowhere else."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mmirrorfs.text import printable

_ADVICE = (
    (
        r"user_allow_other",
        "allow_other needs a line user_allow_other in /etc/fuse.conf: ask root to add it, or leave allow_other out",
    ),
    (r"no write access to mountpoint", "a mountpoint must belong to the user who mounts: choose one of your own"),
    (r"not owned by", "a mountpoint must belong to the user who mounts: choose one of your own"),
    (
        r"device (/dev/fuse )?not found|/dev/fuse.*No such",
        "/dev/fuse is missing: load the module (modprobe fuse); in a container, start that with --device /dev/fuse",
    ),
    (
        r"failed to open /dev/fuse: (Permission|Operation)",
        "/dev/fuse may not be opened: this container or sandbox forbids FUSE mounts",
    ),
    (r"(exec|posix_spawn).*fusermount3?|fusermount3?.*not found", "fusermount3 is missing: install the package fuse3"),
    (
        r"[Oo]peration not permitted",
        "mounting is not permitted: become root, or see that fusermount3 is setuid root; in a container, start that "
        "with --cap-add SYS_ADMIN",
    ),
    (
        r"mount failed: Permission denied",
        "mounting is forbidden: in a container, start that with --security-opt apparmor=unconfined",
    ),
)  # fmt: skip


@dataclass(slots=True)
class Captured:
    """The captured output: ``text`` is set when the block ends."""

    text: str = ""


@contextmanager
def captured_stderr() -> Iterator[Captured]:
    """Capture what a library writes to descriptor 2. Before any thread starts."""
    captured = Captured()
    buffer, real = os.memfd_create("stderr"), os.dup(2)
    os.dup2(buffer, 2)
    try:
        yield captured
    finally:
        os.dup2(real, 2)
        os.close(real)
        captured.text = os.pread(buffer, 1 << 16, 0).decode(errors="replace")
        os.close(buffer)


def advice_for(output: str) -> str:
    """Advice if the error is known, else the last line of libfuse's output."""
    lines = [line for line in output.splitlines() if line.strip()]
    for pattern, advice in _ADVICE:
        if any(re.search(pattern, line) for line in lines):
            return advice
    return printable(lines[-1]) if lines else "the kernel refused it"
