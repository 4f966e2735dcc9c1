"""From settings to mounts: scan the sources, merge them for each view, say what to mount."""

import gc
import logging
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence

from mmirrorfs.cli.differing import as_text
from mmirrorfs.cli.line import line
from mmirrorfs.cli.places import ViewSettings, order_of
from mmirrorfs.cli.problem import FAILED, Problem
from mmirrorfs.cli.settings import Settings, identity, told
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
    """Scan all sources at once and plan each view. Raises Problem where a source went away meanwhile."""
    sources = open_sources(settings)
    trees = scan(sources)
    _warn_of_unknown_names(settings, trees)
    return [_plan(settings, view, sources, trees) for view in settings.views]


def open_sources(settings: Settings) -> list[Source]:
    """The sources as they are now. The views share them until their processes part.

    Who has waited for half of ``--timeout`` gets what is known, so that only what is not known fails by it.
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
    """How names are paired."""
    return pairing(settings.match, [compiled(pattern) for pattern in settings.ignores], settings.rules)


def matchings_of(settings: Settings) -> Matchings:
    """What the pairing goes by."""
    return matchings(settings.match, [compiled(pattern) for pattern in settings.ignores], settings.rules)


def unknown_names(settings: Settings, trees: Sequence[Directory]) -> list[tuple[bytes, str]]:
    """The names in [[same]] and [[apart]] that no source has: the directory of the view, and what to say."""
    if not settings.rules:
        return []
    index = merge(tuple(trees), [Rank(rank) for rank in range(len(trees))], pairing_of(settings))
    found = matchings_of(settings).unknown(index)
    return [(rule.where or b"", f"{rule.label}: no source has {name.decode()}") for rule, name in found]


def _warn_of_unknown_names(settings: Settings, trees: Sequence[Directory]) -> None:
    found = unknown_names(settings, trees)
    for where, text in found[:MOST_SAID]:
        log.warning("%s%s", printable(text), f" in {printable(where)}" if where else "")
    if len(found) > MOST_SAID:
        log.warning("and %d more names that no source has; mmirrorfs --simulate names all", len(found) - MOST_SAID)


MOST_SAID = 10
"""Warnings of one kind."""


def scan(sources: Sequence[Source]) -> list[Directory]:
    """The trees of all sources. What is made here stays, so nobody looks for garbage in it, until
    ``tuning.settle_memory``. Raises Problem where a source is lost.
    """
    gc.disable()
    trees: dict[int, Directory] = {}
    lost: list[str] = []
    count = Count("scanning")

    def look(source: Source) -> None:
        try:
            trees[source.rank] = source.scan(None, count.add, brief=source.local)
        except SourceLost as error:
            lost.append(f"source {printable(source.path)} cannot be read: {error.reason}")

    in_threads(sources, look, count)
    if lost:
        raise Problem(lost[0], FAILED)
    for source in sources:
        if not trees[source.rank].entries:
            log.warning(
                "source %s (%s) is empty; what appears in it will be shown", source.name, printable(source.path)
            )
    return [trees[source.rank] for source in sources]


def in_threads(sources: Sequence[Source], look: Callable[[Source], None], count: "Count") -> None:
    """Look at all sources, in threads that have ended when this returns.

    Network sources have a thread each. The local ones share one: two that never wait for anything only take the
    interpreter's lock from each other, and need three times as long as one after the other. Where it is interrupted
    the threads are left to themselves: a source that hangs keeps nobody.
    """

    def look_at(*group: Source) -> None:
        for source in group:
            look(source)

    local = [source for source in sources if source.local]
    groups = [local, *[[source] for source in sources if not source.local]]
    threads = [threading.Thread(target=look_at, args=group, daemon=True) for group in groups]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.1)
            count.show()
    count.clear()


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
        line=tuple(line(settings, view)),
        told=as_text(told(settings, view)),
        log=os.path.realpath(settings.log) if settings.log is not None else None,
    )


def _crawl(settings: Settings, source: Source) -> CrawlPlan | None:
    """What is to be crawled of a source; None for nothing: what lies above the depth was scanned."""
    if settings.crawl == "off" or (settings.crawl == "local" and not source.local):
        return None
    everywhere = settings.crawl == "all"
    return CrawlPlan(source.root, settings.depth, settings.excludes, settings.follow, everywhere, source.identity)


class Count:
    """A live count of the folders found, on a terminal only; ``doing`` says what is done with them."""

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._found = 0
        self._shown = False
        self._live = sys.stderr.isatty()
        self._started = time.monotonic()

    def add(self, found: int) -> None:
        """Called by the scanning threads."""
        self._found += found

    def show(self) -> None:
        """Show the count when the scan takes long enough to be noticed."""
        if self._live and time.monotonic() - self._started > 0.3:
            self._shown = True
            print(f"\r{self._doing}: {self._found:,} folders ", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Leave a clean line."""
        if self._shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
