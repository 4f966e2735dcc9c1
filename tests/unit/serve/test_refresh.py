"""Keeping the index current: what is scanned, what is swapped, what is invalidated in the kernel."""

import shutil
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from mmirrorfs.attributes import DIR
from mmirrorfs.merge.index import Change
from mmirrorfs.merge.inodes import ROOT
from mmirrorfs.source.walks import names_of, revisions
from mmirrorfs.tree import Leaf, Merged, Rank
from tests.support.build import find, seen
from tests.support.world import World, warnings


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def unplug(root: Path) -> None:
    root.rename(root.parent / "unplugged")
    root.mkdir()


def plug_in(root: Path) -> None:
    root.rmdir()
    (root.parent / "unplugged").rename(root)


async def test_a_folder_created_in_a_preferred_source_takes_over(
    world: World, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async with world.watched(monkeypatch):
        assert world.winner(b"More") == 1
        (world.high / "More").mkdir()
        await world.until(lambda: world.winner(b"More") == 0)
        assert world.kernel.names == {(ROOT, b"More")}
        assert world.kernel.inodes == {ROOT}


async def test_a_removed_folder_falls_back_to_the_next_source(
    world: World, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async with world.watched(monkeypatch):
        shutil.rmtree(world.high / "Gold")
        await world.until(lambda: world.winner(b"Gold") == 1)
        shutil.rmtree(world.low / "Gold")
        await world.until(lambda: world.winner(b"Gold") is None)
        assert world.kernel.names == {(ROOT, b"Gold")}
    with pytest.raises(FileNotFoundError):
        await find(world.view, "Gold")


def test_a_directory_reported_missing_falls_back_with_all_that_is_in_it(tmp_path: Path) -> None:
    world = World(tmp_path, depth=2)
    shutil.rmtree(world.high / "A")
    world.refresher.missing(world.sources[0], [b"A"])
    found = world.view.inodes.find(b"A/x")
    assert isinstance(found, Leaf)
    assert found.source == 1
    world.refresher.missing(world.sources[1], [b"A"])
    assert world.view.inodes.find(b"A") is None


async def test_without_changes_nothing_is_swapped_or_invalidated(
    world: World, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    index = world.view.inodes.index
    async with world.watched(monkeypatch):
        await world.full_scan()
        assert world.view.inodes.index.children == index.children
        assert world.kernel.nothing()


async def test_a_change_below_the_depth_does_not_change_the_index(
    world: World, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    index = world.view.inodes.index
    async with world.watched(monkeypatch):
        (world.high / "Gold" / "02").touch()
        await world.full_scan()
        assert world.view.inodes.index.children == index.children


async def test_entries_are_invalidated_only_in_directories_that_the_kernel_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    world = World(tmp_path, depth=2)
    known = await find(world.view, "A")
    async with world.watched(monkeypatch):
        (world.high / "A" / "y").mkdir()
        (world.high / "Gold" / "02").mkdir()
        await world.until(lambda: (known.ino, b"y") in world.kernel.names)
        await world.full_scan()
    assert world.kernel.names == {(known.ino, b"y")}
    assert world.view.answer(await world.view.getattr(known.ino))[0].mtime_ns >= (world.high / "A").stat().st_mtime_ns
    assert (await seen(world.view, "Gold/02")).kind == DIR


async def test_a_refresh_on_demand_expires_every_entry_and_inode_that_the_kernel_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """Absent names too: those of directories that the kernel has dropped are dropped with them."""
    world = World(tmp_path, depth=1)
    gold, track, merged = [await find(world.view, path) for path in ("Gold", "Gold/01", "A")]
    dropped = await find(world.view, "More")
    absences = world.publish._state.absences
    for node, name in ((gold, b"02"), (world.view.inodes.root, b"none"), (dropped, b"gone")):
        assert absences.add(node.ino, name)
    world.view.inodes.held.forget(dropped.ino, 1)
    async with world.watched(monkeypatch):
        world.refresher.refresh()
        entries = {(ROOT, b"Gold"), (ROOT, b"A"), (gold.ino, b"01"), (gold.ino, b"02"), (ROOT, b"none")}
        await world.until(lambda: world.kernel.expired >= entries)
        assert (world.kernel.expired, world.kernel.names) == (entries, set())
        assert world.kernel.inodes >= {ROOT, gold.ino, track.ino, merged.ino}
    assert list(absences.take()) == []


async def test_changes_are_published_after_the_view_shows_them(
    world: World, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    published: list[Change] = []

    def changed(changes: list[Change]) -> None:
        assert world.winner(b"New") == 0
        published.extend(changes)

    world.told = changed
    async with world.watched(monkeypatch):
        (world.high / "New").mkdir()
        await world.until(lambda: bool(published))
    assert [(c.path, c.before, c.after) for c in published if not isinstance(c.after, Merged)] == [
        (b"New", None, Leaf(Rank(0), DIR))
    ]


# Lost sources


async def test_a_lost_source_keeps_its_place_and_causes_one_warning(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    index, high = world.view.inodes.index, world.sources[0]
    async with world.watched(monkeypatch):
        unplug(world.high)
        await world.until(lambda: high.lost is not None)
        for _ in range(3):
            await world.full_scan()
        assert world.view.inodes.index.children == index.children
        assert world.kernel.nothing()
        assert (warnings(caplog, "is lost"), warnings(caplog, "is back")) == (1, 0)
        (world.low / "Since").mkdir()
        await world.until(lambda: world.winner(b"Since") == 1)
        assert world.winner(b"Gold") == 0
        plug_in(world.high)
        (world.high / "Since").mkdir()
        await world.until(lambda: world.winner(b"Since") == 0)
        assert high.lost is None
        await world.full_scan()
        assert (warnings(caplog, "is lost"), warnings(caplog, "is back")) == (1, 1)


@pytest.mark.parametrize("noticed_by_a_reader", [False, True])
async def test_a_lost_source_counts_as_empty_with_fallback(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    noticed_by_a_reader: bool,
    autojump_clock: MockClock,
) -> None:
    world = World(tmp_path, fallback=True)
    node = await find(world.view, "Gold/01")
    unplug(world.high)
    if noticed_by_a_reader:
        with pytest.raises(OSError, match="empty directory"):
            await world.view.open(node.ino)
        assert world.sources[0].lost is not None
    async with world.watched(monkeypatch):
        await world.until(lambda: world.winner(b"Gold") == 1)
        assert (ROOT, b"Gold") in world.kernel.names
        await world.full_scan()
        assert warnings(caplog, "is lost") == 1
        plug_in(world.high)
        await world.until(lambda: world.winner(b"Gold") == 0)
        assert warnings(caplog, "is back") == 1


async def test_a_source_that_is_lost_again_causes_another_warning(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async with world.watched(monkeypatch):
        for turn in (1, 2):
            unplug(world.high)
            await world.until(lambda: world.sources[0].lost is not None)
            plug_in(world.high)
            await world.until(lambda: world.sources[0].lost is None)
            assert (warnings(caplog, "is lost"), warnings(caplog, "is back")) == (turn, turn)


async def test_paths_in_warnings_are_printable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    world = World(tmp_path / "line\nbreak\x1b[31m")
    async with world.watched(monkeypatch):
        unplug(world.high)
        await world.until(lambda: world.sources[0].lost is not None)
    assert all(record.getMessage().isprintable() for record in caplog.records)
    assert warnings(caplog, r"line\nbreak\x1b[31m") == 1


async def test_a_hung_source_does_not_delay_the_scans_of_others(
    world: World, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async with world.watched(monkeypatch):
        world.gates[0].clear()
        try:
            (world.low / "New").mkdir()
            await world.until(lambda: world.winner(b"New") == 1)
            stuck = world.scans[0]
            for _ in range(5):
                await world.looked()
            assert world.scans[0] <= stuck + 1, "one scan at a time"
        finally:
            world.gates[0].set()


async def test_a_path_reported_missing_during_a_full_scan_is_left_out_of_it_and_rescanned(
    world: World, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    source, known = world.sources[0], world.view.known[0]
    async with world.watched(monkeypatch):
        known.trust.begin(world.view.freshness.clock())
        world.gates[0].clear()
        world.refresher.doubt(source)
        await world.until(lambda: world.whole[0] == 1)
        (world.high / "New").mkdir()
        world.refresher.missing(source, [b"Gold"])
        world.gates[0].set()
        await world.until(lambda: world.winner(b"New") == 0)
        await world.until(lambda: world.winner(b"Gold") == 0)
        await world.full_scan()
        assert world.whole[0] == 1


async def test_a_path_reported_missing_from_a_watched_source_is_rescanned(
    world: World, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """It may be back already, and its event read before: no other event would follow."""
    source, known = world.sources[0], world.view.known[0]
    async with world.watched(monkeypatch):
        await world.full_scan()
        known.trust.begin(world.view.freshness.clock())
        for path, listing in list(known.listings.above.items()):
            known.listings.pop(path)
            listing.key = b"/" + path
            known.listings.put(path, listing, True)
        assert world.winner(b"Gold") == 0
        world.refresher.missing(source, [b"Gold"])
        assert world.winner(b"Gold") != 0
        await world.until(lambda: world.winner(b"Gold") == 0)


# Open files, and scans on request


async def test_an_open_file_that_is_edited_in_place_is_invalidated(
    world: World, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    edited, other = await find(world.view, "Gold/01"), await find(world.view, "A/x")
    handle, _ = await world.view.open(edited.ino)
    async with world.watched(monkeypatch):
        await world.full_scan()
        assert world.kernel.files == set()
        with open(world.high / "Gold" / "01", "a") as file:
            file.write(" and more")
        await world.until(lambda: bool(world.kernel.files))
        assert world.kernel.files == {edited.ino} != {other.ino}
        assert world.view.answer(edited)[0].size == len("flac and more")
    world.view.files.release(handle)


async def test_without_a_period_only_a_refresh_causes_a_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    world = World(tmp_path, period=None)
    async with world.watched(monkeypatch):
        (world.high / "More").mkdir()
        await trio.sleep(100_000)
        assert (world.scans, world.winner(b"More")) == ([0, 0], 1)
        world.refresher.refresh()
        await world.until(lambda: world.winner(b"More") == 0)
        await world.until(lambda: world.scans == [1, 1])


async def test_without_a_period_a_lost_source_is_still_noticed_and_recovers_without_a_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    world = World(tmp_path, period=None)
    node = await find(world.view, "Gold/01")
    async with world.watched(monkeypatch):
        unplug(world.high)
        with pytest.raises(OSError, match="empty directory"):
            await world.view.open(node.ino)
        await world.until(lambda: warnings(caplog, "is lost") == 1)
        plug_in(world.high)
        await world.until(lambda: world.sources[0].lost is None)
        assert world.scans == [0, 0], "the roots were checked, not scanned"
    handle, _ = await world.view.open(node.ino)
    world.view.files.release(handle)


async def test_a_tree_being_installed_while_another_source_is_merged_is_in_the_next_merge(tmp_path: Path) -> None:
    world = World(tmp_path)
    (world.high / "New").mkdir()
    (world.low / "Other").mkdir()
    found = [source.scan(known.tree) for source, known in zip(world.sources, world.view.known, strict=True)]
    first, second = world.view.known
    indexer, revised = world.refresher._indexer, revisions(first.tree, found[0])
    indexer._installing.append((first, first.tree, names_of(revised)))
    first.begin(found[0], revised)
    await indexer.install(second, found[1], revisions(second.tree, found[1]))
    await indexer.merge()
    assert (world.winner(b"New"), world.winner(b"Other")) == (None, 1)
    (world.low / "Third").mkdir()
    third = world.sources[1].scan(second.tree)
    await indexer.install(second, third, revisions(second.tree, third))
    first.finish()
    await indexer.merge()
    assert (world.winner(b"New"), world.winner(b"Third")) == (0, 1)
