"""A part of a plan: what is in several sources or in one alone, near misses, or conflicts. Pure."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from mmirrorfs.plan.rows import Plan, Row
from mmirrorfs.tree import Rank

PARTS = ("both", "near", "conflicts")
"""What a plan can be narrowed to, besides what is only in the source of a name."""


def narrowed(plan: Plan, only: str) -> Plan:
    """The rows of one of PARTS, or of what is only in the source called ``only``, each below what it is in.

    Near misses and remarks are kept where they are about that; what could not be read always is.
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
    """The paths of all near misses, with the ranks of the sources that have them."""
    return {
        place for near in plan.near for places in near.places for place in enumerate(places) if place[1] is not None
    }


def _kept(rows: Iterable[Row], wanted: Callable[[Row], bool]) -> tuple[Row, ...]:
    return tuple(_with_what_they_are_in(rows, wanted))


def _with_what_they_are_in(rows: Iterable[Row], wanted: Callable[[Row], bool]) -> Iterator[Row]:
    """The rows that are wanted and, before these, the directories that they are in."""
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
