"""Open directories: the entries listed, their order, and when a listing is reused."""

import contextlib
import errno
import os
from itertools import count
from pathlib import Path
from typing import NoReturn

import pytest
import trio

from mmirrorfs.attributes import DIR, FILE, LINK, Attributes
from mmirrorfs.listing import Listing
from mmirrorfs.merge.inodes import ROOT
from mmirrorfs.source.source import Source
from mmirrorfs.tree import Rank
from mmirrorfs.view.directories import PIECE, Directories
from mmirrorfs.view.nodes import FileNode, Node
from mmirrorfs.view.view import View
from tests.support.build import KEEP, Clock, asked, find, heard, listed, move, rescan, sources, view_of
from tests.support.trees import Link, grow


@pytest.fixture
def high(tmp_path: Path) -> Path:
    return grow(tmp_path / "high", {"A": {"Gold": {"01": "flac", "l": Link("01"), "CD2": {}}}, "note": "high"})


@pytest.fixture
def low(tmp_path: Path) -> Path:
    return grow(tmp_path / "low", {"A": {"Gold": {"x": ""}, "More": {}}, "B": {}})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture(params=[True, False], ids=["local", "remote"])
def both(high: Path, low: Path, request: pytest.FixtureRequest) -> list[Source]:
    return sources(high, low, depth=2, local=request.param)


@pytest.fixture
def view(both: list[Source], clock: Clock) -> View:
    return view_of(both, clock=clock)


@pytest.fixture
def directories(view: View) -> Directories:
    return Directories(view)


async def names(directories: Directories, view: View, path: str) -> list[str]:
    return list(await listed(directories, await find(view, path)))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", {"A": DIR, "B": DIR, "note": FILE}),
        ("A", {"Gold": DIR, "More": DIR}),
        ("B", {}),
        ("A/Gold", {"01": FILE, "CD2": DIR, "l": LINK}),
        ("A/Gold/CD2", {}),
    ],
)
async def test_listing_has_the_entries_of_the_merge_or_the_winner(
    view: View, directories: Directories, path: str, expected: dict[str, int]
) -> None:
    entries = await listed(directories, await find(view, path))
    assert {name: attr.kind for name, (_, attr) in entries.items()} == expected


async def test_listing_and_lookup_agree_on_inode_number_and_attributes(view: View, directories: Directories) -> None:
    for path in ("", "A", "A/Gold"):
        above = await find(view, path)
        for name, (node, attr) in (await listed(directories, above)).items():
            found = await view.lookup(above.ino, os.fsencode(name))
            assert (found.ino, view.answer(found)[0]) == (node.ino, attr)


async def test_listing_is_in_byte_order(tmp_path: Path) -> None:
    odd = [b"\xff", b"a b", b"Z", b"\xc3\xa9", b"b", b"B", b"a", b"\x01", b"a.b", b"10", b"9"]
    for above in (b"", b"inside"):
        os.makedirs(os.path.join(os.fsencode(tmp_path), b"root", above), exist_ok=True)
        for name in odd:
            os.makedirs(os.path.join(os.fsencode(tmp_path), b"root", above, name))
    view = view_of(sources(tmp_path / "root"))
    directories = Directories(view)
    for node in (view.inodes.node(ROOT), await find(view, "inside")):
        handle = await directories.open(node.ino)
        found = [name for name, *_ in await directories.entries(handle, 0)]
        assert found == sorted(odd + ([b"inside"] if node.ino == ROOT else []))


async def test_listing_is_a_snapshot_taken_at_opendir(
    view: View, directories: Directories, high: Path, clock: Clock
) -> None:
    for path in ("", "A/Gold"):
        handle = await directories.open((await find(view, path)).ino)
        before = [name for name, *_ in await directories.entries(handle, 0)]
        (high / path / "new").touch()
        move(high / path)
        clock.now += KEEP
        assert [name for name, *_ in await directories.entries(handle, 1)] == before[1:]
        directories.release(handle)


async def test_rewinddir_takes_a_new_listing(view: View, directories: Directories, high: Path, clock: Clock) -> None:
    handle = await directories.open((await find(view, "A/Gold")).ino)
    assert len(list(await directories.entries(handle, 0))) == 3
    (high / "A/Gold/new").touch()
    move(high / "A/Gold")
    clock.now += KEEP
    assert list(await directories.entries(handle, 3)) == []
    assert len(list(await directories.entries(handle, 0))) == 4


async def test_released_handle_raises_ebadf(view: View, directories: Directories) -> None:
    handle = await directories.open(ROOT)
    assert len(directories) == 1
    for _ in range(2):
        directories.release(handle)
    assert len(directories) == 0
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        await directories.entries(handle, 0)
    assert caught.value.errno == errno.EBADF


@pytest.mark.parametrize("path", ["note", "A/Gold/01", "A/Gold/l"])
async def test_opendir_of_a_non_directory_raises(view: View, directories: Directories, path: str) -> None:
    node = await find(view, path)
    with pytest.raises(OSError, match="irectory"):
        await directories.open(node.ino)


async def test_opendir_of_an_unknown_inode_number_raises_estale(directories: Directories) -> None:
    with pytest.raises(OSError, match="Stale"):
        await directories.open(12345)


# Caching


async def stable_entries(directories: Directories, node: Node) -> dict[str, tuple[int, Attributes]]:
    """Inode numbers and attributes of a directory, without access times, which a listing changes."""
    entries = await listed(directories, node)
    return {name: (node.ino, attr._replace(atime_ns=0)) for name, (node, attr) in entries.items()}


