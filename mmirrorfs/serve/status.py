"""The state of a view for monitoring: ``--status``, the metrics, ``systemctl status``."""

import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mmirrorfs import __version__
from mmirrorfs.attributes import DIR
from mmirrorfs.serve.refresh import Refresher
from mmirrorfs.serve.watched import Watched
from mmirrorfs.source.crawler import Progress
from mmirrorfs.source.source import Source
from mmirrorfs.source.threads import HUNG
from mmirrorfs.source.walks import directories_of
from mmirrorfs.text import json_path
from mmirrorfs.tree import Directory, Leaf, Merged
from mmirrorfs.view.directories import Directories
from mmirrorfs.view.view import View


def status(
    view: View,
    directories: Directories,
    refresher: Refresher,
    crawls: Sequence[Progress],
    watches: Sequence[Watched],
    counts: "Counts",
) -> dict[str, Any]:
    """The state of the view and of each source, as values for JSON. Event loop's thread only.

    ``empty`` is the number of a source's folders without a file, None without ``--skip-empty``; ``wins`` that of the
    folders that it shows. Times are in seconds since the epoch, ``took`` (the last scan) and ``longest`` in seconds.
    """
    return {
        "version": __version__,
        "pid": os.getpid(),
        "sources": [
            {
                "name": source.name,
                **json_path(source.path),
                "lost": source.lost,
                "lost_since": refresher.presences[source.rank].lost_since,
                "hangs": source.threads.hung,
                "waiting": _waiting(source),
                "wins": counts.wins[source.rank],
                "folders": counts.folders[source.rank],
                "empty": counts.empty[source.rank] if source.skip_empty else None,
                "entries": known.used,
                "looked": refresher.loops[source.rank].scanned_at,
                "crawl": asdict(crawl),
                "watch": watch._asdict(),
            }
            for source, known, crawl, watch in zip(view.sources, view.known, crawls, watches, strict=True)
        ],
        "order": [view.sources[rank].name for rank in view.inodes.order],
        "folders": counts.wins.total(),
        "last_refresh": refresher.last.scanned_at,
        "took": round(refresher.last.took, 6),
        "inodes": len(view.inodes.held),
        "open_files": len(view.files),
        "open_directories": len(directories),
        "remembered": sum(known.used for known in view.known),
    }


def _waiting(source: Source) -> dict[str, float]:
    """The calls that wait for a source, how many of them for more than HUNG seconds, and the longest wait."""
    waits = source.threads.waits()
    stuck = sum(wait > HUNG for wait in waits)
    return {"calls": len(waits), "stuck": stuck, "longest": round(max(waits, default=0.0), 3)}


@dataclass(frozen=True, slots=True)
class Counts:
    """Folders by source: how many it shows, how many it has, and how many of these are known to hold no file."""

    wins: Counter[int]
    folders: list[int]
    empty: list[int]


def counted(index: Merged, trees: Sequence[Directory]) -> Counts:
    """Count the folders of a view. Walks all trees: any thread may call this."""
    folders, empty = [], []
    for tree in trees:
        kinds = Counter(
            entry.is_empty
            for _, directory in directories_of(tree)
            for entry in directory.entries.values()
            if isinstance(entry, Leaf) and entry.kind == DIR
        )
        folders.append(kinds.total())
        empty.append(kinds[True])
    return Counts(folders_by_source(index), folders, empty)


def summary(view: View, refresher: Refresher) -> str:
    """The state in one line, for ``systemctl status``. Walks the index: any thread may call this."""
    sources = ", ".join(source.name + (" (LOST)" if source.lost else "") for source in view.sources)
    when = time.strftime("%H:%M:%S", time.localtime(refresher.last.scanned_at))
    return f"{folders_by_source(view.inodes.index).total()} folders from {sources}; last scanned {when}"


def folders_by_source(index: Merged) -> Counter[int]:
    """How many folders each source shows, by rank."""
    winners: Counter[int] = Counter()
    queue = [index]
    for merged in queue:
        for child in merged.children.values():
            if isinstance(child, Merged):
                queue.append(child)
            elif child.kind == DIR:
                winners[child.source] += 1
    return winners
