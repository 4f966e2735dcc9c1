"""``--recheck``: all that is watched is looked at once in that time, for what no report tells.

Rule 1: what is known is answered meanwhile, and the kernel keeps what it has: only what turns out to differ is told.
Rule 2: it never outruns itself: what is under way still is not begun again.

A task for each source, on the event loop.
"""

import logging
from collections.abc import Callable
from contextlib import suppress

import trio

from mmirrorfs.source.crawler import Crawl
from mmirrorfs.source.fetch import Fetch
from mmirrorfs.source.source import Source

log = logging.getLogger(__name__)


async def recheck(
    seconds: float,
    fetch: Fetch,
    doubt: Callable[[Source], None],
    crawl: Crawl | None,
    again: Callable[[Source], object],
) -> None:
    """Look at a watched source every so many seconds. Until cancelled.

    ``doubt`` has it scanned down to the depth, ``again`` begins its crawl anew. Where there is no crawl, or no room
    for all that it finds, what is known is looked at, one directory after the other.
    """
    source = fetch.source
    while True:
        await trio.sleep(seconds)
        if not fetch.known.trust.is_begun or source.lost is not None:
            continue
        log.debug("source %s: all that is watched is looked at", source.name)
        doubt(source)
        state = crawl.progress.state if crawl is not None else "off"
        if state in ("off", "full"):
            await _known(fetch)
        elif state != "crawling":
            again(source)


async def _known(fetch: Fetch) -> None:
    """Look at the directories that are known below the depth."""
    for path in list(fetch.known.listings.below):
        if fetch.source.lost is not None:
            return
        with suppress(OSError):
            await fetch.refetch(path)
