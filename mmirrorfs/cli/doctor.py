"""``--doctor``: checks what views need of the machine (``doctor_machine``), the views in fstab, and the mounted views.

Rule 1: each check yields findings, one line each, and for a problem a second line with what to do.
Rule 2: nothing is changed, and nothing that may hang is touched without a time limit.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import click

from mmirrorfs.cli import doctor_machine as machine
from mmirrorfs.cli import mountopts
from mmirrorfs.cli.client import STATUS, Dead, fstab_lines, request_all, request_with_fallback, views
from mmirrorfs.cli.doctor_machine import BAD, NOTE, OK, Finding
from mmirrorfs.cli.errors import Problem
from mmirrorfs.cli.positionals import named
from mmirrorfs.cli.terminal import local_time, print_lines, sanitized
from mmirrorfs.mount import table
from mmirrorfs.source.filesystems import VIEW_TYPE, mounts
from mmirrorfs.text import path_of, printable

Values = dict[str, Any]

WRONG = 1
"""Exit code where a finding is BAD."""
_COLOURS = {OK: "green", NOTE: "yellow", BAD: "red"}


def doctor(as_json: bool) -> int:
    """Run all checks and print their findings; returns 0 or WRONG."""
    found = [finding for check in CHECKS for finding in check()]
    if as_json:
        print(json.dumps([asdict(finding) for finding in found], indent=1))
    else:
        print_lines(_lines(found))
    return WRONG if any(finding.level == BAD for finding in found) else 0


def _lines(findings: list[Finding]) -> Iterator[str]:
    for finding in findings:
        level = click.style(f"{finding.level:<5}", fg=_COLOURS[finding.level])
        yield f"{level}{finding.about}: {sanitized(finding.found)}"
        if finding.todo:
            yield f"     -> {sanitized(finding.todo)}"
    wrong = sum(finding.level == BAD for finding in findings)
    yield f"{wrong} to be mended" if wrong else "nothing is wrong"


def fstab() -> Iterator[Finding]:
    """Whether the views in /etc/fstab can be mounted."""
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
    """Whether it is a directory, and answers: a dead or hung mount does not."""
    return bool(table.run_probe(partial(_probe_directory, path)))


def _probe_directory(path: bytes) -> bytes:
    """Probe: whether it is a directory."""
    return b"1" if os.path.isdir(path) else b""


def mounted() -> Iterator[Finding]:
    """Whether each view answers, with all its sources, and no view is inside a source, nor a source inside a view."""
    count = Counter(mount.where for mount in mounts() if mount.type == VIEW_TYPE)
    top = {mount.where: mount.type for mount in mounts()}
    states: list[Values] = []
    found_views = views()
    for mount, sent in zip(found_views, request_all(found_views, STATUS), strict=True):
        where = printable(mount.where)
        about = f"view {where}"
        if count[mount.where] > 1:
            found = f"{count[mount.where]} views are mounted one over the other"
            yield Finding(BAD, about, found, f"umount {where}, until one is left")
        if top[mount.where] != VIEW_TYPE:
            yield Finding(BAD, about, "something else is mounted over it", f"umount {where}")
            continue
        try:
            states.append(request_with_fallback(mount, STATUS, mount.where, sent))
            yield from _state_findings(about, where, states[-1])
        except Dead as dead:
            found = "is dead: nothing serves it any more"
            yield Finding(BAD, about, found, f"start it again: {dead.start or 'as it was started'}")
        except Problem as problem:
            yield Finding(BAD, about, str(problem))
    if not count:
        yield Finding(OK, "views", "none is mounted")
    yield from _overlaps([mount.where for mount in found_views], states)


def _state_findings(about: str, where: str, state: Values) -> Iterator[Finding]:
    failed = [source for source in state["sources"] if source["lost"] or source["hangs"]]
    for source in failed:
        since = f", since {local_time(source['lost_since'])}" if source.get("lost_since") else ""
        found, todo = "does not answer", "see whether its disk, its network or the program behind it is alive"
        if source["lost"]:
            found, todo = f"is lost: {source['lost']}{since}", "plug or mount it: it heals by itself"
        yield Finding(BAD, about, f"source {source['name']} {found}", todo)
    warned, answers = len(state.get("warnings", ())), f"answers, {state['folders']:,} folders"
    if warned and not failed:
        yield Finding(NOTE, about, f"{answers}; {warned} warnings", f"mmirrorfs --status {where}")
    elif not failed:
        yield Finding(OK, about, answers)


def _overlaps(mountpoints: list[bytes], states: list[Values]) -> Iterator[Finding]:
    sources = {path_of(source) for state in states for source in state["sources"]}
    for path in sorted(sources):
        for mountpoint in mountpoints:
            about, view = f"source {printable(path)}", f"the view on {printable(mountpoint)}"
            if _is_inside(path, mountpoint):
                yield Finding(BAD, about, f"lies under {view}, which is in its place", "mount the view elsewhere")
            elif _is_inside(mountpoint, path):
                yield Finding(BAD, about, f"has {view} in it", "mount the view elsewhere, or --exclude it")


def _is_inside(path: bytes, directory: bytes) -> bool:
    return os.path.commonpath([path, directory]) == directory


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    machine.library,
    machine.device,
    machine.mounting,
    machine.others,
    machine.kernel,
    machine.fanotify,
    machine.inotify,
    machine.announcing,
    machine.helpers,
    machine.logging_place,
    fstab,
    mounted,
)
"""In the order of the output."""
