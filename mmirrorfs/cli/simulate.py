"""``--simulate``: scans the sources and prints the plan of a merge, without mounting anything.

Rule 1: the plan comes from the same scan and merge as a mount's.
Rule 2: files are counted only in folders that several sources have, and only in the sources that ``--crawl`` selects.

Raises Problem where a source is lost during the scan. One that is lost later is a remark.
"""

import errno
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

from mmirrorfs.cli import simulate_text
from mmirrorfs.cli.prepare import Progress, in_threads, matchings_of, open_sources, pairing_of, scan, unknown_names
from mmirrorfs.cli.settings import Settings
from mmirrorfs.cli.simulate_formats import FORMATS
from mmirrorfs.merge.names import MATCHES
from mmirrorfs.plan.advice import Match
from mmirrorfs.plan.narrow import narrowed
from mmirrorfs.plan.near import near_misses
from mmirrorfs.plan.remarks import incomplete, remarks
from mmirrorfs.plan.rows import Plan, Remark, Row, in_several, rows, totals
from mmirrorfs.source.count import Elsewhere, count_files
from mmirrorfs.source.source import ABSENT, Source


def simulate(settings: Settings) -> int:
    """Print the plan; returns 1 where a source could not be read completely, else 0."""
    plan = planned(settings, open_sources(settings))
    if settings.only is not None:
        plan = narrowed(plan, settings.only)
    form = settings.format or ("text" if settings.summary or sys.stdout.isatty() else "tsv")
    if form == "text":
        most = simulate_text.MOST if settings.only is None else None
        simulate_text.show(plan, not settings.summary, most)
    else:
        FORMATS[form](plan)
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


Counts = dict[bytes, int]
"""The number of files by folder, of one source."""


def counted(rows: Sequence[Row], sources: Sequence[Source], crawl: str) -> tuple[list[Row], list[Remark]]:
    """The rows with their numbers of files, and remarks on folders that could not be read or counted.

    ``crawl`` selects the sources to read, as for a mount: all, local or off.
    """
    readable = [source for source in sources if crawl == "all" or (crawl == "local" and source.local)]
    counts: dict[int, Counts] = {source.rank: {} for source in readable}
    notes: list[Remark] = []
    progress = Progress("counting files")

    def count_one(source: Source) -> None:
        notes.extend(_count(source, rows, counts[source.rank], progress))

    in_threads(readable, count_one, progress)
    found = [_with_files(row, counts) if row.is_folder else row for row in rows]
    left_out = [source.name for source in sources if source not in readable]
    if left_out and crawl == "local":
        notes.append(
            Remark(
                "uncounted", b"", f"files are counted in local sources only, not in {', '.join(left_out)}; --crawl all"
            )
        )
    return found, notes


def _count(source: Source, rows: Sequence[Row], counts: Counts, progress: Progress) -> Iterator[Remark]:
    for row in rows:
        folder = row.places[source.rank] if row.is_folder and len(row.have) > 1 else None
        if folder is None:
            continue
        progress.add(1)
        try:
            counts[folder] = count_files(source.reader, folder, source.is_local)
        except Elsewhere:
            continue
        except OSError as error:
            try:
                source.check_root()
            except OSError as lost:
                yield Remark("unreadable", b"", f"{source.name} is not there any more: {lost.strerror}")
                return
            if error.errno not in ABSENT:
                reason = os.strerror(error.errno or errno.EIO)
                yield Remark("unreadable", row.path, f"cannot be listed in {source.name}: {reason}")


def _with_files(row: Row, counts: dict[int, Counts]) -> Row:
    files = tuple(
        counts[rank].get(folder) if folder is not None and rank in counts else None
        for rank, folder in enumerate(row.places)
    )
    return replace(row, files=files) if any(count is not None for count in files) else row
