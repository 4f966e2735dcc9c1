"""``--status`` and ``--explain``: what a live view says of itself, in words. Asks with a time limit, never longer."""

import base64
import json
import os
import re
import stat
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from mmirrorfs.cli.follow import in_words, until_crawled
from mmirrorfs.cli.options import FOLLOWS
from mmirrorfs.cli.problem import FAILED, Problem
from mmirrorfs.mount import table
from mmirrorfs.source.filesystems import VIEW_TYPE, mount_under
from mmirrorfs.text import json_path, printable

LOST = 1
"""Exit code of ``--status`` where a source is lost or does not answer."""


def asked(given: dict[str, Any]) -> Callable[[], int] | None:
    """What a command line asks a live view, if it asks anything. Raises Problem where that makes no sense."""
    for name in ("format", "only", "summary"):
        if given[name] not in (None, False) and not given["simulate"]:
            raise Problem(f"--{name} goes with --simulate")
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
    where = _found(mountpoint)
    if table.view_at(where) is None:
        raise Problem(f"no view is mounted on {printable(where)}", FAILED)
    state = until_crawled(partial(_state, where)) if wait else _state(where)
    if as_json:
        print(json.dumps(state, indent=1))
    else:
        print("\n".join(_in_words(printable(where), state)))
    return LOST if any(source["lost"] or source["hangs"] for source in state["sources"]) else 0


def _state(where: bytes) -> dict[str, Any]:
    state: dict[str, Any] | None = json.loads(_answer(where, "status") or b"null")
    if state is None:
        raise Problem(f"the view on {printable(where)} does not answer", FAILED)
    return state


def _in_words(where: str, state: dict[str, Any]) -> list[str]:
    lines = [f"{where}: {state['folders']:,} folders, mmirrorfs {state['version']}"]
    for source in state["sources"]:
        health = f"LOST: {source['lost']}" if source["lost"] else "does not answer" if source["hangs"] else "there"
        path = printable(base64.b64decode(source["path_b64"]) if "path_b64" in source else source["path"])
        lines.append(f"  {source['name']} ({path}): wins {source['wins']:,} folders, {health}")
        lines.append(f"    {_watch_in_words(source['watch'])}")
        if source.get("empty") is not None:
            lines.append(
                f"    {source['empty']:,} of its folders hold no file, and win only where nobody has one that does"
            )
        lines.append(f"    {in_words(source['crawl'])}")
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
    """Print why ``path``, in a live view, is what it is."""
    whole = _found(path)
    if not _in_view(whole):
        raise Problem(f"{printable(whole)} is not in a mounted view", FAILED)
    role = table.ask(partial(_role, whole)).decode()
    if role == _BARE.decode():
        raise Problem(f"{printable(whole)} is a link, a FIFO or the like: ask for the directory that it is in", FAILED)
    if not role:
        raise Problem(f"{printable(whole)} is not there, or the view does not answer", FAILED)
    names = _answer(whole, "source").decode().split("\n")
    reals = _paths(_answer(whole, "path"))
    hidden, skipped = _paths(_answer(whole, "shadowed")), _paths(_answer(whole, "skipped"))
    if as_json:
        print(json.dumps(_document(whole, role, names, reals, hidden, skipped), indent=1))
    else:
        print("\n".join(_reasons(printable(whole), role, names, [printable(r) for r in reals], hidden, skipped)))
    return 0


def _document(
    whole: bytes, role: str, names: list[str], reals: list[bytes], hidden: list[bytes], skipped: list[bytes]
) -> dict[str, object]:
    sources = [{"name": name, **json_path(real)} for name, real in zip(names, reals, strict=False)]
    others = {"hides": [json_path(path) for path in hidden], "skips": [json_path(path) for path in skipped]}
    return {**json_path(whole), "role": role, "sources": sources, **others}


def _found(path: str) -> bytes:
    """The absolute path without links, as far as what lies on the way answers."""
    given = os.path.abspath(os.fsencode(path))
    return table.ask(partial(_without_links, given)) or given


def _without_links(path: bytes) -> bytes:
    """A question: the path, free of links but for one at its end that is in a view itself."""
    whole = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    return whole if _in_view(whole) else os.path.realpath(whole)


def _in_view(path: bytes) -> bool:
    mount = mount_under(path)
    return mount is not None and mount.type == VIEW_TYPE


_BARE = b"bare"


def _role(path: bytes) -> bytes:
    """A question: the role of a path; _BARE for a type that has no attributes of this kind on Linux (xattr(7))."""
    mode = os.lstat(path).st_mode
    return table.label(path, "role") if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else _BARE


def _paths(lines: bytes) -> list[bytes]:
    """Absolute paths, one a line; a name may have a line break in it."""
    return re.split(rb"\n(?=/)", lines) if lines else []


def _answer(path: bytes, name: str) -> bytes:
    return table.ask(partial(table.label, path, name))


def _reasons(
    whole: str, role: str, names: list[str], reals: list[str], hidden: list[bytes], skipped: list[bytes]
) -> list[str]:
    if role == "merged":
        places = [f"  {name}: {real}" for name, real in zip(names, reals, strict=False)]
        return [f"{whole} is above the depth: it shows together what these have.", *places]
    lines = [f"{whole} comes from {names[0]}: {reals[0]}"]
    what = {
        "folder": "It is a folder at the depth, taken whole from the first source of this view that has it"
        + (" with a file in it." if skipped else "."),
        "inside": "It lies in a folder that is taken whole from one source.",
        "loose": "It is no directory, and is taken from the first source of this view that has it.",
    }[role]
    lines.append(what)
    others = ", ".join(printable(path) for path in hidden)
    lines.append(f"It takes the place of {others}" if hidden else "No other source has anything in its place.")
    if skipped:
        empty = ", ".join(printable(path) for path in skipped)
        lines.append(f"Skipped, as there is no file in it: {empty}")
    return lines
