"""A view of sources of which one is lost or hangs: what is still answered, from what, and how soon."""

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from mmirrorfs.merge.inodes import ROOT
from mmirrorfs.source import reader as reader_module
from mmirrorfs.source.beneath import open_beneath
from mmirrorfs.source.source import Source
from mmirrorfs.tree import DIR, FILE
from mmirrorfs.view.directories import Directories
from mmirrorfs.view.view import View
from mmirrorfs.view.witness import PATIENCE
from tests.build import LASTING, Clock, find, listed, move, plant, sources, view_of


@pytest.fixture
def high(tmp_path: Path) -> Path:
    return plant(
        tmp_path / "high",
        {"A": {"Gold": {"01": "flac", "CD2": {"02": "x"}}, "New": {"03": "?"}}, "H": {"Only": {}}, "note": "high"},
    )


@pytest.fixture
def low(tmp_path: Path) -> Path:
    return plant(tmp_path / "low", {"A": {"Gold": {"01": "mp3"}, "More": {"04": "mp3"}}, "B": {}})


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def shown(view: View, path: str) -> dict[str, tuple[int, int, int]]:
    """A listing with number, mode and size of each entry."""
    entries = await listed(Directories(view), await find(view, path))
    return {name: (node.ino, node.attr.mode, node.attr.size) for name, node in entries.items()}


async def code_of(view: View, path: str, *, opened: bool = False) -> int | None:
    """The errno that looking a path up, or opening it, gives; None where that goes well."""
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
    """Unplugged: an empty directory is what is left."""
    root.rename(root.parent / "unplugged")
    root.mkdir()


def plug_in(root: Path) -> None:
    root.rmdir()
    (root.parent / "unplugged").rename(root)


SEEN = ("", "A", "H", "A/Gold", "A/Gold/CD2", "A/More")


async def test_listings_and_attributes_of_a_lost_source_stay_as_they_were_seen(
    view: View, high: Path, clock: Clock
) -> None:
    before = {path: await shown(view, path) for path in SEEN}
    lose(high)
    for _ in range(3):
        clock.now += LASTING.keep
        assert {path: await shown(view, path) for path in SEEN} == before
    assert await code_of(view, "A/Gold/CD2/02") is None


async def test_a_lost_source_is_told_about_and_its_files_cannot_be_opened(
    view: View, high: Path, both: list[Source], clock: Clock
) -> None:
    await shown(view, "A/Gold")
    surprised: list[Source] = []
    view.witness.surprised = surprised.append
    lose(high)
    assert await code_of(view, "A/Gold/01", opened=True) == errno.EIO
    assert set(surprised) == {both[0]}
    assert both[0].lost is not None
    assert await code_of(view, "A/More/04", opened=True) is None


async def test_what_is_known_to_be_absent_in_a_lost_source_is_absent_and_the_unknown_is_an_error(
    view: View, high: Path, clock: Clock
) -> None:
    await shown(view, "A/Gold")
    lose(high)
    clock.now += LASTING.keep
    assert await code_of(view, "A/Gold/none") == errno.ENOENT
    assert await code_of(view, "A/New") is None, "the index knows it"
    assert await code_of(view, "A/New/03") == errno.EIO
    with pytest.raises(OSError, match="Input/output error"):
        await shown(view, "A/New")


async def test_a_file_that_was_only_looked_up_is_remembered_too(view: View, high: Path, clock: Clock) -> None:
    node = await find(view, "A/Gold/01")
    lose(high)
    clock.now += LASTING.keep
    assert (await find(view, "A/Gold/01")).attr == node.attr
    assert (await view.getattr(node.ino)).attr.size == 4


async def test_a_folder_never_asked_about_has_attributes_that_make_sense(view: View, high: Path, clock: Clock) -> None:
    lose(high)
    attr = (await find(view, "A/New")).attr
    assert (attr.kind, attr.mode & 0o500) == (DIR, 0o500)
    note = (await find(view, "note")).attr
    assert (note.kind, note.mode & 0o444 != 0, note.mode & 0o111) == (FILE, True, 0)


async def test_a_lost_source_that_is_back_is_asked_again(
    view: View, high: Path, both: list[Source], clock: Clock
) -> None:
    await shown(view, "A/Gold")
    lose(high)
    assert await code_of(view, "A/Gold/01", opened=True) == errno.EIO
    plug_in(high)
    (high / "A/Gold/new").write_text("since")
    both[0].lost = None  # as whoever refreshes says
    clock.now += LASTING.keep
    assert await code_of(view, "A/Gold/01", opened=True) is None
    assert set(await shown(view, "A/Gold")) == {"01", "CD2", "new"}


