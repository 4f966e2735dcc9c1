"""A plan as one JSON object: what programs read, and what the page is made from. Pure.

Paths are in the form of ``text.json_path``; where a near miss is, the root as the empty text, is ``in`` and ``in_b64``.
"""

import stat
from typing import Any

from mmirrorfs.attributes import DIR
from mmirrorfs.plan.rows import Near, Plan, Row
from mmirrorfs.text import json_path

_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


def kind_of(row: Row) -> str:
    """The type of an entry in one word."""
    if row.kind == DIR:
        return "merged" if row.high is None else "folder"
    return _KINDS.get(row.kind, "file")


def document(plan: Plan) -> dict[str, Any]:
    """The plan as a value that ``json`` can print."""
    names = plan.sources
    return {
        "sources": list(names),
        "options": {"depth": plan.depth, "match": plan.match, "ignore": list(plan.ignores)},
        "entries": [_entry(row, names) for row in plan.rows],
        "near": [_near(near, names) for near in plan.near],
        "groups": [{"count": group.count, "text": group.text, "advice": group.advice} for group in plan.groups],
        "remarks": [{"about": note.about, **json_path(note.path), "text": note.text} for note in plan.remarks],
        "totals": dict(plan.totals),
    }


def _entry(row: Row, names: tuple[str, ...]) -> dict[str, Any]:
    return {
        **json_path(row.path),
        "type": kind_of(row),
        "sources": [names[rank] for rank in row.have],
        "high": names[row.high] if row.high is not None else None,
        "low": names[row.low] if row.low is not None else None,
        "files": {names[rank]: count for rank, count in enumerate(row.files) if count is not None},
    }


def _near(near: Near, names: tuple[str, ...]) -> dict[str, Any]:
    return {
        **{key.replace("path", "in", 1): value for key, value in json_path(near.place).items()},
        "names": [{"name": name.decode(), "sources": [names[rank] for rank in have]} for name, have in near.names],
        "reason": near.reason,
        "advice": near.advice,
        "pairs_with": near.rule,
    }
