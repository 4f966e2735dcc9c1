"""A view with a lost or hung source: what falls back to cached metadata, what fails, and what blocks."""

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from mmirrorfs.attributes import DIR
from mmirrorfs.source import reader as reader_module
from mmirrorfs.source.beneath import open_beneath
from mmirrorfs.source.reader import attributes
from mmirrorfs.source.source import Source
from mmirrorfs.source.threads import HUNG, SourceThreads
from mmirrorfs.view.directories import Directories
from mmirrorfs.view.nodes import Node
from mmirrorfs.view.view import View
from tests.support.build import KEEP, Clock, find, heard, listed, move, seen, sources, view_of
from tests.support.stopwatch import Stopwatch
from tests.support.trees import grow


@pytest.fixture
def high(tmp_path: Path) -> Path:
    return grow(
        tmp_path / "high",
        {"A": {"Gold": {"01": "flac", "CD2": {"02": "x"}}, "New": {"03": "?"}}, "H": {"Only": {}}, "note": "high"},
    )


@pytest.fixture
def low(tmp_path: Path) -> Path:
    return grow(tmp_path / "low", {"A": {"Gold": {"01": "mp3"}, "More": {"04": "mp3"}}, "B": {}})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def shown(view: View, path: str) -> dict[str, tuple[int, int, int]]:
    """The inode number, mode and size of each entry of a directory."""
    entries = await listed(Directories(view), await find(view, path))
    return {name: (node.ino, attr.mode, attr.size) for name, (node, attr) in entries.items()}


def is_fresh(view: View, node: Node) -> bool:
    """Whether the kernel may cache the attributes of a node."""
    return view.freshness.timeout(view.answer(node)[1]) > 0


async def code_of(view: View, path: str, *, opened: bool = False) -> int | None:
    """The errno of a lookup of a path, or of opening it; None if it succeeds."""
    try:
        node = await find(view, path)
        if opened:
            view.files.release((await view.open(node.ino))[0])
    except OSError as error:
        return error.errno
    return None


# Lost


@pytest.fixture(params=[True, False], ids=["local", "remote"])
def both(high: Path, low: Path, request: pytest.FixtureRequest) -> list[Source]:
    return sources(high, low, depth=2, local=request.param)


@pytest.fixture
def view(both: list[Source], clock: Clock) -> View:
    return view_of(both, clock=clock)


def lose(root: Path) -> None:
    """Unplug a source: an empty directory is left."""
    root.rename(root.parent / "unplugged")
    root.mkdir()


def plug_in(root: Path) -> None:
    root.rmdir()
    (root.parent / "unplugged").rename(root)


SEEN = ("", "A", "H", "A/Gold", "A/Gold/CD2", "A/More")


async def test_lost_source_keeps_its_cached_listings_and_attributes(view: View, high: Path, clock: Clock) -> None:
    before = {path: await shown(view, path) for path in SEEN}
    lose(high)
    for _ in range(3):
        clock.now += KEEP
        assert {path: await shown(view, path) for path in SEEN} == before
    assert await code_of(view, "A/Gold/CD2/02") is None


async def test_open_on_a_lost_source_raises_eio_and_reports_the_loss(
    view: View, high: Path, both: list[Source], clock: Clock
) -> None:
    await shown(view, "A/Gold")
    lose(high)
    assert await code_of(view, "A/Gold/01", opened=True) == errno.EIO
    assert set(map(id, heard(view).losses)) == {id(both[0])}
    assert both[0].lost is not None
    assert await code_of(view, "A/More/04", opened=True) is None


async def test_lost_source_returns_enoent_for_names_known_missing_and_eio_for_unknown_ones(
    view: View, high: Path, clock: Clock
) -> None:
    await shown(view, "A/Gold")
    lose(high)
    clock.now += KEEP
    assert await code_of(view, "A/Gold/none") == errno.ENOENT
    assert await code_of(view, "A/New") is None, "it is in the index"
    assert await code_of(view, "A/New/03") == errno.EIO
    with pytest.raises(OSError, match="Input/output error"):
        await shown(view, "A/New")


async def test_lost_source_keeps_attributes_of_a_file_that_was_only_looked_up(
    view: View, high: Path, clock: Clock
) -> None:
    node = await find(view, "A/Gold/01")
    before = view.answer(node)
    lose(high)
    clock.now += KEEP
    assert view.answer(await find(view, "A/Gold/01")) == before
    assert view.answer(await view.getattr(node.ino))[0].size == 4


async def test_lost_source_shows_attributes_of_the_scan_for_what_was_never_requested(
    view: View, high: Path, clock: Clock
) -> None:
    before = [attributes((high / path).lstat()) for path in ("A/New", "note")]
    lose(high)
    clock.now += 100 * KEEP
    assert [(await seen(view, path)) for path in ("A/New", "note")] == before


async def test_lost_source_keeps_names_created_or_removed_since_the_cached_listing(
    view: View, high: Path, clock: Clock
) -> None:
    await shown(view, "A/Gold")
    (high / "A/Gold/new").write_text("since")
    (high / "A/Gold/01").unlink()
    clock.now += KEEP
    view.sources[0].is_local = lambda path: False  # names are fetched without a listing
    assert await code_of(view, "A/Gold/new") is None
    assert await code_of(view, "A/Gold/01") == errno.ENOENT
    lose(high)
    clock.now += KEEP
    assert (await seen(view, "A/Gold/new")).size == 5
    assert await code_of(view, "A/Gold/01") == errno.ENOENT
    assert set(await shown(view, "A/Gold")) == {"CD2", "new"}


