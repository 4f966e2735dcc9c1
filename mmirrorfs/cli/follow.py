"""``--status --follow``: waits until all that is to be crawled is known, with a bar on a terminal."""

import time
from collections.abc import Callable
from typing import Any

import click

INTERVAL = 0.5
"""Seconds between two questions: as often as a crawl tells how far it is."""

State = dict[str, Any]
"""What a view says of itself (``serve.status``)."""


def until_crawled(ask: Callable[[], State]) -> State:
    """Ask again and again while a source is being crawled; returns the last answer. Raises what ``ask`` raises."""
    state = ask()
    if not _is_crawling(state):
        return state
    length = 1
    with click.progressbar(length=length, label="reading ahead", item_show_func=_counted) as bar:
        while _is_crawling(state):
            crawls = [source["crawl"] for source in state["sources"]]
            length = bar.length = max(1, sum(crawl["of"] for crawl in crawls))
            bar.update(sum(crawl["folders"] for crawl in crawls) - bar.pos, state)
            time.sleep(INTERVAL)
            state = ask()
        bar.update(length - bar.pos, state)
    return state


def _is_crawling(state: State) -> bool:
    return any(source["crawl"]["state"] == "crawling" for source in state["sources"])


def _counted(state: State | None) -> str | None:
    if state is None:
        return None
    return f"{sum(source['crawl']['entries'] for source in state['sources']):,} entries"


def in_words(crawl: State) -> str:
    """How far a crawl is, for ``--status``."""
    known = f"{crawl['entries']:,} entries in its folders read ahead"
    return {
        "off": "its folders are read when asked for",
        "crawling": f"reading ahead, {crawl['folders']:,} of {crawl['of']:,} folders, {known}",
        "done": known,
        "full": f"{known}; there is more than --remember allows for",
        "lost": f"{known} before it was lost",
        "failed": f"{known}; reading ahead failed, see the log",
    }[crawl["state"]]