async def test_a_folder_that_was_emptied_is_empty(view: View, high: Path, clock: Clock) -> None:
    await shown(view, "A/Gold")
    shutil.rmtree(high / "A/Gold/CD2")
    (high / "A/Gold/01").unlink()
    move(high / "A/Gold")
    clock.now += LASTING.keep
    assert await shown(view, "A/Gold") == {}
    assert await code_of(view, "A/Gold/01") == errno.ENOENT


# Hung


class Hanging:
    """High does not answer while ``gate`` is closed."""

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
async def mixed(high: Path, low: Path, clock: Clock, autojump_clock: MockClock, hanging: Hanging) -> View:
    """High is on a network, low is local and awake."""
    autojump_clock.autojump_threshold = 0.1  # real seconds: more than a thread takes that does not hang
    both = [sources(high, low, depth=2, local=local)[rank] for rank, local in enumerate((False, True))]
    view = view_of(both, clock=clock)
    await find(view, "A/More/04")
    return view


async def test_a_merged_directory_waits_for_a_hung_source_once_and_briefly(
    mixed: View, hanging: Hanging, clock: Clock, autojump_clock: MockClock
) -> None:
    before = {path: await shown(mixed, path) for path in ("", "A", "H")}
    hanging.gate.clear()
    clock.now += LASTING.keep
    start = trio.current_time()
    assert {path: await shown(mixed, path) for path in ("", "A", "H")} == before
    assert trio.current_time() - start == pytest.approx(PATIENCE)
    for path in ("A", "A/Gold", "A/New", "A/More", "H/Only", "note"):
        clock.now += LASTING.keep
        node = await find(mixed, path)
        assert await mixed.getattr(node.ino) is node
    assert trio.current_time() - start == pytest.approx(PATIENCE)


async def test_a_merged_directory_never_seen_before_does_not_wait_for_a_hung_source(
    mixed: View, hanging: Hanging, autojump_clock: MockClock
) -> None:
    hanging.gate.clear()
    start = trio.current_time()
    kinds = {name: mode & 0o170000 for name, (_, mode, _) in (await shown(mixed, "")).items()}
    assert kinds == {"A": DIR, "B": DIR, "H": DIR, "note": FILE}
    assert set(await shown(mixed, "A")) == {"Gold", "New", "More"}
    assert trio.current_time() - start == pytest.approx(PATIENCE)


async def test_what_was_seen_below_the_depth_of_a_hung_source_is_shown(
    mixed: View, hanging: Hanging, clock: Clock, autojump_clock: MockClock
) -> None:
    before = await shown(mixed, "A/Gold")
    hanging.gate.clear()
    clock.now += LASTING.keep
    start = trio.current_time()
    assert await shown(mixed, "A/Gold") == before
    assert await code_of(mixed, "A/Gold/01") is None
    assert await code_of(mixed, "A/Gold/none") == errno.ENOENT
    assert trio.current_time() - start == pytest.approx(PATIENCE)


async def test_a_healthy_source_is_served_while_another_has_readers_waiting(
    mixed: View, hanging: Hanging, autojump_clock: MockClock
) -> None:
    node = await find(mixed, "A/Gold/01")
    hanging.gate.clear()
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(mixed.open, node.ino)
        await trio.testing.wait_all_tasks_blocked()
        handle, _ = await mixed.open((await find(mixed, "A/More/04")).ino)
        assert bytes(await mixed.files.read(handle, 0, 10)) == b"mp3"
        mixed.files.release(handle)
        hanging.gate.set()
    for file in range(1, 60):
        mixed.files.release(file)
    assert len(mixed.files) == 0


async def test_a_source_that_hung_is_asked_again_once_it_answers(
    mixed: View, hanging: Hanging, high: Path, clock: Clock, autojump_clock: MockClock
) -> None:
    await shown(mixed, "A")
    hanging.gate.clear()
    clock.now += LASTING.keep
    await shown(mixed, "A")
    assert mixed.sources[0].pace.hung
    (high / "A/Gold").chmod(0o700)
    hanging.gate.set()
    await mixed.sources[0].run(mixed.sources[0].reader.stat, b"A")
    clock.now += LASTING.keep
    assert (await shown(mixed, "A"))["Gold"][1] == DIR | 0o700
    assert (await mixed.getattr(ROOT)).attr.kind == DIR
