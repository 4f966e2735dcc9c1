"""The formats of ``--simulate`` for programs and browsers: tsv, csv, JSON, and an HTML page made from that JSON.

Rule 1: a line of tsv is TYPE, WINNER IN HIGH, WINNER IN LOW, PATH, separated by tabs, and stable. With tsv and csv
everything else goes to stderr.
Rule 2: in JSON a path has the form of ``text.json_path``. The directory of a near miss is ``in`` and ``in_b64``, empty
for the root.
Rule 3: the page loads nothing. The plan is embedded as JSON that cannot end its element, and the page's Content
Security Policy allows no script and no style but its own, by their hashes.
"""

import base64
import csv
import hashlib
import json
import re
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any

from mmirrorfs.attributes import DIR
from mmirrorfs.cli import simulate_text
from mmirrorfs.plan.rows import Near, Plan, Row
from mmirrorfs.text import json_path, printable


def _show_json(plan: Plan) -> None:
    json.dump(document(plan), sys.stdout, indent=1)
    print()


def _show_html(plan: Plan) -> None:
    print(html(document(plan)))


def _show_tsv(plan: Plan) -> None:
    for row, high, low in _winners(plan):
        print(kind_of(row), high, low, printable(row.path), sep="\t")
    _print_remarks(plan)


def _show_csv(plan: Plan) -> None:
    """Print csv. A path that a spreadsheet would take for a formula begins with ``./``."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    columns = [f"{what} {name}" for what in ("in", "files in") for name in plan.sources]
    writer.writerow(["type", "high", "low", "path", *columns])
    for row, high, low in _winners(plan):
        path = printable(row.path)
        has = ["yes" if place is not None else "" for place in row.places]
        counts = ["" if count is None else count for count in row.files] or [""] * len(has)
        writer.writerow([kind_of(row), high, low, f"./{path}" if path[0] in "=+-@" else path, *has, *counts])
    _print_remarks(plan)


def _winners(plan: Plan) -> Sequence[tuple[Row, str, str]]:
    return [
        (row, plan.sources[row.high], plan.sources[row.low])
        for row in plan.rows
        if row.high is not None and row.low is not None
    ]


def _print_remarks(plan: Plan) -> None:
    """Print near misses, remarks and totals on stderr."""
    sys.stdout.flush()
    for line in simulate_text.remarks(plan):
        print(line, file=sys.stderr)


FORMATS: dict[str, Callable[[Plan], None]] = {
    "tsv": _show_tsv,
    "csv": _show_csv,
    "json": _show_json,
    "html": _show_html,
}
"""How to print a plan on stdout, by the name of the format."""


_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


def kind_of(row: Row) -> str:
    """The type of an entry, in one word."""
    if row.kind == DIR:
        return "merged" if row.high is None else "folder"
    return _KINDS.get(row.kind, "file")


def document(plan: Plan) -> dict[str, Any]:
    """The plan as a value for ``json``."""
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


_SCRIPTS = ("names", "plan", "picture", "columns", "grid", "near", "details", "page")


def html(document: Mapping[str, object]) -> str:
    """The page of a plan, in ASCII, from its ``document``."""
    style, script = _read("page.css"), "".join(_read(f"{name}.js") for name in _SCRIPTS)
    parts = {
        "policy": _policy(style, script),
        "style": style,
        "script": script,
        "plan": json.dumps(document, separators=(",", ":")).replace("<", "\\u003c"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _read("page.html"))


def _read(name: str) -> str:
    return (files("mmirrorfs.cli") / "html" / name).read_text("ascii")


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; script-src {_csp_hash(script)}; style-src {_csp_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
    )


def _csp_hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
