"""The state of one view, which its requests, its refresher and its publisher share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import trio

from mmirrorfs.difference import Difference
from mmirrorfs.merge.index import Pairing, exact
from mmirrorfs.source.cache_limit import CacheLimit
from mmirrorfs.source.freshness import Freshness
from mmirrorfs.source.known import Known
from mmirrorfs.source.source import Source
from mmirrorfs.tree import EMPTY_DIRECTORY, Merged, Rank
from mmirrorfs.view.absences import Absences
from mmirrorfs.view.files import Files
from mmirrorfs.view.inodes import Inodes

REMEMBER = 1_000_000
"""Entries cached below the depth, by default."""

SourceChange = tuple[Rank, bytes, list[Difference]]
"""A source, a directory in it, and the changes there."""


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """The sources and their caches, by rank, the inodes, and the open files of one view.

    ``changes`` receives the changes in the sources, in order.
    """

    sources: Sequence[Source]
    known: Sequence[Known]
    inodes: Inodes
    files: Files
    freshness: Freshness
    pairing: Pairing
    cache_limit: CacheLimit
    absences: Absences
    changes: trio.MemoryReceiveChannel[SourceChange]

    @classmethod
    def of(
        cls,
        sources: Sequence[Source],
        order: tuple[Rank, ...],
        index: Merged,
        freshness: Freshness,
        remember: int = REMEMBER,
        pairing: Pairing = exact,
    ) -> "State":
        """A new view with that ``index``; ``order`` lists the ranks, the most preferred first."""
        cache_limit = CacheLimit(remember)
        send, changes = trio.open_memory_channel[SourceChange](math.inf)

        def changed(rank: Rank, directory: bytes, differences: list[Difference]) -> None:
            send.send_nowait((rank, directory, differences))

        known = [
            Known(
                tree or EMPTY_DIRECTORY,
                cache_limit,
                stable=source.stable,
                changed=partial(changed, source.rank),
                mountpoints=source.locality.inside,
            )
            for source, tree in zip(sources, index.inputs, strict=True)
        ]
        inodes, files, absences = Inodes(sources, order, index), Files(), Absences()
        return cls(sources, known, inodes, files, freshness, pairing, cache_limit, absences, changes)
