"""``--simulate``: the plan, as a tree for a person, as lines for a pipe, as JSON for a program.

Lines are stable: TYPE, WINNER IN HIGH, WINNER IN LOW, PATH, separated by tabs; remarks and totals go to stderr.
"""

import json
import sys
from collections.abc import Iterable, Iterator

from mmirrorfs.attributes import DIR
from mmirrorfs.cli.document import document, kind_of
from mmirrorfs.cli.prepare import matchings_of, open_sources, pairing_of, scan, unknown_names
from mmirrorfs.cli.settings import Settings
from mmirrorfs.merge.advice import Match
from mmirrorfs.merge.names import MATCHES
from mmirrorfs.merge.near import near_misses
from mmirrorfs.merge.plan import Plan, Remark, Row, in_several, rows, totals
from mmirrorfs.merge.remarks import remarks
from mmirrorfs.text import printable
from mmirrorfs.tree import Directory


def simulate(settings: Settings) -> int:
    """Print who would win what. Returns 1 where a source could not be read whole, else 0."""
    plan = planned(settings, tuple(scan(open_sources(settings))))
    if settings.json:
        json.dump(document(plan), sys.stdout, indent=1)
        print()
    else:
        names = plan.sources
        lines = _tree(plan.rows, names) if sys.stdout.isatty() else _lines(plan.rows, names)
        sys.stdout.writelines(f"{line}\n" for line in lines)
        for near in plan.near:
            spelled = " and ".join(printable(name) for name, _ in near.names)
            print(f"near miss: {printable(near.place) or '/'}: {spelled} {near.reason}: {near.advice}", file=sys.stderr)
        for note in plan.remarks:
            print(f"{note.about}: {printable(note.path) or '/'}: {printable(note.text)}", file=sys.stderr)
        print(_totals(plan), file=sys.stderr)
    sys.stdout.flush()
    return int(any(note.about == "unreadable" for note in plan.remarks))


def planned(settings: Settings, trees: tuple[Directory, ...]) -> Plan:
    """The plan for sources that were scanned."""
    names = tuple(source.name for source in settings.sources)
    now = Match(settings.match, settings.ignores, settings.rules)
    paired = pairing_of(settings)
    unknown = [Remark("unknown name", where, text) for where, text in unknown_names(settings, trees)]
    found = list(rows(trees, paired))
    near, groups = near_misses(trees, now)
    loose = {f"in both with {MATCHES[-1]}": in_several(trees, now.with_match(MATCHES[-1]).pairing)}
    return Plan(
        sources=names,
        depth=settings.depth,
        match=settings.match,
        ignores=settings.ignores,
        rows=found,
        near=near,
        groups=groups,
        remarks=unknown + remarks(trees, names, paired, matchings_of(settings)),
        totals=totals(found, names) | loose,
    )


def _lines(plan: Iterable[Row], names: tuple[str, ...]) -> Iterator[str]:
    for row in plan:
        if row.high is not None and row.low is not None:
            yield "\t".join((kind_of(row), names[row.high], names[row.low], printable(row.path)))


def _tree(plan: Iterable[Row], names: tuple[str, ...]) -> Iterator[str]:
    for row in plan:
        above, _, name = row.path.rpartition(b"/")
        indent = "  " * (above.count(b"/") + 1 if above else 0)
        shown = indent + printable(name) + ("/" if row.kind == DIR else "")
        if row.high is None or row.low is None:
            yield shown
        elif row.high == row.low:
            yield f"{shown:<40} {names[row.high]}"
        else:
            yield f"{shown:<40} high: {names[row.high]}, low: {names[row.low]}"


def _totals(plan: Plan) -> str:
    several = "both" if len(plan.sources) == 2 else "several sources"
    parts = [f"{plan.totals['in both']:,} in {several}"]
    parts += [f"{plan.totals[f'only in {name}']:,} only in {name}" for name in plan.sources]
    return f"folders: {', '.join(parts)}"
