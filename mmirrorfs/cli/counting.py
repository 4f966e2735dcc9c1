"""How many files the folders hold that are in more than one source: what a plan says of half and empty ones."""

import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

from mmirrorfs.cli.prepare import Count, in_threads
from mmirrorfs.plan.rows import Remark, Row
from mmirrorfs.source.count import Elsewhere, count_files
from mmirrorfs.source.source import ABSENT, Source

Counts = dict[bytes, int]
"""Files by folder, of one source."""


def counted(rows: Sequence[Row], sources: Sequence[Source], crawl: str) -> tuple[list[Row], list[Remark]]:
    """The rows with the numbers of files, and what is to be said of them and of what could not be read.

    ``crawl`` says in which sources folders are read at all, as for a mount: all, local or off.
    """
    looked = [source for source in sources if crawl == "all" or (crawl == "local" and source.local)]
    counts: dict[int, Counts] = {source.rank: {} for source in looked}
    remarks: list[Remark] = []
    progress = Count("counting files")

    def look(source: Source) -> None:
        remarks.extend(_count(source, rows, counts[source.rank], progress))

    in_threads(looked, look, progress)
    found = [_with_files(row, counts) if row.is_folder else row for row in rows]
    left_out = [source.name for source in sources if source not in looked]
    if left_out and crawl == "local":
        remarks.append(
            Remark(
                "uncounted", b"", f"files are counted in local sources only, not in {', '.join(left_out)}; --crawl all"
            )
        )
    return found, remarks


def _count(source: Source, rows: Sequence[Row], counts: Counts, progress: Count) -> Iterator[Remark]:
    for row in rows:
        place = row.places[source.rank] if row.is_folder and len(row.have) > 1 else None
        if place is None:
            continue
        progress.add(1)
        try:
            counts[place] = count_files(source.reader, place, source.is_local)
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
        counts[rank].get(place) if place is not None and rank in counts else None
        for rank, place in enumerate(row.places)
    )
    return replace(row, files=files) if any(count is not None for count in files) else row
