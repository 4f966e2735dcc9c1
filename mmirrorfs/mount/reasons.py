"""Why a mount could not be made, in one line that says what to do. libfuse knows, but tells stderr only."""

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
class Said:
    """What was written to stderr meanwhile."""

    text: str = ""


@contextmanager
def listening() -> Iterator[Said]:
    """Catch what a library writes to descriptor 2. To be used before any thread starts."""
    said = Said()
    caught, real = os.memfd_create("stderr"), os.dup(2)
    os.dup2(caught, 2)
    try:
        yield said
    finally:
        os.dup2(real, 2)
        os.close(real)
        said.text = os.pread(caught, 1 << 16, 0).decode(errors="replace")
        os.close(caught)


def explained(said: str) -> str:
    """One line for a person: advice where the reason is known, else libfuse's own last word."""
    lines = [line for line in said.splitlines() if line.strip()]
    for pattern, advice in _ADVICE:
        if any(re.search(pattern, line) for line in lines):
            return advice
    return printable(lines[-1]) if lines else "the kernel refused it"