@pytest.mark.parametrize("path", ["", "A", "A/Gold", "A/Gold/CD2"])
async def test_expired_directory_is_fetched_with_one_call_and_a_fresh_one_with_none(
    view: View, directories: Directories, clock: Clock, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await find(view, path)
    before = await stable_entries(directories, node)
    calls = asked(view.sources[0], monkeypatch)
    clock.now += KEEP - 0.1
    assert await stable_entries(directories, node) == before
    assert calls == []
    clock.now += 0.1
    assert await stable_entries(directories, node) == before
    with trio.fail_after(10):  # a merged directory is fetched in the background
        while not calls:
            await trio.sleep(0.01)
    assert len(calls) == 1


async def test_listing_of_a_folder_is_cached_until_it_expires(high: Path, low: Path, clock: Clock) -> None:
    for local in (True, False):
        view = view_of(sources(high, low, depth=2, local=local), clock=clock)
        directories = Directories(view)
        before = await names(directories, view, "A/Gold")
        (high / "A/Gold" / f"new{local}").touch()
        move(high / "A/Gold")
        assert await names(directories, view, "A/Gold") == before
        clock.now += KEEP
        assert f"new{local}" in await names(directories, view, "A/Gold")


async def test_listing_of_a_merged_directory_shows_a_new_index_at_once(
    view: View, directories: Directories, high: Path
) -> None:
    assert await names(directories, view, "A") == ["Gold", "More"]
    grow(high / "A" / "New", {})
    move(high / "A")
    rescan(view)
    assert await names(directories, view, "A") == ["Gold", "More", "New"]


async def test_removed_leaf_gives_way_to_the_next_source_or_is_not_listed(
    view: View, directories: Directories, high: Path, clock: Clock
) -> None:
    (high / "A" / "Gold").rename(high / "elsewhere")
    (high / "note").unlink()
    (high / "note").mkdir()
    clock.now += KEEP

    async def has_given_way() -> bool:
        with contextlib.suppress(OSError):  # ESTALE: the kernel repeats the lookup
            return await names(directories, view, "A/Gold") == ["x"]
        return False

    with trio.fail_after(10):  # fetched in the background, so it takes a while
        while await names(directories, view, "") != ["A", "B"] or not await has_given_way():
            await trio.sleep(0.01)
    assert set(heard(view).gone) == {b"A/Gold", b"note"}


@pytest.mark.parametrize("local", [True, False])
async def test_excluded_name_is_hidden_below_the_depth(high: Path, local: bool) -> None:
    source = Source(Rank(0), "high", os.fsencode(high), 2, lambda name: name == b"01", local=local)
    view = view_of([source])
    for _ in range(2):  # without a listing, and with one
        with pytest.raises(FileNotFoundError):
            await find(view, "A/Gold/01")
        assert await names(Directories(view), view, "A/Gold") == ["CD2", "l"]


# Large directories


async def test_large_directory_is_listed_completely_and_yields_to_other_tasks(tmp_path: Path) -> None:
    many = PIECE * 5 + 3
    root = grow(
        tmp_path / "root", {"folder": {f"{n:05}": "" for n in range(many)}, **{f"f{n:05}": {} for n in range(many)}}
    )
    for local in (True, False):
        view = view_of(sources(root, local=local))
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(others)
            inside = await listed(Directories(view), await find(view, "folder"))
            merged = await listed(Directories(view), view.inodes.node(ROOT))
            nursery.cancel_scope.cancel()
        assert (list(inside), len(merged)) == ([f"{n:05}" for n in range(many)], many + 1)
        assert turns >= 5


async def test_large_listing_that_fails_half_way_leaks_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = grow(tmp_path / "root", {"folder": {f"{n:05}": "" for n in range(PIECE + 10)}})
    view = view_of(sources(root, local=False))
    node = await find(view, "folder")
    before = os.listdir("/proc/self/fd")
    reader, turns = view.sources[0].reader, count()
    attributes_of = reader.attributes_of

    def failing(path: bytes, name: bytes, entry: "os.DirEntry[str]") -> Attributes | None:
        return attributes_of(path, name, entry) if next(turns) < PIECE else _io_error()

    monkeypatch.setattr(reader, "attributes_of", failing)
    with pytest.raises(OSError, match="I/O"):
        await Directories(view).open(node.ino)
    assert os.listdir("/proc/self/fd") == before


def _io_error() -> NoReturn:
    raise OSError(errno.EIO, "I/O error")


async def test_open_directory_removed_with_unknown_attributes_raises(
    view: View, directories: Directories, high: Path, clock: Clock
) -> None:
    node = await find(view, "A/Gold/CD2")
    view.known[0].amend(b"A/Gold", b"CD2", None, clock.now)
    handle = await directories.open(node.ino)
    (high / "A" / "Gold" / "CD2").rmdir()
    clock.now += KEEP
    with pytest.raises(OSError, match=r"No such file|Stale"):
        view.answer(await view.getattr(node.ino))
    directories.release(handle)


async def test_directory_removed_during_opendir_keeps_its_last_known_attributes(
    view: View, directories: Directories, high: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, listing = await find(view, "A/Gold/CD2"), view.revalidation.listing

    async def removed_meanwhile(folder: FileNode) -> Listing:
        found = await listing(folder)
        (high / "A" / "Gold" / "CD2").rmdir()
        view.known[0].amend(b"A/Gold", b"CD2", None, clock.now)
        return found

    monkeypatch.setattr(view.revalidation, "listing", removed_meanwhile)
    handle = await directories.open(node.ino)
    assert view.answer(await view.getattr(node.ino))[0].kind == DIR
    directories.release(handle)
