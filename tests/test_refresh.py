"""Keeping the index current: what is seen, what is swapped, what the kernel is told."""

import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from mmirrorfs.attributes import DIR
from mmirrorfs.merge.index import Change
from mmirrorfs.merge.inodes import ROOT
from mmirrorfs.serve.publish import Publish
from mmirrorfs.serve.refresh import Refresher
from mmirrorfs.source.freshness import Freshness
from mmirrorfs.source.source import Source
from mmirrorfs.source.walks import Revision, names_of, revisions
from mmirrorfs.tree import Directory, Leaf, Merged, Rank
from mmirrorfs.view.view import View
from tests.build import find, plant, seen, sources, state_of


class Told:
    """A kernel that notes what it is told."""

    def __init__(self) -> None:
        self.names: set[tuple[int, bytes]] = set()
        self.inodes: set[int] = set()
        self.files: set[int] = set()

    def name(self, directory: int, name: bytes, way: int) -> None:
        self.names.add((directory, name))

    def attributes(self, ino: int, way: int) -> None:
        self.inodes.add(ino)

    def everything(self) -> bool:
        return False

    def contents(self, ino: int, way: int) -> None:
        self.files.add(ino)

    def then(self, way: int, call: Callable[[], None]) -> None:
        call()

    def nothing(self) -> bool:
        return not (self.names or self.inodes or self.files)


class World:
    """Two sources on disk, a view of them that is kept current, and a kernel."""

    def __init__(self, where: Path, depth: int = 1, period: float | None = 1.0, fallback: bool = False) -> None:
        self.high = plant(where / "high", {"Gold": {"01": "flac"}, "A": {"x": {}}})
        self.low = plant(where / "low", {"Gold": {"01": "mp3"}, "More": {}, "A": {"x": {}, "y": {}}})
        self.sources = sources(self.high, self.low, depth=depth)
        self.kernel = Told()
        state = state_of(self.sources, freshness=Freshness(1.0, 1.0, period, time.monotonic))
        self.told: Callable[[list[Change]], None] = lambda changes: None
        self.publish = Publish(state, self.kernel, lambda changes: self.told(changes))
        self.refresher = Refresher(state, self.publish, fallback, self._note)
        self.view = View(state, self.refresher)
        self.looks = [0, 0]
        self.whole = [0, 0]
        self.gates = [threading.Event(), threading.Event()]
        self._looked = trio.Event()

    @asynccontextmanager
    async def watched(self, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
        """The refresher at work."""
        for source, gate in zip(self.sources, self.gates, strict=True):
            gate.set()
            monkeypatch.setattr(source, "scan", self._counting(source, source.scan))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.publish.run)
            nursery.start_soon(self.refresher.run)
            yield
            nursery.cancel_scope.cancel()

    def _counting(self, source: Source, scan: Callable[..., Directory]) -> Callable[..., Directory]:
        def counted(old: Directory, seen: Callable[[int], None], **how: object) -> Directory:
            self.looks[source.rank] += 1
            self.whole[source.rank] += bool(how.get("anew"))
            self.gates[source.rank].wait()
            return scan(old, seen, **how)

        return counted

    def _note(self, source: Source, revised: list[Revision]) -> None:
        self._looked.set()
        self._looked = trio.Event()

    async def looked(self) -> None:
        """Until the next look at any source is over."""
        await self._looked.wait()

    async def until(self, condition: Callable[[], bool], most: int = 500) -> None:
        """Wait for what a look brings."""
        for _ in range(most):
            if condition():
                return
            await self.looked()
        raise AssertionError("looked long enough")

    async def a_whole_look(self) -> None:
        """Until each source was looked at from beginning to end: one look is over when the next begins."""
        goal = [looks + 2 for looks in self.looks]
        await self.until(lambda: all(looks >= least for looks, least in zip(self.looks, goal, strict=True)))

    def winner(self, name: bytes) -> Rank | None:
        child = self.view.inodes.index.children.get(name)
        return child.source if isinstance(child, Leaf) else None


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def warnings(caplog: pytest.LogCaptureFixture, text: str) -> int:
    return sum(text in record.getMessage() for record in caplog.records)


