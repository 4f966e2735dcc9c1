"""``--status``: the state of one view, or of all on this machine; as text, as JSON, or as metrics for Prometheus.

Rule 1: the exit code is LOST where a view is dead or does not answer, or a source of it is lost or hangs. With metrics,
which contain all this, it is 0.
Rule 2: a view's answer may be another user's, and of another version: text is sanitized, newer fields are optional.

Every request has a time limit. Raises Problem.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import click

from mmirrorfs.cli.client import LOST, STATUS, Dead, not_mounted, request_all, request_with_fallback, views
from mmirrorfs.cli.errors import Problem
from mmirrorfs.cli.terminal import age, duration, local_time, path_text, print_lines, sanitized, shell_quoted
from mmirrorfs.cli.view_options import RULE_TABLES, default_options, differences, option_label
from mmirrorfs.mount.log import print_error
from mmirrorfs.serve.metrics import MALFORMED, exposition
from mmirrorfs.source.filesystems import Mount
from mmirrorfs.text import json_path, printable

Values = dict[str, Any]
Sent = Callable[[], Values | None]
"""Gives the answer to a request that was sent; see ``client.request_all``."""

WARNINGS_SHOWN = 5
"""Warnings in the text. JSON has all that the view keeps."""
ALWAYS_SHOWN = ("depth", "prefer", "match", "refresh", "on-missing")
"""Options in the text even where they have their defaults."""
POLL_INTERVAL = 0.5
"""Seconds between two requests of ``--follow``: as often as a crawl reports its progress."""


def show_status(mount: Mount, as_json: bool, wait: bool, wanted: Values) -> int:
    """Print the state of a view; returns 0 or LOST.

    ``wait``: until its sources have been crawled. ``wanted`` are options to compare the view's with.
    """
    fetch = partial(_fetch, mount)
    try:
        state = _wait_until_crawled(fetch) if wait else fetch()
    except Dead as dead:
        print(json.dumps(dead.document(mount.where), indent=1) if as_json else "\n".join(dead.lines()))
        return LOST
    differs = differences(state.get("options", {}), wanted)
    if as_json:
        print(json.dumps({**state, **({"differs": differs} if wanted else {})}, indent=1))
    else:
        print_lines(_lines(mount.where, state))
        print_lines(f"  not as asked: {one}" for one in differs)
    return _code(state)


def show_all(as_json: bool) -> int:
    """Print the state of all views of this machine, a line each; returns 0 or LOST."""
    documents: list[Values] = []
    code = 0
    mounts = views()
    for mount, sent in zip(mounts, request_all(mounts, STATUS), strict=True):
        try:
            state = _fetch(mount, sent)
            code = max(code, _code(state))
            documents.append(state)
            line = _summary(mount.where, state)
        except Dead as dead:
            code = LOST
            documents.append(dead.document(mount.where))
            line = click.style(dead.lines()[0], fg="red")
        except Problem as problem:
            code = LOST
            documents.append({"mountpoint": json_path(mount.where), "error": str(problem)})
            line = click.style(str(problem), fg="yellow")
        if not as_json:
            print_lines([line])
    if as_json:
        print(json.dumps(documents, indent=1))
    return code


def show_metrics(mounts: Sequence[tuple[bytes, Mount | None]]) -> int:
    """Print the metrics of the views on these mountpoints; returns 0.

    A view that is not mounted, or does not answer, has ``mmirrorfs_up`` 0, and stderr has the reason.
    """
    present = [mount for _, mount in mounts if mount is not None]
    sent = dict(zip((mount.where for mount in present), request_all(present, STATUS), strict=True))
    states = [(where, _state(where, mount, sent.get(where))) for where, mount in mounts]
    sys.stdout.buffer.write(exposition(states).encode())
    sys.stdout.flush()
    return 0


def _state(where: bytes, mount: Mount | None, sent: Sent | None) -> Values | None:
    try:
        if mount is None:
            raise not_mounted(where)
        state = _fetch(mount, sent)
        exposition([(where, state)])  # fails here rather than with all other views
        return state
    except MALFORMED:
        why = f"the view on {printable(where)} gives an answer that makes no sense"
    except Dead as dead:
        why = dead.lines()[0]
    except Problem as problem:
        why = str(problem)
    print_error(why)
    return None


def _fetch(mount: Mount, sent: Sent | None = None) -> Values:
    return {"mountpoint": json_path(mount.where), **request_with_fallback(mount, STATUS, mount.where, sent)}


def _code(state: Values) -> int:
    return LOST if any(source["lost"] or source["hangs"] for source in state["sources"]) else 0


def _wait_until_crawled(fetch: Callable[[], Values]) -> Values:
    """Fetch the state until no source is being crawled, with a bar on a terminal; returns the last state."""
    state = fetch()
    if not _is_crawling(state):
        return state
    length = 1
    with click.progressbar(length=length, label="reading ahead", item_show_func=_progress_text) as bar:
        while _is_crawling(state):
            crawls = [source["crawl"] for source in state["sources"]]
            length = bar.length = max(1, sum(crawl["of"] for crawl in crawls))
            bar.update(sum(crawl["folders"] for crawl in crawls) - bar.pos, state)
            time.sleep(POLL_INTERVAL)
            state = fetch()
        bar.update(length - bar.pos, state)
    return state


def _is_crawling(state: Values) -> bool:
    return any(source["crawl"]["state"] == "crawling" for source in state["sources"])


def _progress_text(state: Values | None) -> str | None:
    if state is None:
        return None
    return f"{sum(source['crawl']['entries'] for source in state['sources']):,} entries"


def _summary(where: bytes, state: Values) -> str:
    names = ", ".join(f"{source['name']} ({_health(source)})" for source in state["sources"])
    head = click.style(printable(where), bold=True)
    return f"{head}: {state['folders']:,} folders, {_process_text(state)}: {names}"


def _process_text(state: Values) -> str:
    if "pid" not in state:
        return "of an earlier version"
    return f"process {state['pid']} for {age(state['started'])}"


def _health(source: Values) -> str:
    if source["lost"]:
        since = f", since {local_time(source['lost_since'])}" if source.get("lost_since") else ""
        return click.style(sanitized(f"LOST: {source['lost']}{since}"), fg="red", bold=True)
    if source["hangs"]:
        longest = source.get("waiting", {}).get("longest", 0)
        return click.style("does not answer" + (f" for {duration(longest)}" if longest else ""), fg="yellow", bold=True)
    return click.style("there", fg="green")


def _lines(where: bytes, state: Values) -> Iterator[str]:
    head = click.style(printable(where), bold=True)
    yield f"{head}: {state['folders']:,} folders, mmirrorfs {state['version']}, {_process_text(state)}"
    for source in state["sources"]:
        yield from _source_lines(source)
    yield f"  asked in the order {sanitized(', '.join(state['order']))}"
    if "options" in state:
        yield sanitized(f"  told {' '.join(_options(state['options']))}")
    announce = state.get("announce", {"on": False, "why": "it is of an earlier version"})
    told = "told of changes" if announce["on"] else sanitized(f"told nothing: {announce['why']}")
    yield f"  who watches it is {told}"
    past = max(0.0, time.time() - state["last_refresh"])
    yield f"  last scanned {past:.0f} s ago, which took {state['took']:.3f} s"
    last = state.get("last_change")
    if last is not None:
        change = f"{last['change']} {path_text(last)}"
        yield f"  last change {age(last['when'])} ago: {change}; {state['changes']:,} in all"
    yield f"  open: {state['open_files']:,} files, {state['open_directories']:,} directories"
    yield from _log_lines(state)


def _source_lines(source: Values) -> Iterator[str]:
    wins = f"wins {source['wins']:,} of {source['folders']:,} folders" if "folders" in source else "is there"
    yield f"  {sanitized(source['name'])} ({path_text(source)}): {wins}, {_health(source)}"
    yield f"    {sanitized(_watch_text(source['watch']))}"
    if source.get("empty") is not None:
        yield f"    {source['empty']:,} of its folders hold no file, and win only where nobody has one that does"
    yield f"    {_crawl_text(source['crawl'])}"
    waiting = source.get("waiting", {})
    if waiting.get("stuck"):
        stuck = f"    {waiting['stuck']:,} requests are stuck, the longest for {duration(waiting['longest'])}"
        yield click.style(stuck, fg="yellow")


def _crawl_text(crawl: Values) -> str:
    """The progress of a crawl."""
    known = f"{crawl['entries']:,} entries in its folders read ahead"
    return {
        "off": "its folders are read when asked for",
        "crawling": f"reading ahead, {crawl['folders']:,} of {crawl['of']:,} folders, {known}",
        "done": known,
        "full": f"{known}; there is more than --remember allows for",
        "lost": f"{known} before it was lost",
        "failed": f"{known}; reading ahead failed, see the log",
    }[crawl["state"]]


def _watch_text(watch: dict[str, str]) -> str:
    """How changes in a source are found."""
    why = f" ({watch['why']})" if watch["why"] else ""
    return {
        "polled": f"polled: {watch['why']}",
        "mixed": f"changes are reported as each filesystem allows: {watch['why']}",
    }.get(watch["how"], f"changes are reported by {watch['how']}{why}")


def _options(options: Values) -> Iterator[str]:
    """Those that are no defaults, and ALWAYS_SHOWN, as arguments of the command."""
    for name, value in options.items():
        if name in ALWAYS_SHOWN or value != default_options().get(name):
            for one in value if isinstance(value, list) else [value]:
                shown = f"{one:g}" if isinstance(one, float) else str(one)
                label = option_label(name)
                if name in RULE_TABLES:
                    yield f"{label} {shown}"
                else:
                    yield label if one is True else shell_quoted(f"{label}{'' if name == 'o' else '='}{shown}")


def _log_lines(state: Values) -> Iterator[str]:
    log = state.get("log")
    if log is not None:
        yield f"  messages go to {sanitized(log.get('path', log['to']))}"
    warnings = state.get("warnings", [])
    if warnings:
        more = f" of {len(warnings)} (--json has them)" if len(warnings) > WARNINGS_SHOWN else ""
        yield f"  the last warnings{more}:"
    for warning in warnings[-WARNINGS_SHOWN:]:
        yield click.style(
            sanitized(f"    {local_time(warning['when'])} {warning['text'].splitlines()[0]}"), fg="yellow"
        )
