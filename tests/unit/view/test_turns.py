"""Large directories are processed in pieces, with a checkpoint after each."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from mmirrorfs.attributes import Attributes
from mmirrorfs.listing import Listed, Listing
from mmirrorfs.source.reader import Reader
from mmirrorfs.tree import Leaf, Merged
from mmirrorfs.view.directories import PIECE, Directories
from mmirrorfs.view.inodes import Inodes
from mmirrorfs.view.nodes import MergedNode, Node
from mmirrorfs.view.view import View
from tests.support.build import KEEP, Clock, find, sources, view_of
from tests.support.trees import grow

MANY = 3000
REPLY = 100
"""Entries in one reply."""


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The work done on the event loop since it was last cleared, by kind."""
    counted: Counter[str] = Counter()
    child, entries, stat_several = Inodes.child, Listing.entries, Reader.stat_several

    def count_child(inodes: Inodes, above: MergedNode, name: bytes, entry: Merged | Leaf) -> Node:
        counted["nodes"] += 1
        return child(inodes, above, name, entry)

    def count_entries(listing: Listing, start: int = 0, most: int | None = None) -> Iterator[Listed]:
        for entry in entries(listing, start, most):
            counted["entries"] += 1
            yield entry

    def count_attributes(
        reader: Reader, above: bytes, names: list[bytes], cached: bool = False
    ) -> list[Attributes | OSError]:
        counted["attributes"] += len(names)
        return stat_several(reader, above, names, cached)

    monkeypatch.setattr(Inodes, "child", count_child)
    monkeypatch.setattr(Listing, "entries", count_entries)
    monkeypatch.setattr(Reader, "stat_several", count_attributes)
    return counted


async def most_between_checkpoints(view: View, path: str, work: Counter[str]) -> dict[str, int]:
    """The maximum work between two checkpoints while a directory is listed, by kind."""
    most: Counter[str] = Counter()
    directories, node = Directories(view), await find(view, path)

    async def other_task() -> None:
        while True:
            for kind, count in work.items():
                most[kind] = max(most[kind], count)
            work.clear()
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other_task)
        handle = await directories.open(node.ino)
        for start in range(0, MANY, REPLY):
            await trio.lowlevel.checkpoint()
            reply = await directories.entries(handle, start)
            assert len([entry for entry, _ in zip(reply, range(REPLY), strict=False)]) == REPLY
        await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    return most


@pytest.mark.parametrize("depth", [1, 2], ids=["a folder", "a merged directory"])
async def test_large_directory_is_processed_in_pieces(
    tmp_path: Path, depth: int, work: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{number * 1009 % MANY:04}" for number in range(MANY)]
    high = grow(tmp_path / "high", {"in": dict.fromkeys(names if depth == 1 else names[::2], "")})
    low = grow(tmp_path / "low", {"in": dict.fromkeys(names[1::2], "")})
    clock = Clock(monkeypatch)
    view = view_of(sources(high, low, depth=depth), clock=clock)
    clock.now += KEEP
    work.clear()
    done = await most_between_checkpoints(view, "in", work)
    assert done.keys() >= ({"entries"} if depth == 1 else {"nodes", "attributes"})
    assert max(done.values()) <= 2 * PIECE, "trio runs tasks of one batch in random order"
