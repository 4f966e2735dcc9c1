"""``--simulate``: the plan, as a tree for a person, as lines for a pipe, as JSON for a program.

Lines are stable: TYPE, WINNER IN HIGH, WINNER IN LOW, PATH, separated by tabs; remarks and totals go to stderr.
"""

import json
import stat
import sys
from collections import Counter
from collections.abc import Iterable, Iterator

from mmirrorfs.attributes import DIR
from mmirrorfs.cli.prepare import matchings_of, open_sources, pairing_of, scan, unknown_names
from mmirrorfs.cli.settings import Settings
from mmirrorfs.merge.plan import Remark, Row, remarks, rows
from mmirrorfs.text import json_path, printable

_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


def simulate(settings: Settings) -> int:
    """Print who would win what. Returns 1 where a source could not be read whole, else 0."""
    trees = tuple(scan(open_sources(settings)))
    names = [source.name for source in settings.sources]
    paired = pairing_of(settings)
    notes = [Remark("unknown name", where, text) for where, text in unknown_names(settings, trees)]
    plan, notes = list(rows(trees, paired)), notes + remarks(trees, names, paired, matchings_of(settings))
    if settings.json:
        json.dump(_document(plan, notes, names), sys.stdout, indent=1)
        print()
    else:
        lines = _tree(plan, names) if sys.stdout.isatty() else _lines(plan, names)
        sys.stdout.writelines(f"{line}\n" for line in lines)
        for note in notes:
            print(f"{note.about}: {printable(note.path) or '/'}: {printable(note.text)}", file=sys.stderr)
        print(_totals(plan, names), file=sys.stderr)
    sys.stdout.flush()
    return int(any(note.about == "unreadable" for note in notes))


def _kind(row: Row) -> str:
    if row.kind == DIR:
        return "merged" if row.high is None else "folder"
    return _KINDS.get(row.kind, "file")


def _lines(plan: Iterable[Row], names: list[str]) -> Iterator[str]:
    for row in plan:
        if row.high is not None and row.low is not None:
            yield "\t".join((_kind(row), names[row.high], names[row.low], printable(row.path)))


def _tree(plan: Iterable[Row], names: list[str]) -> Iterator[str]:
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


def _counts(plan: Iterable[Row], names: list[str]) -> dict[str, int]:
    """How many folders are in more than one source, and how many only in each."""
    counter = Counter(row.have for row in plan if row.kind == DIR and row.high is not None)
    counts = {"in several": sum(number for have, number in counter.items() if len(have) > 1)}
    counts |= {f"only in {name}": sum(n for have, n in counter.items() if have == (i,)) for i, name in enumerate(names)}
    return counts


def _totals(plan: list[Row], names: list[str]) -> str:
    counts = _counts(plan, names)
    several = "both" if len(names) == 2 else "several sources"
    parts = [f"{counts['in several']:,} in {several}"]
    parts += [f"{counts[f'only in {name}']:,} only in {name}" for name in names]
    return f"folders: {', '.join(parts)}"


def _document(plan: list[Row], notes: Iterable[Remark], names: list[str]) -> dict[str, object]:
    """Paths are in the form of ``text.json_path``."""
    entries = [
        {
            **json_path(row.path),
            "type": _kind(row),
            "sources": [names[rank] for rank in row.have],
            "high": names[row.high] if row.high is not None else None,
            "low": names[row.low] if row.low is not None else None,
        }
        for row in plan
    ]
    remarked = [{"about": note.about, **json_path(note.path), "text": note.text} for note in notes]
    return {"sources": names, "entries": entries, "remarks": remarked, "totals": _counts(plan, names)}
