"""``--status``: how a live view is, or all of this machine are; for a person, as JSON, or for Prometheus.

Asks with a time limit.
"""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import click

from mmirrorfs.cli.differing import differing
from mmirrorfs.cli.explained import ago, plain, text, when
from mmirrorfs.cli.follow import in_words, until_crawled
from mmirrorfs.cli.problem import FAILED, Problem
from mmirrorfs.cli.query import LOST, Dead, put_or_read, quoted, views
from mmirrorfs.cli.settings import SETTLED, as_said, usual
from mmirrorfs.serve.metrics import MALFORMED, exposition
from mmirrorfs.source.filesystems import Mount
from mmirrorfs.text import json_path, printable

Values = dict[str, Any]

SHOWN = 5
"""Warnings that a person is shown."""
ALWAYS = ("depth", "prefer", "match", "refresh", "on-missing")
"""What a view was told that is said also where it is as usual."""


def show_status(mount: Mount, as_json: bool, wait: bool, wanted: Values) -> int:
    """Print the state of a view; returns LOST where it is dead, or a source of it is lost or does not answer.

    With ``wait`` when its sources have been crawled. ``wanted`` are options that it is compared with.
    """
    ask = partial(_asked, mount)
    try:
        state = until_crawled(ask) if wait else ask()
    except Dead as dead:
        print(json.dumps(dead.document(mount.where), indent=1) if as_json else "\n".join(dead.words()))
        return LOST
    differs = differing(state.get("options", {}), wanted)
    if as_json:
        print(json.dumps({**state, **({"differs": differs} if wanted else {})}, indent=1))
    else:
        _show(_in_words(mount.where, state))
        _show(f"  not as asked: {one}" for one in differs)
    return _code(state)


def show_all(as_json: bool) -> int:
    """Print how all views of this machine are, a line each; returns LOST where one is not well, or gives no answer."""
    documents: list[Values] = []
    code = 0
    for mount in views():
        try:
            state = _asked(mount)
            code = max(code, _code(state))
            documents.append(state)
            line = _in_short(mount.where, state)
        except Dead as dead:
            code = LOST
            documents.append(dead.document(mount.where))
            line = click.style(dead.words()[0], fg="red")
        except Problem as problem:
            code = LOST
            documents.append({"mountpoint": json_path(mount.where), "error": str(problem)})
            line = click.style(str(problem), fg="yellow")
        if not as_json:
            _show([line])
    if as_json:
        print(json.dumps(documents, indent=1))
    return code


def show_metrics(places: Iterable[tuple[bytes, Mount | None]]) -> int:
    """Print how the views at these places are, for Prometheus. One that gives no answer, or is not there, is said to be
    so in the metrics, and why on stderr; that is no failure.
    """
    sys.stdout.buffer.write(exposition([(where, _state(where, mount)) for where, mount in places]).encode())
    sys.stdout.flush()
    return 0


def _state(where: bytes, mount: Mount | None) -> Values | None:
    try:
        if mount is None:
            raise not_mounted(where)
        state = _asked(mount)
        exposition([(where, state)])  # or it would spoil those of all others
        return state
    except MALFORMED:
        why = f"the view on {printable(where)} gives an answer that makes no sense"
    except Dead as dead:
        why = dead.words()[0]
    except Problem as problem:
        why = str(problem)
    print(f"mmirrorfs: {why}", file=sys.stderr)
    return None


def not_mounted(where: bytes) -> Problem:
    """The mistake of asking for a view where none is."""
    return Problem(f"no view is mounted on {printable(where)}", FAILED)


def _asked(mount: Mount) -> Values:
    return {"mountpoint": json_path(mount.where), **put_or_read(mount, {"ask": "status"}, mount.where)}


def _code(state: Values) -> int:
    return LOST if any(source["lost"] or source["hangs"] for source in state["sources"]) else 0


def _show(lines: Iterator[str] | list[str]) -> None:
    for line in lines:
        click.echo(line, color=False if "NO_COLOR" in os.environ else None)


