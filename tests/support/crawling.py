"""Crawls of directories on disk by a child process, and the expected result, by lstat(2)."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from mmirrorfs.attributes import Attributes
from mmirrorfs.listing import Listing
from mmirrorfs.source.acl import Read
from mmirrorfs.source.crawl import Plan
from mmirrorfs.source.crawler import Crawl
from mmirrorfs.source.reader import attributes

Found = dict[bytes, dict[bytes, Attributes]]
"""By the path of a directory: the attributes of its entries by name."""

SECONDS = 60.0
"""Time limit of a crawl in seconds: the child has the idle scheduling class, and gets little on a busy machine."""


def expected(root: Path, depth: int, excluded: Callable[[bytes], bool] = lambda name: False) -> Found:
    """All directories from the depth on. Call it after the crawl: listing them may change their atimes."""
    found: Found = {}
    waiting = [(b"", 0)]
    while waiting:
        path, level = waiting.pop()
        whole = os.path.join(os.fsencode(root), path)
        names = {name: attributes(os.lstat(os.path.join(whole, name))) for name in os.listdir(whole)}
        shown = {name: attr for name, attr in names.items() if not excluded(name)}
        if level >= depth:
            found[path] = shown
        waiting += [(os.path.join(path, name), level + 1) for name, attr in shown.items() if attr.kind == 0o040000]
    return found


@dataclass
class Taken:
    """What a crawl offered. ``on_offer`` is called first with each path; at most ``room`` listings are accepted."""

    listings: dict[bytes, Listing] = field(default_factory=dict)
    on_offer: Callable[[bytes], object] = lambda path: None
    cache_limit: int = 1 << 62
    offers: int = 0
    lists: dict[bytes, Read] = field(default_factory=dict)

    def offer(self, path: bytes, listing: Listing) -> bool:
        self.on_offer(path)
        self.offers += 1
        self.listings[path] = listing
        return self.offers < self.cache_limit

    def learn(self, read: Read) -> None:
        self.lists[read.path] = read

    @property
    def found(self) -> Found:
        return {path: dict(listing.entries()) for path, listing in self.listings.items()}


def plan(root: Path, depth: int = 1, excludes: tuple[str, ...] = (), follow: bool = False) -> Plan:
    return Plan(os.fsencode(root.resolve()), depth, excludes, follow)


async def until(condition: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
    """Wait in a trio task until ``condition()`` is true. Raises AssertionError after ``seconds``."""
    with trio.move_on_after(seconds):
        while not condition():
            await trio.sleep(0.01)
        return
    raise AssertionError(f"not within {seconds} s: {what}")


@asynccontextmanager
async def crawling(plan: Plan, found: Taken) -> AsyncIterator[Crawl]:
    """Run a crawl while the block runs; it is cancelled when the block ends."""
    crawl = Crawl(plan, "source", found.offer, found.learn)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(crawl.run)
        yield crawl
        nursery.cancel_scope.cancel()


async def crawled(plan: Plan, found: Taken, seconds: float = SECONDS) -> str:
    """Run a crawl to its end; returns its last state."""
    async with crawling(plan, found) as crawl:
        await until(lambda: crawl.progress.state not in ("off", "crawling"), "the end of the crawl", seconds)
        return crawl.progress.state


def is_gone(pid: int) -> bool:
    """Whether a process has exited; a zombie has."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True
