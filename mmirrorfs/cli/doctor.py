"""``--doctor``: whether this machine has what views need, and whether those that are mounted are well; what to do.

A line for each thing that was looked at, and one with what to do where there is anything. Nothing is changed, nothing
that may hang is touched without a time limit.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict

import click

from mmirrorfs.cli import doctor_machine as machine
from mmirrorfs.cli import doctor_views as views
from mmirrorfs.cli.explained import plain
from mmirrorfs.cli.finding import BAD, NOTE, OK, Finding

WRONG = 1
"""Exit code where something is wrong."""
_COLOURS = {OK: "green", NOTE: "yellow", BAD: "red"}
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
    views.fstab,
    views.mounted,
)


def doctor(as_json: bool) -> int:
    """Print all findings; returns WRONG where one is bad."""
    found = [finding for check in CHECKS for finding in check()]
    if as_json:
        print(json.dumps([asdict(finding) for finding in found], indent=1))
    else:
        for finding in found:
            level = click.style(f"{finding.level:<5}", fg=_COLOURS[finding.level])
            _say(f"{level}{finding.about}: {plain(finding.found)}")
            if finding.todo:
                _say(f"     -> {plain(finding.todo)}")
        wrong = sum(finding.level == BAD for finding in found)
        _say(f"{wrong} to be mended" if wrong else "nothing is wrong")
    return WRONG if any(finding.level == BAD for finding in found) else 0


def _say(line: str) -> None:
    click.echo(line, color=False if "NO_COLOR" in os.environ else None)