def _in_short(where: bytes, state: Values) -> str:
    names = ", ".join(f"{source['name']} ({_health(source)})" for source in state["sources"])
    head = click.style(printable(where), bold=True)
    return f"{head}: {state['folders']:,} folders, {_process(state)}: {names}"


def _process(state: Values) -> str:
    if "pid" not in state:
        return "of an earlier version"
    return f"process {state['pid']} for {ago(max(0.0, time.time() - state['started']))}"


def _health(source: Values) -> str:
    if source["lost"]:
        since = f", since {when(source['lost_since'])}" if source.get("lost_since") else ""
        return click.style(plain(f"LOST: {source['lost']}{since}"), fg="red", bold=True)
    if source["hangs"]:
        longest = source.get("waiting", {}).get("longest", 0)
        return click.style("does not answer" + (f" for {ago(longest)}" if longest else ""), fg="yellow", bold=True)
    return click.style("there", fg="green")


def _in_words(where: bytes, state: Values) -> Iterator[str]:
    head = click.style(printable(where), bold=True)
    yield f"{head}: {state['folders']:,} folders, mmirrorfs {state['version']}, {_process(state)}"
    for source in state["sources"]:
        yield from _source_in_words(source)
    yield f"  asked in the order {plain(', '.join(state['order']))}"
    if "options" in state:
        yield plain(f"  told {' '.join(_options(state['options']))}")
    announce = state.get("announce", {"on": False, "why": "it is of an earlier version"})
    yield f"  who watches it is {'told of changes' if announce['on'] else plain('told nothing: ' + announce['why'])}"
    past = max(0.0, time.time() - state["last_refresh"])
    yield f"  last looked at {past:.0f} s ago, which took {state['took']:.3f} s"
    last = state.get("last_change")
    if last is not None:
        past = ago(max(0.0, time.time() - last["when"]))
        yield f"  last change {past} ago: {last['change']} {text(last)}; {state['changes']:,} in all"
    yield f"  open: {state['open_files']:,} files, {state['open_directories']:,} directories"
    yield from _log_in_words(state)


def _source_in_words(source: Values) -> Iterator[str]:
    wins = f"wins {source['wins']:,} of {source['folders']:,} folders" if "folders" in source else "is there"
    yield f"  {plain(source['name'])} ({text(source)}): {wins}, {_health(source)}"
    yield f"    {plain(_watch_in_words(source['watch']))}"
    if source.get("empty") is not None:
        yield f"    {source['empty']:,} of its folders hold no file, and win only where nobody has one that does"
    yield f"    {in_words(source['crawl'])}"
    waiting = source.get("waiting", {})
    if waiting.get("stuck"):
        stuck = f"    {waiting['stuck']:,} requests are stuck, the longest for {ago(waiting['longest'])}"
        yield click.style(stuck, fg="yellow")


def _watch_in_words(watch: dict[str, str]) -> str:
    """How a source is watched."""
    why = f" ({watch['why']})" if watch["why"] else ""
    return {
        "polled": f"polled: {watch['why']}",
        "mixed": f"changes are reported as each filesystem allows: {watch['why']}",
    }.get(watch["how"], f"changes are reported by {watch['how']}{why}")


def _options(told: Values) -> Iterator[str]:
    """What differs from the defaults, and ALWAYS."""
    for name, value in told.items():
        if name in ALWAYS or value != usual().get(name):
            for one in value if isinstance(value, list) else [value]:
                shown = f"{one:g}" if isinstance(one, float) else str(one)
                said = as_said(name)
                if name in SETTLED:
                    yield f"{said} {shown}"
                else:
                    yield said if one is True else quoted(f"{said}{'' if name == 'o' else '='}{shown}")


def _log_in_words(state: Values) -> Iterator[str]:
    place = state.get("log")
    if place is not None:
        yield f"  messages go to {plain(place.get('path', place['to']))}"
    found = state.get("warnings", [])
    if found:
        more = f" of {len(found)} (--json has them)" if len(found) > SHOWN else ""
        yield f"  the last warnings{more}:"
    for warning in found[-SHOWN:]:
        yield click.style(plain(f"    {when(warning['when'])} {warning['text'].splitlines()[0]}"), fg="yellow")
