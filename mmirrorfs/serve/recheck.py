"""Checks for changes that no event reports: of open files at short intervals, and with ``--recheck`` of all that is
watched.

Invariant 1: cached data is served meanwhile, here and in the kernel: only what differs is published.
Invariant 2: a recheck is not started while the one before it is running.

Tasks on the event loop.
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress

import trio

from mmirrorfs.source.crawler import Crawl
from mmirrorfs.source.fetch import Fetch
from mmirrorfs.source.singles import Answer
from mmirrorfs.source.source import Source
from mmirrorfs.view.files import OpenFile
from mmirrorfs.view.nodes import FileNode, is_same
from mmirrorfs.view.state import State

log = logging.getLogger(__name__)

POLL = 0.5
"""Seconds between two checks of the open files of a local source: an edit of an unlinked file causes no event."""


async def recheck(
    seconds: float,
    fetch: Fetch,
    doubt: Callable[[Source], None],
    crawl: Crawl | None,
    again: Callable[[Source], object],
) -> None:
    """Recheck a watched source every so many seconds. Until cancelled.

    ``doubt`` has it scanned down to the depth, ``again`` restarts its crawl. Without a crawl, or if its cache is too
    small for the crawl, the cached directories are fetched, one after the other.
    """
    source = fetch.source
    while True:
        await trio.sleep(seconds)
        if not fetch.known.trust.is_begun or source.lost is not None:
            continue
        log.debug("source %s: recheck of all that is watched", source.name)
        doubt(source)
        state = crawl.progress.state if crawl is not None else "off"
        if state in ("off", "full"):
            await _fetch_cached(fetch)
        elif state != "crawling":
            again(source)


async def _fetch_cached(fetch: Fetch) -> None:
    """Fetch the cached directories below the depth."""
    for path in list(fetch.known.listings.below):
        if fetch.source.lost is not None:
            return
        with suppress(OSError):
            await fetch.refetch(path)


async def poll_open_files(state: State, source: Source, edited: Callable[[FileNode], None]) -> None:
    """Call ``edited`` with each open file of a source that was edited in place: the kernel does not ask for the
    attributes of one that is mapped. Until cancelled.
    """
    while True:
        await state.files.some()
        keep = state.freshness.keep
        await trio.sleep(min(keep, POLL) if source.local else keep)
        if source.lost is None:
            await _check_open_files(state, source, edited)


async def _check_open_files(state: State, source: Source, edited: Callable[[FileNode], None]) -> None:
    opened: dict[FileNode, list[OpenFile]] = {}
    for file in state.files:
        if file.source is source:
            opened.setdefault(file.node, []).append(file)
    for node, files in opened.items():
        attr = None
        with trio.move_on_after(1), suppress(OSError):
            attr, _ = await files[0].attributes(lambda: None)
        if attr is not None and not all(is_same(file.validator, attr) for file in files):
            for file in files:
                file.validator = (attr, time.time_ns())
            if node.opened:  # it may have been closed meanwhile
                node.held = Answer(attr, state.freshness.clock())
            edited(node)
