"""The text format of ``--simulate``: totals, and what needs a decision; then the winners, as a tree.

Rule 1: colours are for terminals only, and NO_COLOR or TERM=dumb turns them off. On a terminal, output that is longer
than the screen goes to the pager.
Rule 2: names are printed in printable form. Advice is printed as it is, to be copied.

Writes to stdout; otherwise pure.
"""

import itertools
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence

import click

from mmirrorfs.attributes import DIR
from mmirrorfs.plan.narrow import near_places
from mmirrorfs.plan.rows import Group, Near, Plan, Remark
from mmirrorfs.text import printable
from mmirrorfs.tree import Rank

EXAMPLES = 3
"""Near misses that are printed of a group."""
MANY = 4
"""Near misses with the same advice that make a group."""
MOST = 40
"""Near misses, and remarks of one kind, that are printed where --only does not select them."""
_MARKS = {"near miss": "yellow", "conflict": "red", "empty": "red", "incomplete": "yellow"}
"""The remarks that mark a line of the tree, and their colours."""


def show(plan: Plan, tree: bool = True, most: int | None = MOST) -> None:
    """Print the plan, without the tree if ``tree`` is false. ``most`` as in MOST; None for no limit."""
    lines = itertools.chain(_top(plan, most), ["", *_tree(plan)] if tree and plan.rows else [])
    if not sys.stdout.isatty():
        sys.stdout.writelines(f"{click.unstyle(line)}\n" for line in lines)
        return
    colours = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    text = "".join(f"{line if colours else click.unstyle(line)}\n" for line in lines)
    if text.count("\n") < shutil.get_terminal_size().lines:
        sys.stdout.write(text)
    else:
        click.echo_via_pager(text.removesuffix("\n"), color=colours)


def remarks(plan: Plan) -> Iterator[str]:
    """Near misses, remarks and totals, in one line each."""
    alone = _single(plan)
    for group in _large(plan):
        yield f"near miss: {group.count:,} x {printable(group.text)}: {group.advice}"
    for near in alone:
        advice = "[[same]] in the configuration file" if near.rule == "same" else near.advice
        yield f"near miss: {_path(near.place)}: {_names(near, plan)} {printable(near.reason)}: {advice}"
    for note in plan.remarks:
        yield f"{note.about}: {_path(note.path)}: {printable(note.text)}"
    yield from _with_loose(plan)
    yield _totals(plan)


def _with_loose(plan: Plan) -> Iterator[str]:
    loose = plan.totals["in both with loose"]
    if loose > plan.totals["in both"]:
        yield f"with --match loose {loose:,} would be in {_several(plan)}"


def _top(plan: Plan, most: int | None) -> Iterator[str]:
    yield click.style(_totals(plan), bold=True)
    yield from _with_loose(plan)
    if plan.near:
        yield from ("", click.style(f"near misses: {len(plan.near):,}", bold=True))
        yield from _group_lines(plan)
        yield from _limited(list(_single_lines(plan)), most)
    by_hand = [near.advice for near in plan.near if near.rule == "same"]
    if by_hand:
        yield from ("", click.style("for the configuration file, where they are the same:", bold=True))
        yield from (f"  {line}" for advice in by_hand[:most] for line in advice.split("\n"))
    for about, notes in itertools.groupby(sorted(plan.remarks, key=_about), _about):
        found = [f"  {_path(note.path)}: {printable(note.text)}" for note in notes]
        yield from ("", click.style(f"{about}: {len(found):,}", bold=True, fg=_MARKS.get(about)))
        yield from _limited(found, most)


def _about(remark: Remark) -> str:
    return remark.about


def _limited(lines: Sequence[str], most: int | None) -> Iterator[str]:
    yield from lines[:most]
    if most is not None and len(lines) > most:
        yield f"  and {len(lines) - most:,} more: --only, or --format tsv, has all"


def _large(plan: Plan) -> list[Group]:
    """The groups that are printed instead of their near misses."""
    return [group for group in plan.groups if group.count >= MANY]


def _single(plan: Plan) -> list[Near]:
    """The near misses that are in none of these groups."""
    advised = {group.advice for group in _large(plan)}
    return [near for near in plan.near if near.rule == "same" or near.advice not in advised]


def _group_lines(plan: Plan) -> Iterator[str]:
    for group in _large(plan):
        yield f"  {group.count:,} x {printable(group.text)}: {click.style(group.advice, fg='green')}"
        for near in itertools.islice((near for near in plan.near if near.advice == group.advice), EXAMPLES):
            yield f"    {_path(near.place)}: {_names(near, plan)}"


def _single_lines(plan: Plan) -> Iterator[str]:
    for near in _single(plan):
        advice = "" if near.rule == "same" else f": {click.style(near.advice, fg='green')}"
        yield f"  {_path(near.place)}: {_names(near, plan)} {printable(near.reason)}{advice}"


def _names(near: Near, plan: Plan) -> str:
    """The names, each with the sources that have it."""
    return ", ".join(f"'{printable(name)}' ({_sources(have, plan)})" for name, have in near.names)


def _sources(have: Iterable[Rank], plan: Plan) -> str:
    return ", ".join(plan.sources[rank] for rank in have)


def _path(path: bytes) -> str:
    return printable(path) or "/"


def _tree(plan: Plan) -> Iterator[str]:
    near, marks = near_places(plan), {note.path: note.about for note in plan.remarks if note.about in _MARKS}
    for row in plan.rows:
        above, _, name = row.path.rpartition(b"/")
        indent = "  " * (above.count(b"/") + 1 if above else 0)
        shown = indent + printable(name) + ("/" if row.kind == DIR else "")
        if row.high is not None and row.low is not None:
            shown = f"{shown:<40} {_winners(row.high, row.low, plan)}"
        mark = "near miss" if not near.isdisjoint(enumerate(row.places)) else marks.get(row.path)
        yield f"{shown}  {click.style(f'({mark})', fg=_MARKS[mark])}" if mark else shown


def _winners(high: Rank, low: Rank, plan: Plan) -> str:
    if high == low:
        return click.style(plan.sources[high], fg=_COLOURS[high % len(_COLOURS)])
    return f"high: {plan.sources[high]}, low: {plan.sources[low]}"


_COLOURS = ("cyan", "magenta", "blue", "green")
"""The colours of sources, for what the same source wins in both views."""


def _several(plan: Plan) -> str:
    return "both" if len(plan.sources) == 2 else "several sources"


def _totals(plan: Plan) -> str:
    parts = [f"{plan.totals['in both']:,} in {_several(plan)}"]
    parts += [f"{plan.totals[f'only in {name}']:,} only in {name}" for name in plan.sources]
    return f"folders: {', '.join(parts)}"
