"""Large directories are worked off in pieces: whoever else wants something gets a turn after each of them."""

from collections import Counter
from pathlib import Path

import pytest
import trio

from mmirrorfs.attributes import Attributes
from mmirrorfs.source.reader import DirectoryReader, Listed, Reader
from mmirrorfs.view.directories import Directories
from mmirrorfs.view.fallback import PIECE
from mmirrorfs.view.folders import Folders
from mmirrorfs.view.nodes import MergedNode, Node
from mmirrorfs.view.view import View
from tests.build import LASTING, Clock, find, plant, sources, view_of

MANY = 3000


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How much was done since it was cleared last, by kind; a local source is quick throughout."""
    counted: Counter[str] = Counter()
    child, inside = View.child, Folders._all_inside
    asked, read = Reader.stat_several, DirectoryReader.read

    def count_child(view: View, above: MergedNode, name: bytes, entry: object) -> Node:
        counted["nodes"] += 1
        return child(view, above, name, entry)  # type: ignore[arg-type]  # passed on as it is

    def count_inside(folders: Folders, above: object, listed: list[Listed], taken: float) -> list[tuple[bytes, Node]]:
        counted["nodes"] += len(listed)
        return inside(folders, above, listed, taken)  # type: ignore[arg-type]  # passed on as it is

    def count_asked(
        reader: Reader, above: bytes, names: list[bytes], cached: bool = False
    ) -> list[Attributes | OSError]:
        counted["attributes"] += len(names)
        return asked(reader, above, names, cached)

    def count_read(reader: DirectoryReader, most: int) -> tuple[list[Listed], bool]:
        found = read(reader, most)
        counted["entries"] += len(found[0])
        return found

    monkeypatch.setattr(View, "child", count_child)
    monkeypatch.setattr(Folders, "_all_inside", count_inside)
    monkeypatch.setattr(Reader, "stat_several", count_asked)
    monkeypatch.setattr(DirectoryReader, "read", count_read)
    return counted


async def most_in_a_turn(view: View, path: str, work: Counter[str]) -> dict[str, int]:
    """The most that is done while a directory is opened, before somebody who wants a turn gets one."""
    most: Counter[str] = Counter()
    directories, node = Directories(view), await find(view, path)

    async def wants_turns() -> None:
        while True:
            for kind, count in work.items():
                most[kind] = max(most[kind], count)
            work.clear()
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wants_turns)
        handle = await directories.open(node.ino)
        assert len(await directories.entries(handle, 0)) == MANY
        await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    return most


@pytest.mark.parametrize("depth", [1, 2], ids=["a folder", "a merged directory"])
async def test_a_large_directory_is_worked_off_in_pieces(tmp_path: Path, depth: int, work: Counter[str]) -> None:
    names = [f"{number * 1009 % MANY:04}" for number in range(MANY)]
    high = plant(tmp_path / "high", {"in": dict.fromkeys(names if depth == 1 else names[::2], "")})
    low = plant(tmp_path / "low", {"in": dict.fromkeys(names[1::2], "")})
    clock = Clock()
    view = view_of(sources(high, low, depth=depth), clock=clock)
    clock.now += LASTING.keep
    done = await most_in_a_turn(view, "in", work)
    assert done.keys() >= {"nodes", "entries" if depth == 1 else "attributes"}
    assert max(done.values()) <= 2 * PIECE, "it is by chance who is the first when two have a turn"
