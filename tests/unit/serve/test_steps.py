"""However large a directory is that changed, what is done on the event loop between two turns of others is not."""

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

OURS = os.path.dirname(mmirrorfs.__file__)
FEW, MANY = 500, 2000
"""Folders of a directory."""


class Turns(trio.abc.Instrument):
    """The most lines of ours that are run in one step of a task: on the event loop, for threads are not traced."""

    def __init__(self) -> None:
        self.most = self._lines = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._lines = 0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.most = max(self.most, self._lines)

    def trace(self, frame: FrameType, event: str, argument: object) -> Callable[..., Any] | None:
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        self._lines += event == "line"
        return self.trace


@asynccontextmanager
async def counted() -> AsyncIterator[Turns]:
    """What is done on the loop in the block."""
    turns, before = Turns(), sys.gettrace()
    trio.lowlevel.add_instrument(turns)
    sys.settrace(turns.trace)
    try:
        yield turns
    finally:
        sys.settrace(before)
        trio.lowlevel.remove_instrument(turns)


async def cost(place: Path, folders: int, monkeypatch: pytest.MonkeyPatch, change: Callable[[World], object]) -> int:
    """The most that is done in a turn while a change in a directory of so many folders comes into the view."""
    world = World(place, depth=2)
    for number in range(folders):
        (world.low / "A" / f"{number:05}").mkdir()
    async with world.watched(monkeypatch):
        await world.until(lambda: b"00000" in names(world.view))
        await world.a_whole_look()
        before = world.view.inodes.index
        await find(world.view, "A")
        async with counted() as turns:
            change(world)
            await world.until(lambda: world.view.inodes.index is not before)
            await world.a_whole_look()
    return turns.most


def names(view: View) -> set[bytes]:
    found = view.inodes.find(b"A")
    return set(getattr(found, "children", ()))


def one_comes(world: World) -> None:
    (world.low / "A" / "new").mkdir()


def some_come(world: World) -> None:
    for number in range(len(list((world.low / "A").iterdir())) // 2):
        (world.low / "A" / f"new {number}").mkdir()


def one_is_found_gone(world: World) -> None:
    (world.low / "A" / "00007").rmdir()
    world.refresher.missing(world.sources[1], [b"A/00007"])


@pytest.mark.parametrize("change", [one_comes, some_come, one_is_found_gone])
async def test_what_a_turn_does_does_not_grow_with_the_directory_that_changed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: MockClock,
    change: Callable[[World], object],
) -> None:
    few, many = [await cost(tmp_path / str(size), size, monkeypatch, change) for size in (FEW, MANY)]
    assert many < 1.5 * few + 1000, "lines"


async def test_looks_that_find_nothing_leave_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    world = World(tmp_path)
    async with world.watched(monkeypatch):
        for _ in range(3):
            await world.a_whole_look()
        held, looks = [sys.getrefcount(known.tree) for known in world.view.known], min(world.looks)
        await world.until(lambda: min(world.looks) > looks + 20)
        left = [sys.getrefcount(known.tree) for known in world.view.known]
    assert [now - before < 10 for now, before in zip(left, held, strict=True)] == [True, True]


inside = st.dictionaries(st.sampled_from([b"%d" % n for n in range(6)]), st.integers(10, 20), max_size=6)
shapes = st.dictionaries(
    st.sampled_from([b"A", b"B", b"C", b"D"]), inside | st.integers(30, 36).map(lambda n: {b"": n}), max_size=4
)


def shape(plan: dict[bytes, dict[bytes, int]]) -> Shape:
    """Artists by name, with what is in them; or, under an empty name, a folder in the place of one."""
    return {name: inner[b""] if b"" in inner else Above(2 * (name[0] + 100), inner) for name, inner in plan.items()}


@settings(max_examples=100)
@given(shapes, shapes)
def test_between_two_steps_each_directory_is_known_as_it_was_or_as_it_is(
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


def test_who_cannot_wait_finishes_what_was_begun() -> None:
    known, new = known_of({}), tree({b"%d" % n: Above(2 * n + 100, {}) for n in range(3 * STEP)}, fetched_at=5)
    known.begin(new, revisions(known.tree, new))
    assert known.advance()
    assert known.tree is not new
    known.finish()
    assert known.tree is new
    assert not known.advance()


def test_what_is_another_directory_than_the_one_above_says_is_dropped_once_that_is_looked_at_again() -> None:
    """Though nothing there has changed: it may have been so for a moment only."""
    known = Known(tree({b"A": 10}), known_of({})._room)
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