def unplug(root: Path) -> None:
    root.rename(root.parent / "unplugged")
    root.mkdir()


def plug_in(root: Path) -> None:
    root.rmdir()
    (root.parent / "unplugged").rename(root)


async def test_a_folder_that_appears_in_a_better_source_takes_over(
    world: World, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async with world.watched(monkeypatch):
        assert world.winner(b"More") == 1
        (world.high / "More").mkdir()
        await world.until(lambda: world.winner(b"More") == 0)
        assert world.kernel.names == {(ROOT, b"More")}
        assert world.kernel.inodes == {ROOT}


async def test_a_folder_that_vanishes_falls_back_to_the_next_source(
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


def test_a_directory_that_is_found_gone_whole_falls_back_with_all_that_is_in_it(tmp_path: Path) -> None:
    world = World(tmp_path, depth=2)
    shutil.rmtree(world.high / "A")
    world.refresher.missing(world.sources[0], [b"A"])
    found = world.view.inodes.find(b"A/x")
    assert isinstance(found, Leaf)
    assert found.source == 1
    world.refresher.missing(world.sources[1], [b"A"])
    assert world.view.inodes.find(b"A") is None


async def test_while_nothing_changes_nothing_is_swapped_or_told(
    world: World, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    index = world.view.inodes.index
    async with world.watched(monkeypatch):
        await world.a_whole_look()
        assert world.view.inodes.index.children == index.children
        assert world.kernel.nothing()


async def test_what_lies_below_the_depth_is_nobody_s_news(
    world: World, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    index = world.view.inodes.index
    async with world.watched(monkeypatch):
        (world.high / "Gold" / "02").touch()
        await world.a_whole_look()
        assert world.view.inodes.index.children == index.children


async def test_the_kernel_is_told_of_names_only_in_directories_that_it_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    world = World(tmp_path, depth=2)
    known = await find(world.view, "A")
    async with world.watched(monkeypatch):
        (world.high / "A" / "y").mkdir()
        (world.high / "Gold" / "02").mkdir()
        await world.until(lambda: (known.ino, b"y") in world.kernel.names)
        await world.a_whole_look()
    assert world.kernel.names == {(known.ino, b"y")}
    assert world.view.answer(await world.view.getattr(known.ino))[0].mtime_ns >= (world.high / "A").stat().st_mtime_ns
    assert (await seen(world.view, "Gold/02")).kind == DIR


async def test_who_is_told_of_changes_finds_them_in_the_view(
    world: World, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    told: list[Change] = []

    def changed(changes: list[Change]) -> None:
        assert world.winner(b"New") == 0
        told.extend(changes)

    world.told = changed
    async with world.watched(monkeypatch):
        (world.high / "New").mkdir()
        await world.until(lambda: bool(told))
    assert [(c.path, c.before, c.after) for c in told if not isinstance(c.after, Merged)] == [
        (b"New", None, Leaf(Rank(0), DIR))
    ]


# Lost and back


async def test_a_lost_source_keeps_its_place_and_is_warned_about_once(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    index, high = world.view.inodes.index, world.sources[0]
    async with world.watched(monkeypatch):
        unplug(world.high)
        await world.until(lambda: high.lost is not None)
        for _ in range(3):
            await world.a_whole_look()
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
        await world.a_whole_look()
        assert (warnings(caplog, "is lost"), warnings(caplog, "is back")) == (1, 1)


@pytest.mark.parametrize("noticed_by_a_reader", [False, True])
async def test_a_lost_source_counts_as_empty_where_that_was_asked_for(
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
        await world.a_whole_look()
        assert warnings(caplog, "is lost") == 1
        plug_in(world.high)
        await world.until(lambda: world.winner(b"Gold") == 0)
        assert warnings(caplog, "is back") == 1


async def test_a_source_that_is_lost_again_is_warned_about_again(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async with world.watched(monkeypatch):
        for turn in (1, 2):
            unplug(world.high)
            await world.until(lambda: world.sources[0].lost is not None)
            plug_in(world.high)
            await world.until(lambda: world.sources[0].lost is None)
            assert (warnings(caplog, "is lost"), warnings(caplog, "is back")) == (turn, turn)


async def test_names_in_warnings_cannot_do_anything_to_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    world = World(tmp_path / "line\nbreak\x1b[31m")
    async with world.watched(monkeypatch):
        unplug(world.high)
        await world.until(lambda: world.sources[0].lost is not None)
    assert all(record.getMessage().isprintable() for record in caplog.records)
    assert warnings(caplog, r"line\nbreak\x1b[31m") == 1


async def test_a_source_that_hangs_holds_up_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async with world.watched(monkeypatch):
        world.gates[0].clear()
        try:
            (world.low / "New").mkdir()
            await world.until(lambda: world.winner(b"New") == 1)
            stuck = world.looks[0]
            for _ in range(5):
                await world.looked()
            assert world.looks[0] <= stuck + 1, "never looked at twice at once"
        finally:
            world.gates[0].set()


async def test_of_a_whole_look_all_counts_but_what_was_found_gone_meanwhile_which_is_looked_at_again(
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
        await world.a_whole_look()
        assert world.whole[0] == 1


async def test_what_is_found_gone_from_a_watched_source_is_looked_at_again(
    world: World, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """What it was may have come back before anybody was told: no other report of it would come."""
    source, known = world.sources[0], world.view.known[0]
    async with world.watched(monkeypatch):
        await world.a_whole_look()
        known.trust.begin(world.view.freshness.clock())
        for path, listing in list(known.listings.above.items()):
            known.listings.pop(path)
            listing.key = b"/" + path
            known.listings.put(path, listing, True)
        assert world.winner(b"Gold") == 0
        world.refresher.missing(source, [b"Gold"])
        assert world.winner(b"Gold") != 0
        await world.until(lambda: world.winner(b"Gold") == 0)


# Open files, and looks only when asked for


async def test_a_file_edited_in_place_while_it_is_open_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    edited, other = await find(world.view, "Gold/01"), await find(world.view, "A/x")
    handle, _ = await world.view.open(edited.ino)
    async with world.watched(monkeypatch):
        await world.a_whole_look()
        assert world.kernel.files == set()
        with open(world.high / "Gold" / "01", "a") as file:
            file.write(" and more")
        await world.until(lambda: bool(world.kernel.files))
        assert world.kernel.files == {edited.ino} != {other.ino}
        assert world.view.answer(edited)[0].size == len("flac and more")
    world.view.files.release(handle)


async def test_without_a_period_only_being_asked_brings_a_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    world = World(tmp_path, period=None)
    async with world.watched(monkeypatch):
        (world.high / "More").mkdir()
        await trio.sleep(100_000)
        assert (world.looks, world.winner(b"More")) == ([0, 0], 1)
        world.refresher.refresh()
        await world.until(lambda: world.winner(b"More") == 0)
        await world.until(lambda: world.looks == [1, 1])


async def test_without_a_period_a_lost_source_is_noticed_and_found_again_all_the_same(
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
        assert world.looks == [0, 0], "the sources were looked after, not scanned"
    handle, _ = await world.view.open(node.ino)
    world.view.files.release(handle)


async def test_what_is_being_installed_while_another_source_is_merged_is_merged_next(tmp_path: Path) -> None:
    world = World(tmp_path)
    (world.high / "New").mkdir()
    (world.low / "Other").mkdir()
    found = [source.scan(known.tree) for source, known in zip(world.sources, world.view.known, strict=True)]
    first, second = world.view.known
    refresher, revised = world.refresher, revisions(first.tree, found[0])
    refresher._begun.append((first, first.tree, names_of(revised)))
    first.begin(found[0], revised)
    await refresher._install(second, found[1], revisions(second.tree, found[1]))
    await refresher._merge()
    assert (world.winner(b"New"), world.winner(b"Other")) == (None, 1)
    (world.low / "Third").mkdir()
    third = world.sources[1].scan(second.tree)
    await refresher._install(second, third, revisions(second.tree, third))
    first.finish()
    await refresher._merge()
    assert (world.winner(b"New"), world.winner(b"Third")) == (0, 1)
