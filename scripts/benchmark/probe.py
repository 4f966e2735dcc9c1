"""The in-process worker: builds and refreshes an index as mmirrorfs does, without a mount.

Only this module and floor.py import mmirrorfs. Same protocol as worker.py.
"""

import os
import time
from collections.abc import Sequence

from benchmark.worker import Result, Work, serve
from mmirrorfs.cli.prepare import scan
from mmirrorfs.merge.index import changes, merge
from mmirrorfs.merge.names import MATCHES, pairing
from mmirrorfs.source.source import Source
from mmirrorfs.tree import Directory, Merged, Rank

DEPTH = 2
ORDER = (Rank(0), Rank(1))


def index(sources: list[str], changing: str) -> Work:
    """Seconds to build the index, to refresh it unchanged, and to refresh it after the folder ``changing`` is created.

    And of the merge alone, for each kind of pairing.
    """

    def work() -> Result:
        opened = [Source(Rank(rank), str(rank), os.fsencode(path), DEPTH) for rank, path in enumerate(sources)]
        started = time.perf_counter()
        trees = scan(opened)
        merged = merge(tuple(trees), ORDER)
        built = time.perf_counter()
        trees = _again(opened, trees)
        quiet = time.perf_counter()
        os.mkdir(changing)
        try:
            changed = _changed(opened, trees, merged)
        finally:
            os.rmdir(changing)
        merges = {f"merge {match}": _merging(trees, match) for match in MATCHES}
        figures = {"build": built - started, "quiet": quiet - built, "changed": changed, **merges}
        return {**figures, "folders": _folders(merged)}

    return work


def _merging(trees: Sequence[Directory], match: str) -> float:
    """The first merge with that pairing, without the scan."""
    started = time.perf_counter()
    merge(tuple(trees), ORDER, pairing(match, ()))
    return time.perf_counter() - started


def _again(sources: Sequence[Source], trees: Sequence[Directory]) -> list[Directory]:
    return [source.scan(tree) for source, tree in zip(sources, trees, strict=True)]


def _changed(sources: Sequence[Source], trees: Sequence[Directory], before: Merged) -> float:
    started = time.perf_counter()
    after = merge(tuple(_again(sources, trees)), ORDER, before=before, now_ns=time.time_ns())
    found = list(changes(before, after))
    taken = time.perf_counter() - started
    if not found:
        raise ValueError("the refresh missed the new folder")
    return taken


def _folders(merged: Merged) -> int:
    return sum(len(child.children) for child in merged.children.values() if isinstance(child, Merged))


if __name__ == "__main__":
    serve({"index": index})
