"""``--status`` and ``--explain``: what a live view says of itself, in words. Asks with a time limit, never longer."""

import contextlib
import json
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from mmirrorfs.cli.explained import in_words, plain, text
from mmirrorfs.cli.follow import in_words as crawl_in_words
from mmirrorfs.cli.follow import until_crawled
from mmirrorfs.cli.options import FOLLOWS
from mmirrorfs.cli.problem import FAILED, Problem
from mmirrorfs.cli.query import Dead, put, put_or_read, views
from mmirrorfs.mount import table
from mmirrorfs.mount.questions import about
from mmirrorfs.source.filesystems import VIEW_TYPE, mount_under
from mmirrorfs.text import json_path, printable

LOST = 1
"""Exit code where a source is lost or does not answer, or nothing serves the view any more."""

Values = dict[str, Any]


def asked(given: dict[str, Any]) -> Callable[[], int] | None:
    """What a command line asks a live view, if it asks anything. Raises Problem where that makes no sense."""
    names = [name for name in ("status", "explain", "simulate") if given[name] not in (None, False)]
    if names in ([], ["simulate"]):
        return None
    if len(names) > 1:
        raise Problem(f"--{names[0]} and --{names[1]} are asked one at a time")
    (name,) = names
    if given["follow"] and name != "status":
        raise Problem("--follow goes with --status")
    words = [*([] if given[name] == FOLLOWS else [given[name]]), *given["paths"]]
    if len(words) != 1 or not words[0]:
        raise Problem(f"--{name} takes one path, that of {'a view' if name == 'status' else 'something in a view'}")
    return (
        partial(show_status, words[0], given["json"], given["follow"])
        if name == "status"
        else partial(explain, words[0], given["json"])
    )


def show_status(mountpoint: str, as_json: bool, wait: bool = False) -> int:
    """Print the state of the view on ``mountpoint``; returns LOST where a source of it is lost or does not answer.

    With ``wait`` when its sources have been crawled.
    """
    given = os.path.abspath(os.fsencode(mountpoint))
    where = given if table.view_at(given) else next(filter(table.view_at, _resolved(given)), given)
    mount = table.view_at(where)
    if mount is None:
        raise Problem(f"no view is mounted on {printable(where)}", FAILED)
    ask = partial(put_or_read, mount, {"ask": "status"}, where)
    try:
        state = until_crawled(ask) if wait else ask()
    except Dead as dead:
        return _tell_dead(dead, where, as_json)
    if as_json:
        print(json.dumps(state, indent=1))
    else:
        print(plain("\n".join(_in_words(printable(where), state))))
    return LOST if any(source["lost"] or source["hangs"] for source in state["sources"]) else 0


def _in_words(where: str, state: Values) -> list[str]:
    lines = [f"{where}: {state['folders']:,} folders, mmirrorfs {state['version']}"]
    for source in state["sources"]:
        health = f"LOST: {source['lost']}" if source["lost"] else "does not answer" if source["hangs"] else "there"
        lines.append(f"  {source['name']} ({text(source)}): wins {source['wins']:,} folders, {health}")
        lines.append(f"    {_watch_in_words(source['watch'])}")
        lines.append(f"    {crawl_in_words(source['crawl'])}")
    ago = max(0.0, time.time() - state["last_refresh"])
    announce = state.get("announce", {"on": False, "why": "it is of an earlier version"})
    told = "told of changes" if announce["on"] else f"told nothing: {announce['why']}"
    lines.append(f"  who watches it is {told}")
    lines.append(f"  asked in the order {', '.join(state['order'])}")
    lines.append(f"  last looked at {ago:.0f} s ago, which took {state['took']:.3f} s")
    return lines


def _watch_in_words(watch: dict[str, str]) -> str:
    """How a source is watched."""
    why = f" ({watch['why']})" if watch["why"] else ""
    return {
        "polled": f"polled: {watch['why']}",
        "mixed": f"changes are reported as each filesystem allows: {watch['why']}",
    }.get(watch["how"], f"changes are reported by {watch['how']}{why}")


def explain(path: str, as_json: bool) -> int:
    """Print why ``path``, of a live view or of a source of one, is shown or is not: of a source, for each view."""
    given = os.path.abspath(os.fsencode(path))
    try:
        answers = _answers([given]) or _answers(_resolved(given))
    except Dead as dead:
        return _tell_dead(dead, given, as_json)
    if not answers:
        what = f"{printable(given)} is not in a mounted view, and not in a source of one that you may ask"
        raise Problem(what, FAILED)
    if as_json:
        print(json.dumps(answers, indent=1))
    else:
        several = answers if isinstance(answers, list) else [answers]
        print(plain("\n\n".join("\n".join(in_words(answer)) for answer in several)))
    return 0


def _answers(paths: list[bytes]) -> Values | list[Values]:
    """The answer of the view that one of the paths is in, or those of all that have a source in which one is."""
    question = {"ask": "explain", **about(*paths)}
    for path in paths:
        mount = mount_under(path)
        if mount is not None and mount.type == VIEW_TYPE:
            return put_or_read(mount, question, path)
    found = []
    for mount in views():
        with contextlib.suppress(ConnectionError):
            found.append(put(mount, question))
    return [answer for answer in found if answer is not None]


def _tell_dead(dead: Dead, path: bytes, as_json: bool) -> int:
    if as_json:
        document = {**json_path(path), "view": json_path(dead.where), "state": "dead", "start": dead.start}
        print(json.dumps(document, indent=1))
    else:
        print(f"{printable(dead.where)} is dead: nothing serves it any more, all that is asked of it is an error.")
        print(f"Start it again: {dead.start or 'as it was started; a dead view is replaced by that'}")
    return LOST


def _resolved(path: bytes) -> list[bytes]:
    """The path without links but for its end, and without any: as far as what is on it answers."""
    return [one for one in table.ask(partial(_without_links, path)).split(b"\0") if one]


def _without_links(path: bytes) -> bytes:
    """A question: both."""
    above = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    return b"\0".join((above, os.path.realpath(above)))
