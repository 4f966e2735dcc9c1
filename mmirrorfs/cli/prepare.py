"""From settings to mount plans: opens and scans the sources, merges their trees for each view, collects its options.

Rule 1: all views of a command share one scan.
Rule 2: a source that is lost during the scan is an error; an empty one is a warning.

Called before trio runs, and before each view gets a process of its own. Raises Problem.
"""

import gc
import logging
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence

from mmirrorfs.cli.errors import FAILED, Problem
from mmirrorfs.cli.positionals import ViewSettings, order_of
from mmirrorfs.cli.settings import Settings
from mmirrorfs.cli.view_options import as_json, command_line, identity, view_options
from mmirrorfs.merge.index import Pairing, merge
from mmirrorfs.merge.names import compiled, matchings, pairing
from mmirrorfs.merge.settled import Matchings
from mmirrorfs.mount.clone import why_not
from mmirrorfs.mount.plan import Plan
from mmirrorfs.plan.advice import Match
from mmirrorfs.serve.probe import Choices
from mmirrorfs.source.crawl import Plan as CrawlPlan
from mmirrorfs.source.exclude import excluded_by
from mmirrorfs.source.freshness import Freshness
from mmirrorfs.source.source import Source, SourceLost
from mmirrorfs.text import printable
from mmirrorfs.tree import Directory, Rank
from mmirrorfs.view.state import State

log = logging.getLogger(__name__)


def plans(settings: Settings) -> list[Plan]:
    """Scan all sources concurrently and plan each view. Raises Problem where a source is lost."""
    sources = open_sources(settings)
    trees = scan(sources)
    _warn_of_unknown_names(settings, trees)
    return [_plan(settings, view, sources, trees) for view in settings.views]


def open_sources(settings: Settings) -> list[Source]:
    """Open the sources. Views share them until each gets a process of its own. Raises Problem.

    Half of ``--timeout`` is the limit after which cached data is served; only what is not cached takes all of it.
    """
    excluded, limit = excluded_by(settings.excludes), settings.timeout / 2 or math.inf
    try:
        return [
            Source(
                Rank(rank),
                source.name,
                source.path,
                settings.depth,
                excluded,
                settings.follow,
                skip_empty=settings.skip_empty,
                limit=limit,
            )
            for rank, source in enumerate(settings.sources)
        ]
    except OSError as error:
        raise Problem(f"a source went away: {error.strerror}", FAILED) from None


def pairing_of(settings: Settings) -> Pairing:
    """The rules by which names are paired, as the merge takes them."""
    return pairing(settings.match, [compiled(pattern) for pattern in settings.ignores], settings.rules)


def matchings_of(settings: Settings) -> Matchings:
    """The same rules, as tables."""
    return matchings(settings.match, [compiled(pattern) for pattern in settings.ignores], settings.rules)


def unknown_names(settings: Settings, trees: Sequence[Directory]) -> list[tuple[bytes, str]]:
    """The names in [[same]] and [[apart]] that no source has: (directory of the view, message)."""
    if not settings.rules:
        return []
    index = merge(tuple(trees), [Rank(rank) for rank in range(len(trees))], pairing_of(settings))
    found = matchings_of(settings).unknown(index)
    return [(rule.where or b"", f"{rule.label}: no source has {name.decode()}") for rule, name in found]


def _warn_of_unknown_names(settings: Settings, trees: Sequence[Directory]) -> None:
    found = unknown_names(settings, trees)
    for where, text in found[:MOST_WARNINGS]:
        log.warning("%s%s", printable(text), f" in {printable(where)}" if where else "")
    if len(found) > MOST_WARNINGS:
        log.warning("and %d more names that no source has; mmirrorfs --simulate names all", len(found) - MOST_WARNINGS)


MOST_WARNINGS = 10
"""Warnings about unknown names that are logged one by one."""


def scan(sources: Sequence[Source]) -> list[Directory]:
    """The trees of all sources. Raises Problem where a source is lost.

    Disables the garbage collector until ``tuning.settle_memory``: the trees are permanent, and collecting them is slow.
    """
    gc.disable()
    trees: dict[int, Directory] = {}
    lost: list[str] = []
    count = Progress("scanning")

    def scan_one(source: Source) -> None:
        try:
            trees[source.rank] = source.scan(None, count.add, brief=source.local)
        except SourceLost as error:
            lost.append(f"source {printable(source.path)} cannot be read: {error.reason}")

    in_threads(sources, scan_one, count)
    if lost:
        raise Problem(lost[0], FAILED)
    for source in sources:
        if not trees[source.rank].entries:
            log.warning(
                "source %s (%s) is empty; what appears in it will be shown", source.name, printable(source.path)
            )
    return [trees[source.rank] for source in sources]


def in_threads(sources: Sequence[Source], work: Callable[[Source], None], progress: "Progress") -> None:
    """Call ``work`` for all sources in threads, and wait for them, showing the progress.

    Each network source has a thread. Local ones share one: two threads that never block only contend for the GIL, and
    took three times as long as one after the other. After KeyboardInterrupt the threads are abandoned, as daemons, for
    one may be blocked in a hung source.
    """

    def work_on(*group: Source) -> None:
        for source in group:
            work(source)

    local = [source for source in sources if source.local]
    groups = [local, *[[source] for source in sources if not source.local]]
    threads = [threading.Thread(target=work_on, args=group, daemon=True) for group in groups]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.1)
            progress.show()
    progress.clear()


def _plan(settings: Settings, view: ViewSettings, sources: list[Source], trees: list[Directory]) -> Plan:
    order = order_of(view.prefer, settings.sources)
    paired = pairing_of(settings)
    index = merge(tuple(trees), order, paired)
    freshness = Freshness.promised(settings.refresh, time.monotonic)
    state = State.of(sources, order, index, freshness, settings.remember, paired)
    silent = why_not() if settings.announce else "--announce=off"
    return Plan(
        mountpoint=view.mountpoint,
        options=settings.fuse_options,
        state=state,
        fallback=settings.fallback,
        crawls=tuple(_crawl(settings, source) for source in sources),
        timeout=settings.timeout,
        watch=settings.watch,
        recheck=settings.recheck,
        on_change=settings.on_change,
        identity=identity(settings, view),
        silent=silent,
        choices=Choices(settings.excludes, Match(settings.match, settings.ignores, settings.rules)),
        line=tuple(command_line(settings, view)),
        shown_options=as_json(view_options(settings, view)),
        log=os.path.realpath(settings.log) if settings.log is not None else None,
    )


def _crawl(settings: Settings, source: Source) -> CrawlPlan | None:
    """The crawl of a source's folders, or None. What is above the depth is in the scan."""
    if settings.crawl == "off" or (settings.crawl == "local" and not source.local):
        return None
    everywhere = settings.crawl == "all"
    return CrawlPlan(source.root, settings.depth, settings.excludes, settings.follow, everywhere, source.identity)


class Progress:
    """A live count of folders on stderr, if that is a terminal; ``doing`` says what is done with them."""

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._found = 0
        self._shown = False
        self._live = sys.stderr.isatty()
        self._started = time.monotonic()

    def add(self, found: int) -> None:
        """Count more folders. Called by the worker threads."""
        self._found += found

    def show(self) -> None:
        """Print the count, if the work takes over 0.3 s."""
        if self._live and time.monotonic() - self._started > 0.3:
            self._shown = True
            print(f"\r{self._doing}: {self._found:,} folders ", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Erase the count."""
        if self._shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
