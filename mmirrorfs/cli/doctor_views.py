"""What ``--doctor`` looks at in the views that are mounted, and in those that fstab has."""

import os
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

from mmirrorfs.cli import mountopts
from mmirrorfs.cli.explained import when
from mmirrorfs.cli.finding import BAD, NOTE, OK, Finding
from mmirrorfs.cli.places import named
from mmirrorfs.cli.problem import Problem
from mmirrorfs.cli.query import Dead, fstab_lines, put_or_read, views
from mmirrorfs.mount import table
from mmirrorfs.source.filesystems import VIEW_TYPE, mounts
from mmirrorfs.text import path_of, printable

Values = dict[str, Any]


def fstab() -> Iterator[Finding]:
    """Whether what /etc/fstab has can be mounted."""
    for line in fstab_lines():
        about = f"fstab, {printable(line.mountpoint)}"
        words = [part for part in mountopts.split(os.fsdecode(line.sources), ":") if part]
        paths = [source.path for source in named(words)]
        missing = [path for path in (*paths, line.mountpoint) if not _is_directory(path)]
        if missing:
            shown = ", ".join(map(printable, missing))
            yield Finding(BAD, about, f"{shown}: no directory, or no answer", "mount or make it, or mend the line")
        elif b"nofail" not in line.options.split(b","):
            yield Finding(NOTE, about, "without nofail a source that is missing stops the boot", "add nofail")
        else:
            yield Finding(OK, about, "its directories are there")


def _is_directory(path: bytes) -> bool:
    """What is dead, or hangs, is none that can be used."""
    return bool(table.ask(partial(_directory, path)))


def _directory(path: bytes) -> bytes:
    """A question."""
    return b"1" if os.path.isdir(path) else b""


def mounted() -> Iterator[Finding]:
    """Whether each view answers, whole, and whether views and sources keep out of each other."""
    count = Counter(mount.where for mount in mounts() if mount.type == VIEW_TYPE)
    top = {mount.where: mount.type for mount in mounts()}
    states: list[Values] = []
    for mount in views():
        where = printable(mount.where)
        about = f"view {where}"
        if count[mount.where] > 1:
            found = f"{count[mount.where]} views are mounted one over the other"
            yield Finding(BAD, about, found, f"umount {where}, until one is left")
        if top[mount.where] != VIEW_TYPE:
            yield Finding(BAD, about, "something else is mounted over it", f"umount {where}")
            continue
        try:
            states.append(put_or_read(mount, {"ask": "status"}, mount.where))
            yield from _state(about, where, states[-1])
        except Dead as dead:
            found = "is dead: nothing serves it any more"
            yield Finding(BAD, about, found, f"start it again: {dead.start or 'as it was started'}")
        except Problem as problem:
            yield Finding(BAD, about, str(problem))
    if not count:
        yield Finding(OK, "views", "none is mounted")
    yield from _apart([mount.where for mount in views()], states)


def _state(about: str, where: str, state: Values) -> Iterator[Finding]:
    ill = [source for source in state["sources"] if source["lost"] or source["hangs"]]
    for source in ill:
        since = f", since {when(source['lost_since'])}" if source.get("lost_since") else ""
        found, todo = "does not answer", "see whether its disk, its network or the program behind it is alive"
        if source["lost"]:
            found, todo = f"is lost: {source['lost']}{since}", "plug or mount it: it heals by itself"
        yield Finding(BAD, about, f"source {source['name']} {found}", todo)
    warned, answers = len(state.get("warnings", ())), f"answers, {state['folders']:,} folders"
    if warned and not ill:
        yield Finding(NOTE, about, f"{answers}; {warned} warnings", f"mmirrorfs --status {where}")
    elif not ill:
        yield Finding(OK, about, answers)


def _apart(places: list[bytes], states: list[Values]) -> Iterator[Finding]:
    sources = {path_of(source) for state in states for source in state["sources"]}
    for path in sorted(sources):
        for place in places:
            about, view = f"source {printable(path)}", f"the view on {printable(place)}"
            if _is_inside(path, place):
                yield Finding(BAD, about, f"lies under {view}, which is in its place", "mount the view elsewhere")
            elif _is_inside(place, path):
                yield Finding(BAD, about, f"has {view} in it", "mount the view elsewhere, or --exclude it")


def _is_inside(path: bytes, directory: bytes) -> bool:
    return os.path.commonpath([path, directory]) == directory
