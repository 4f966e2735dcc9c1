"""Which view a process serves, told in a way that needs no answer from it: for a daemon that is stopped, or busy.

The daemon holds a memfd whose name says its mount's device number and the view's identity; /proc/PID/fd shows it.

Rule 1: what counts is who made the memfd, not who holds it: descriptors can be passed to anybody's process.
Rule 2: nothing is looked at but memfds: a file on somebody's filesystem may bear the same name, any owner, and hang.
Rule 3: device numbers are used again, so a daemon that lost its mount while it was stopped may claim another's. Callers
believe a claim only where all agree.
"""

import contextlib
import os
import re
from collections.abc import Iterator

from mmirrorfs.source.filesystems import Mount

_WORD = "mmirrorfs"


def claim(mount: Mount, identity: str) -> None:
    """Claim to serve this view on the mount, from now until this process ends."""
    with contextlib.suppress(OSError):
        os.memfd_create(f"{_WORD} {mount.device} {identity}")


def claims(mount: Mount, owner: int) -> set[str]:
    """The identities of the views that processes claim to serve on the mount; those made by user ``owner`` alone."""
    pattern = re.compile(rf"/memfd:{_WORD} {mount.device} (\w+) \(deleted\)")
    own = os.memfd_create("compared")
    try:
        memfds = _mount_id("self", own)
        return {
            match[1]
            for pid, descriptor, target in _descriptors()
            if (match := pattern.fullmatch(target)) and _is_made_by(owner, pid, descriptor, memfds)
        }
    finally:
        os.close(own)


def _descriptors() -> Iterator[tuple[str, str, str]]:
    """(process, descriptor, what it is called) of all that may be seen."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    yield pid, descriptor, os.readlink(f"/proc/{pid}/fd/{descriptor}")


def _is_made_by(owner: int, pid: str, descriptor: str, memfds: str) -> bool:
    """Whether it is a memfd, as all of them are on one mount of the kernel's own, and made by the user."""
    with contextlib.suppress(OSError):
        return _mount_id(pid, descriptor) == memfds and os.stat(f"/proc/{pid}/fd/{descriptor}").st_uid == owner
    return False


def _mount_id(pid: str, descriptor: str | int) -> str:
    with open(f"/proc/{pid}/fdinfo/{descriptor}") as file:
        return next(line.split()[1] for line in file if line.startswith("mnt_id:"))
