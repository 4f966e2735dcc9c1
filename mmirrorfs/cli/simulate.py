"""``--simulate``: the plan of a merge, for a person, for a pipe, for a program, or as a page.

Lines are stable: TYPE, WINNER IN HIGH, WINNER IN LOW, PATH, separated by tabs; all else goes to stderr then.
"""

import csv
import json
import sys
from collections.abc import Callable, Sequence

from mmirrorfs.cli import overview
from mmirrorfs.cli.counting import counted
from mmirrorfs.cli.document import document, kind_of
from mmirrorfs.cli.page import html
from mmirrorfs.cli.prepare import matchings_of, open_sources, pairing_of, scan, unknown_names
from mmirrorfs.cli.settings import Settings
from mmirrorfs.merge.names import MATCHES
from mmirrorfs.plan.advice import Match
from mmirrorfs.plan.narrow import narrowed
from mmirrorfs.plan.near import near_misses
from mmirrorfs.plan.remarks import incomplete, remarks
from mmirrorfs.plan.rows import Plan, Remark, Row, in_several, rows, totals
from mmirrorfs.source.source import Source
from mmirrorfs.text import printable


def simulate(settings: Settings) -> int:
    """Print who would win what. Returns 1 where a source could not be read whole, else 0."""
    plan = planned(settings, open_sources(settings))
    if settings.only is not None:
        plan = narrowed(plan, settings.only)
    form = settings.format or ("text" if settings.summary or sys.stdout.isatty() else "tsv")
    if form == "text":
        overview.show(plan, not settings.summary, overview.MOST if settings.only is None else None)
    else:
        _FORMATS[form](plan)
    sys.stdout.flush()
    return int(any(note.about == "unreadable" for note in plan.remarks))


def planned(settings: Settings, sources: Sequence[Source]) -> Plan:
    """Scan the sources, and plan the merge. Raises Problem where one is lost."""
    trees, paired = tuple(scan(sources)), pairing_of(settings)
    names = tuple(source.name for source in sources)
    now = Match(settings.match, settings.ignores, settings.rules)
    found, notes = counted(list(rows(trees, paired)), sources, settings.crawl)
    near, groups = near_misses(trees, now)
    notes += [Remark("unknown name", where, text) for where, text in unknown_names(settings, trees)]
    notes += [*remarks(trees, names, paired, matchings_of(settings)), *incomplete(found, names)]
    loose = {"in both with loose": in_several(trees, now.with_match(MATCHES[-1]).pairing)}
    return Plan(
        sources=names,
        depth=settings.depth,
        match=settings.match,
        ignores=settings.ignores,
        rows=found,
        near=near,
        groups=groups,
        remarks=sorted(notes, key=lambda note: (note.path, note.about, note.text)),
        totals=totals(found, names) | loose,
    )


def _show_json(plan: Plan) -> None:
    json.dump(document(plan), sys.stdout, indent=1)
    print()


def _show_page(plan: Plan) -> None:
    print(html(document(plan)))


def _show_lines(plan: Plan) -> None:
    for row, high, low in _winners(plan):
        print(kind_of(row), high, low, printable(row.path), sep="\t")
    _remark(plan)


def _show_table(plan: Plan) -> None:
    """A line for a spreadsheet: a name that it would take for a formula stands behind ``./``, and is a path still."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    columns = [f"{what} {name}" for what in ("in", "files in") for name in plan.sources]
    writer.writerow(["type", "high", "low", "path", *columns])
    for row, high, low in _winners(plan):
        path = printable(row.path)
        has = ["yes" if place is not None else "" for place in row.places]
        files = ["" if count is None else count for count in row.files] or [""] * len(has)
        writer.writerow([kind_of(row), high, low, f"./{path}" if path[0] in "=+-@" else path, *has, *files])
    _remark(plan)


def _winners(plan: Plan) -> Sequence[tuple[Row, str, str]]:
    return [
        (row, plan.sources[row.high], plan.sources[row.low])
        for row in plan.rows
        if row.high is not None and row.low is not None
    ]


def _remark(plan: Plan) -> None:
    """What is not for the program that reads the lines."""
    sys.stdout.flush()
    for line in overview.remarks(plan):
        print(line, file=sys.stderr)


_FORMATS: dict[str, Callable[[Plan], None]] = {
    "tsv": _show_lines,
    "json": _show_json,
    "csv": _show_table,
    "html": _show_page,
}
