"""What a daemon holds: counted from outside, so that what is lost shows, however little it is.

The kernel's own memory of names is given back before inodes are counted, and a view is asked about itself only where
it is known to answer; the rest is read from /proc and /sys, which nothing can hold up.
"""

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.handles import FORGET, forget
from tests.support.kernel import view_at
from tests.support.mounts import View
from tests.support.polling import holds, poll

CONNECTIONS = Path("/sys/fs/fuse/connections")
RESTING = 9
"""Threads that a daemon of two sources has at rest, at the most: the loop, a probe, three ways with a notifier and an
announcer each, and one that has nothing to do.
"""
REST = 0.7
"""Seconds without a look after which none is under way."""
STEADY = 10
"""Looks in a row that find the same, of what is at rest: descriptors of a FUSE source are closed by threads."""
IDLE = 20.0
"""Seconds after which threads that nobody needs are gone; trio keeps them for ten."""


@dataclass(frozen=True, slots=True)
class Held:
    """Descriptors, requests that have no answer, and what the view counts itself.

    ``inodes`` has the root in it; it is 0 where the kernel cannot be asked to give back what it remembers.
    """

    descriptors: int
    waiting: int
    inodes: int
    open_files: int
    open_directories: int


def status(view: View) -> dict[str, Any]:
    """What the view tells of itself."""
    return dict(json.loads(os.getxattr(view.mountpoint, "user.mmirrorfs.status")))


def crawls(view: View) -> list[dict[str, object]]:
    """How far the crawl of each source is."""
    return [source["crawl"] for source in status(view)["sources"]]


def crawled(view: View) -> None:
    """Wait until all is known; a machine that is busy with something else may take its time."""
    poll(lambda: all(crawl["state"] == "done" for crawl in crawls(view)), "the end of the crawl", 60)


def rested(view: View) -> None:
    """Wait until nobody looks: all of a source is looked at once mounted, and when the mount table moves."""
    poll(lambda: all(time.time() - source["looked"] > REST for source in status(view)["sources"]), "a rest", 60)


def descriptors(view: View) -> int:
    """How many the daemon has."""
    return len(os.listdir(f"/proc/{view.pid}/fd"))


def threads(view: View) -> int:
    """How many the daemon has."""
    return _figure(view, "Threads")


def resident(view: View) -> int:
    """Bytes that the daemon has in memory."""
    return _figure(view, "VmRSS") << 10


def _figure(view: View, name: str) -> int:
    with open(f"/proc/{view.pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name + ":"))


def waiting(view: View) -> int:
    """Requests that the kernel waits for; 0 where only root may know."""
    mount = view_at(view.where)
    assert mount is not None, f"{view.mountpoint} is gone"
    file = CONNECTIONS / str(mount.connection) / "waiting"
    return int(file.read_text()) if os.access(file, os.R_OK) else 0


def held(view: View) -> Held:
    """What the daemon holds when the kernel has given back what it can; only root may ask it to."""
    forgets = os.access(FORGET, os.W_OK)
    if forgets:
        forget()
    told = status(view)
    inodes = told["inodes"] if forgets else 0
    return Held(descriptors(view), waiting(view), inodes, told["open_files"], told["open_directories"])


def comes_back(view: View, before: Held, seconds: float = IDLE) -> None:
    """Wait until the daemon holds what it held ``before``, and rests."""
    assert holds(lambda: held(view) == before, seconds), f"{held(view)} is left of {before}"
    assert holds(lambda: threads(view) <= RESTING, seconds), f"{threads(view)} threads are left"


def at_rest(view: View) -> Held:
    """What a daemon holds whose view nobody uses."""
    poll(lambda: held(view).inodes <= 1, f"everything of {view.mountpoint} forgotten", IDLE)
    seen: list[Held] = []

    def is_steady() -> bool:
        seen.append(held(view))
        return len(seen) >= STEADY and len(set(seen[-STEADY:])) == 1

    poll(is_steady, f"a steady {view.mountpoint}", IDLE)
    return seen[-1]


QUIET = ["--refresh=6000", "--watch=off", "--crawl=off"]
"""Nobody looks but who asks."""


def refresh(view: View) -> None:
    """Have the sources looked at, and wait until that is over."""
    before = looks(view)
    view.send(signal.SIGHUP)
    poll(lambda: all(now > then for now, then in zip(looks(view), before, strict=True)), "a look at each source")


def looks(view: View) -> list[float]:
    """When each source was last looked at."""
    status = json.loads(os.getxattr(view.mountpoint, "user.mmirrorfs.status"))
    return [source["looked"] for source in status["sources"]]