async def test_recovered_source_is_fetched_again(view: View, high: Path, both: list[Source], clock: Clock) -> None:
    await shown(view, "A/Gold")
    lose(high)
    assert await code_of(view, "A/Gold/01", opened=True) == errno.EIO
    plug_in(high)
    (high / "A/Gold/new").write_text("since")
    both[0].lost = None  # as the refresher does
    clock.now += KEEP
    assert await code_of(view, "A/Gold/01", opened=True) is None
    assert set(await shown(view, "A/Gold")) == {"01", "CD2", "new"}


async def test_emptied_folder_of_a_present_source_is_shown_empty(view: View, high: Path, clock: Clock) -> None:
    await shown(view, "A/Gold")
    shutil.rmtree(high / "A/Gold/CD2")
    (high / "A/Gold/01").unlink()
    move(high / "A/Gold")
    clock.now += KEEP
    assert await shown(view, "A/Gold") == {}
    assert await code_of(view, "A/Gold/01") == errno.ENOENT


# Hung


class Hanging:
    """High hangs while ``gate`` is closed."""

    def __init__(self, high: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self._root = os.fsencode(high)
        monkeypatch.setattr(reader_module, "open_beneath", self.open_beneath)

    def open_beneath(self, root: bytes, path: bytes, flags: int, cached: bool = False) -> int:
        if root == self._root:
            self.gate.wait()
        return open_beneath(root, path, flags, cached)


@pytest.fixture
def hanging(high: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    made = Hanging(high, monkeypatch)
    yield made
    made.gate.set()


@pytest.fixture
def watch() -> Stopwatch:
    return Stopwatch()


@pytest.fixture
async def mixed(
    high: Path, low: Path, clock: Clock, autojump_clock: MockClock, hanging: Hanging, watch: Stopwatch
) -> View:
    """High is on a network, low is local."""
    autojump_clock.autojump_threshold = 0.1  # real seconds: longer than a thread that does not hang
    both = [sources(high, low, depth=2, local=local)[rank] for rank, local in enumerate((False, True))]
    both[0].threads = SourceThreads(clock=watch)
    view = view_of(both, clock=clock)
    await find(view, "A/More/04")
    return view


async def test_merged_directory_does_not_block_on_a_hung_source(
    mixed: View, hanging: Hanging, clock: Clock, autojump_clock: MockClock
) -> None:
    before = {path: await shown(mixed, path) for path in ("", "A", "H")}
    hanging.gate.clear()
    clock.now += KEEP
    start = trio.current_time()
    assert {path: await shown(mixed, path) for path in ("", "A", "H")} == before
    for path in ("A", "A/Gold", "A/New", "A/More", "H/Only", "note"):
        clock.now += KEEP
        node = await find(mixed, path)
        assert await mixed.getattr(node.ino) is node
        assert path == "A" or path == "A/More" or not is_fresh(mixed, node), "the kernel may not cache it"
    assert trio.current_time() == start


async def test_late_answer_of_a_slow_source_updates_a_merged_directory(
    mixed: View, hanging: Hanging, high: Path, clock: Clock
) -> None:
    node = await find(mixed, "A/Gold")
    hanging.gate.clear()
    (high / "A/Gold").chmod(0o711)
    clock.now += KEEP
    assert mixed.answer(await mixed.getattr(node.ino))[0].mode != DIR | 0o711
    hanging.gate.set()
    with trio.fail_after(100):
        while not is_fresh(mixed, node):
            await trio.sleep(1)
    assert mixed.answer(node)[0].mode == DIR | 0o711


async def test_hung_source_falls_back_to_cached_folders_and_blocks_on_unknown_names(
    mixed: View, hanging: Hanging, clock: Clock, autojump_clock: MockClock, watch: Stopwatch
) -> None:
    before = await shown(mixed, "A/Gold")
    hanging.gate.clear()
    autojump_clock.autojump_threshold = 0.005
    clock.now += KEEP
    with trio.move_on_after(HUNG / 2) as slow:
        await shown(mixed, "A/Gold")
    assert slow.cancelled_caught, "slow is not hung"
    watch.now += HUNG
    assert await shown(mixed, "A/Gold") == before
    assert not is_fresh(mixed, await find(mixed, "A/Gold/01"))
    with trio.move_on_after(2 * HUNG) as unknown:
        await find(mixed, "A/Gold/none")
    assert unknown.cancelled_caught, "an old listing does not prove that a name is absent"


async def test_source_is_served_while_readers_of_another_are_blocked(
    mixed: View, hanging: Hanging, autojump_clock: MockClock
) -> None:
    node = await find(mixed, "A/Gold/01")
    hanging.gate.clear()
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(mixed.open, node.ino)
        await trio.testing.wait_all_tasks_blocked()
        handle, _ = await mixed.open((await find(mixed, "A/More/04")).ino)
        assert bytes(await mixed.read(handle, 0, 10)) == b"mp3"
        mixed.files.release(handle)
        hanging.gate.set()
    for file in range(1, 60):
        mixed.files.release(file)
    assert len(mixed.files) == 0
