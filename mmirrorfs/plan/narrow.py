"""Filters a plan: what is in several sources or in one only, near misses, or conflicts. Pure."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from mmirrorfs.plan.rows import Plan, Row
from mmirrorfs.tree import Rank

PARTS = ("both", "near", "conflicts")
"""The filters, besides the name of a source."""


def narrowed(plan: Plan, only: str) -> Plan:
    """The rows of one of PARTS, or of what is only in the source called ``only``, with their parents.

    Near misses and remarks are kept if they belong to the part; unreadable directories always are.
    """
    unread = [remark for remark in plan.remarks if remark.about == "unreadable"]
    if only == "conflicts":
        about = [remark for remark in plan.remarks if remark.about in ("unreadable", "conflict")]
        paths = {remark.path for remark in about if remark.about == "conflict"}
        return replace(plan, rows=_kept(plan.rows, lambda row: row.path in paths), near=(), groups=(), remarks=about)
    if only == "near":
        places = near_places(plan)
        rows = _kept(plan.rows, lambda row: not places.isdisjoint(enumerate(row.places)))
        return replace(plan, rows=rows, remarks=unread)
    if only == "both":
        rows = _kept(plan.rows, lambda row: row.high is not None and len(row.have) > 1)
    else:
        have = (Rank(plan.sources.index(only)),)
        rows = _kept(plan.rows, lambda row: row.high is not None and row.have == have)
    return replace(plan, rows=rows, near=(), groups=(), remarks=unread)


def near_places(plan: Plan) -> set[tuple[int, bytes | None]]:
    """The ranks and paths of all near misses."""
    return {
        place for near in plan.near for places in near.places for place in enumerate(places) if place[1] is not None
    }


def _kept(rows: Iterable[Row], wanted: Callable[[Row], bool]) -> tuple[Row, ...]:
    return tuple(_with_parents(rows, wanted))


def _with_parents(rows: Iterable[Row], wanted: Callable[[Row], bool]) -> Iterator[Row]:
    """The wanted rows, each after the rows of its parents."""
    above: list[Row] = []
    for row in rows:
        while above and not row.path.startswith(above[-1].path + b"/"):
            above.pop()
        if wanted(row):
            yield from above
            above.clear()
            yield row
        elif row.high is None:
            above.append(row)
