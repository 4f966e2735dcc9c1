"""The longest step on the event loop does not grow with the size of the directory that changed."""

import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

import mmirrorfs
from mmirrorfs.listing import PARTS, pack
from mmirrorfs.source.known import STEP, Known
from mmirrorfs.source.walks import directories_of, revisions
from mmirrorfs.view.view import View
from tests.support.build import find
from tests.support.knowing import Above, Shape, attr, known_of, tree
from tests.support.world import World

PACKAGE = os.path.dirname(mmirrorfs.__file__)
FEW, MANY = 500, 2000
"""Folders in a directory."""


class StepLengths(trio.abc.Instrument):
    """Records the most lines of mmirrorfs run in one step of a task, on the event loop: threads are not traced."""

    def __init__(self) -> None:
        self.most = self._lines = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._lines = 0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.most = max(self.most, self._lines)

    def trace(self, frame: FrameType, event: str, argument: object) -> Callable[..., Any] | None:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        self._lines += event == "line"
        return self.trace


@asynccontextmanager
async def counted() -> AsyncIterator[StepLengths]:
    """Count the lines run on the loop within the block."""
    steps, before = StepLengths(), sys.gettrace()
    trio.lowlevel.add_instrument(steps)
    sys.settrace(steps.trace)
    try:
        yield steps
    finally:
        sys.settrace(before)
        trio.lowlevel.remove_instrument(steps)


async def cost(place: Path, folders: int, monkeypatch: pytest.MonkeyPatch, change: Callable[[World], object]) -> int:
    """The most lines run in one step while a change in a directory of so many folders is merged."""
    world = World(place, depth=2)
    for number in range(folders):
        (world.low / "A" / f"{number:05}").mkdir()
    async with world.watched(monkeypatch):
        await world.until(lambda: b"00000" in names(world.view))
        await world.full_scan()
        before = world.view.inodes.index
        await find(world.view, "A")
        async with counted() as steps:
            change(world)
            await world.until(lambda: world.view.inodes.index is not before)
            await world.full_scan()
    return steps.most


def names(view: View) -> set[bytes]:
    found = view.inodes.find(b"A")
    return set(getattr(found, "children", ()))


def create_one(world: World) -> None:
    (world.low / "A" / "new").mkdir()


def create_some(world: World) -> None:
    for number in range(len(list((world.low / "A").iterdir())) // 2):
        (world.low / "A" / f"new {number}").mkdir()


def report_one_missing(world: World) -> None:
    (world.low / "A" / "00007").rmdir()
    world.refresher.missing(world.sources[1], [b"A/00007"])


@pytest.mark.parametrize("change", [create_one, create_some, report_one_missing])
async def test_the_longest_step_does_not_grow_with_the_size_of_the_changed_directory(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: MockClock,
    change: Callable[[World], object],
) -> None:
    few, many = [await cost(tmp_path / str(size), size, monkeypatch, change) for size in (FEW, MANY)]
    assert many < 1.5 * few + 1000, "lines"


async def test_scans_that_find_no_change_leak_no_references_to_the_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    world = World(tmp_path)
    async with world.watched(monkeypatch):
        for known in world.view.known:
            tree = None
            while tree is not known.tree:  # until a scan finds its stamps settled
                tree, scans = known.tree, min(world.scans)
                held = sys.getrefcount(tree)
                await world.until(lambda scans=scans: min(world.scans) > scans + 60)  # type: ignore[misc]
            assert sys.getrefcount(tree) - held < 30, "a scan under way holds some ten"


inside = st.dictionaries(st.sampled_from([b"%d" % n for n in range(6)]), st.integers(10, 20), max_size=6)
shapes = st.dictionaries(
    st.sampled_from([b"A", b"B", b"C", b"D"]), inside | st.integers(30, 36).map(lambda n: {b"": n}), max_size=4
)


def shape(plan: dict[bytes, dict[bytes, int]]) -> Shape:
    """Artists by name with their contents; one with the name b"" in it is a folder instead."""
    return {name: inner[b""] if b"" in inner else Above(2 * (name[0] + 100), inner) for name, inner in plan.items()}


@settings(max_examples=100)
@given(shapes, shapes)
def test_between_two_install_steps_each_listing_is_the_old_or_the_new_one(
    before: dict[bytes, dict[bytes, int]], after: dict[bytes, dict[bytes, int]]
) -> None:
    known, new = known_of(shape(before)), tree(shape(after), fetched_at=5)
    old = known.tree
    was, will_be = ({path: one.listing for path, one in directories_of(root)} for root in (old, new))
    known.begin(new, revisions(old, new))
    while known.advance():
        assert known.tree is old
        for path, listing in known.listings.above.items():
            assert listing in (was.get(path), will_be.get(path))
    assert known.tree is new
    assert known.listings.above == will_be


def test_finish_completes_an_install_under_way() -> None:
    known, new = known_of({}), tree({b"%d" % n: Above(2 * n + 100, {}) for n in range(3 * STEP)}, fetched_at=5)
    known.begin(new, revisions(known.tree, new))
    assert known.advance()
    assert known.tree is not new
    known.finish()
    assert known.tree is new
    assert not known.advance()


def test_a_listing_whose_inode_differs_from_its_parent_s_entry_is_dropped_by_the_next_scan() -> None:
    """Even if the parent has not changed: the difference may have been transient."""
    known = Known(tree({b"A": 10}), known_of({})._cache_limit)
    known.apply(b"A", type(known.tree.listing)(pack((4, 12, 1, 1), True, [(b"x", attr(13))]), 5))
    assert known.listing(b"A") is not None
    again = tree({b"A": 10, b"B": 14}, fetched_at=6)
    known.install(again)
    assert known.listing(b"A") is None


@given(st.integers(0, 3 * PARTS * 64), st.randoms())
@settings(max_examples=10)
def test_a_large_directory_is_packed_in_byte_order(size: int, random: Random) -> None:
    names = [b"%d" % number for number in range(size)]
    random.shuffle(names)
    listing = type(known_of({}).tree.listing)(pack((1, 2, 3, 4), True, [(name, attr(3)) for name in names]), 0)
    assert listing.names() == sorted(names)
