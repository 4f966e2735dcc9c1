"""The resources that a daemon holds, counted from outside to find leaks.

These are descriptors, unanswered requests, inodes, threads and memory.

The kernel's dentry cache is dropped before inodes are counted. A view's own status is read only where the view is known
to answer; everything else comes from /proc and /sys, which cannot block.
"""

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.handles import FORGET, forget
from tests.support.kernel import CONNECTIONS, view_at
from tests.support.mounts import View
from tests.support.polling import holds, poll

RESTING = 9
"""Most threads of an idle daemon of two sources: the loop, a probe, a notifier and an announcer for each of three
connections, and an idle one.
"""
REST = 0.7
"""Seconds since the last scan after which none is in progress."""
STEADY = 10
"""Consecutive equal counts of an idle daemon: descriptors of a FUSE source are closed by threads, with a delay."""
IDLE = 20.0
"""Seconds after which idle threads have exited; trio keeps them for ten."""


@dataclass(frozen=True, slots=True)
class Held:
    """Descriptors, unanswered requests, and the counts of the view's own status.

    ``inodes`` includes the root; it is 0 where the dentry cache cannot be dropped.
    """

    descriptors: int
    waiting: int
    inodes: int
    open_files: int
    open_directories: int


def status(view: View) -> dict[str, Any]:
    """The view's own status."""
    return dict(json.loads(os.getxattr(view.mountpoint, "user.mmirrorfs.status")))


def crawls(view: View) -> list[dict[str, object]]:
    """The progress of each source's crawl."""
    return [source["crawl"] for source in status(view)["sources"]]


def crawled(view: View) -> None:
    """Wait until all crawls are done, for up to a minute."""
    poll(lambda: all(crawl["state"] == "done" for crawl in crawls(view)), "the end of the crawl", 60)


def rested(view: View) -> None:
    """Wait until no scan is in progress: one starts with the mount, and whenever the mount table changes."""
    poll(lambda: all(time.time() - source["looked"] > REST for source in status(view)["sources"]), "a rest", 60)


def descriptors(view: View) -> int:
    """How many the daemon has."""
    return len(os.listdir(f"/proc/{view.pid}/fd"))


def threads(view: View) -> int:
    """How many the daemon has."""
    return _figure(view, "Threads")


def resident(view: View) -> int:
    """The daemon's resident memory in bytes."""
    return _figure(view, "VmRSS") << 10


def _figure(view: View, name: str) -> int:
    with open(f"/proc/{view.pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name + ":"))


def waiting(view: View) -> int:
    """Unanswered requests of the connection; 0 where only root may read that."""
    mount = view_at(view.where)
    assert mount is not None, f"{view.mountpoint} is gone"
    file = Path(f"{CONNECTIONS}/{mount.connection}/waiting")
    return int(file.read_text()) if os.access(file, os.R_OK) else 0


def held(view: View) -> Held:
    """What the daemon holds after the dentry cache was dropped, which only root may do."""
    forgets = os.access(FORGET, os.W_OK)
    if forgets:
        forget()
    counts = status(view)
    inodes = counts["inodes"] if forgets else 0
    return Held(descriptors(view), waiting(view), inodes, counts["open_files"], counts["open_directories"])


def comes_back(view: View, before: Held, seconds: float = IDLE) -> None:
    """Wait until the daemon is idle and holds what it held ``before``."""
    assert holds(lambda: held(view) == before, seconds), f"{held(view)} is left of {before}"
    assert holds(lambda: threads(view) <= RESTING, seconds), f"{threads(view)} threads are left"


def at_rest(view: View) -> Held:
    """What the daemon of an unused view holds."""
    poll(lambda: held(view).inodes <= 1, f"everything of {view.mountpoint} forgotten", IDLE)
    seen: list[Held] = []

    def is_steady() -> bool:
        seen.append(held(view))
        return len(seen) >= STEADY and len(set(seen[-STEADY:])) == 1

    poll(is_steady, f"a steady {view.mountpoint}", IDLE)
    return seen[-1]


QUIET = ["--refresh=6000", "--watch=off", "--crawl=off"]
"""Options that disable automatic scans."""


def refresh(view: View) -> None:
    """Request a scan of all sources and wait for its end."""
    before = last_scans(view)
    view.send(signal.SIGHUP)
    poll(lambda: all(now > then for now, then in zip(last_scans(view), before, strict=True)), "a scan of each source")


def last_scans(view: View) -> list[float]:
    """The time of each source's last scan."""
    status = json.loads(os.getxattr(view.mountpoint, "user.mmirrorfs.status"))
    return [source["looked"] for source in status["sources"]]
