"""Proving what is known of a source: what it is asked for, when, by how many calls, and who waits."""

import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from mmirrorfs.attributes import DIR, FILE, Kind
from mmirrorfs.listing import Listing, pack
from mmirrorfs.source.ahead import MOST, Ahead
from mmirrorfs.source.fetch import LARGE, Fetch
from mmirrorfs.source.known import Known
from mmirrorfs.source.leaves import Leaves
from mmirrorfs.source.look import look
from mmirrorfs.source.pace import HUNG, Pace
from mmirrorfs.source.room import Room
from mmirrorfs.source.source import Source
from tests.support.build import KEEP, Clock, asked, lasting, move, sources
from tests.support.trees import grow

Calls = list[tuple[str, str]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return grow(
        tmp_path / "root", {"A": {f"{n:02}": "x" * n for n in range(20)}, "B": {"b": "?"}, "C": {}, "note": "note"}
    )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Asking:
    """A source that is asked, what it is asked for (``calls``), and what is found out meanwhile."""

    def __init__(self, root: Path, clock: Clock, local: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        self.source = sources(root, local=local)[0]
        self.known = Known(self.source.scan(None), Room(100_000))
        self.losses: list[Source] = []
        self.gone: list[str] = []
        self.fetch = Fetch(self.source, self.known, lasting(clock), self.losses.append)
        self.leaves = Leaves(self.source, self.known, lasting(clock), self.losses.append, self._missing)
        self.calls = asked(self.source, monkeypatch)

    def _missing(self, source: Source, paths: Mapping[bytes, Kind], asked: float) -> None:
        self.gone += map(os.fsdecode, paths)

    async def size(self, path: str) -> int:
        """The size of a file in a folder."""
        above, name = os.path.split(os.fsencode(path))
        answer = await self.fetch.entry(above, name)
        assert answer.attr is not None
        return answer.attr.size

    async def code(self, path: str) -> int | None:
        """The errno that asking for a name in a folder gives; None where it is there."""
        try:
            await self.size(path)
        except OSError as error:
            return error.errno
        return None

    async def names(self, path: str) -> list[str]:
        return list(map(os.fsdecode, (await self.fetch.directory(os.fsencode(path))).names()))

    def fetched_at(self) -> Calls:
        """What it was asked for since this was called last."""
        calls = list(self.calls)
        self.calls.clear()
        return calls


Make = Callable[..., Asking]


@pytest.fixture
def make(root: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Make:
    return lambda local=True: Asking(root, clock, local, monkeypatch)


@pytest.fixture
def asking(make: Make) -> Asking:
    return make()


@pytest.fixture(params=[True, False], ids=["local", "remote"])
def either(make: Make, request: pytest.FixtureRequest) -> Asking:
    return make(request.param)


# What is asked for


async def test_an_unknown_local_folder_is_looked_at_once_for_all_names_in_it(asking: Asking) -> None:
    assert [await asking.size(f"A/{n:02}") for n in range(20)] == list(range(20))
    for name in ("cover.jpg", "folder.jpg", "cover.jpg"):
        assert await asking.code(f"A/{name}") == errno.ENOENT
    assert await asking.names("A") == [f"{n:02}" for n in range(20)]
    assert asking.calls == [("open_directory", "A")]


async def test_on_any_other_source_a_name_is_asked_for_by_itself(make: Make) -> None:
    asking = make(local=False)
    assert [await asking.size(f"A/{n:02}") for n in range(5)] == list(range(5))
    assert await asking.code("A/none") == errno.ENOENT
    assert asking.fetched_at() == [("stat", f"A/{name}") for name in ("00", "01", "02", "03", "04", "none")]
    assert (await asking.size("A/03"), await asking.code("A/none")) == (3, errno.ENOENT)
    assert asking.fetched_at() == []


async def test_what_is_fresh_is_not_asked_for(either: Asking, clock: Clock) -> None:
    await either.names("A")
    either.fetched_at()
    clock.now += KEEP - 0.1
    assert (await either.size("A/03"), await either.code("A/none")) == (3, errno.ENOENT)
    assert len(await either.names("A")) == 20
    assert either.fetched_at() == []


async def test_what_is_too_old_and_in_memory_is_one_call_on_the_event_loop(
    asking: Asking, clock: Clock, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asking.names("A")
    asking.fetched_at()
    monkeypatch.setattr(asking.source.pace, "in_thread", _never)
    (root / "A/03").write_text("longer")
    clock.now += KEEP
    assert await asking.size("A/03") == 6
    assert asking.fetched_at() == [("stat", "A/03")]
    assert await asking.size("A/03") == 6
    assert asking.fetched_at() == []
    (root / "A/03").unlink()
    clock.now += KEEP
    assert await asking.code("A/03") == errno.ENOENT
    assert [call for call in asking.fetched_at() if call[1]] == [("stat", "A/03")], "and the root, to believe it"


async def test_what_is_absent_is_one_call_where_the_stamp_of_its_directory_stands(
    asking: Asking, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):  # by then the stamp can be trusted
        await asking.names("A")
        clock.now += KEEP
    asking.fetched_at()
    monkeypatch.setattr(asking.source.pace, "in_thread", _never)
    for name in ("cover.jpg", "folder.jpg"):
        assert await asking.code(f"A/{name}") == errno.ENOENT
    assert asking.fetched_at() == [("stat", "A")]


async def test_a_name_that_came_is_found_once_what_is_known_is_too_old(
    either: Asking, clock: Clock, root: Path
) -> None:
    assert await either.code("A/new") == errno.ENOENT
    (root / "A/new").write_text("new")
    move(root / "A")
    clock.now += KEEP
    assert await either.size("A/new") == 3
    assert "new" in await either.names("A")


async def test_a_directory_whose_stamp_stands_is_not_read_anew_and_its_files_are_asked_for(
    asking: Asking, clock: Clock, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        await asking.names("A")
        clock.now += KEEP
    (root / "A/03").write_text("longer")
    monkeypatch.setattr(os, "scandir", _never)
    assert len(await asking.names("A")) == 20
    asking.fetched_at()
    assert await asking.size("A/03") == 6
    assert asking.fetched_at() == []


async def test_a_large_folder_is_not_looked_at_whole_to_prove_one_name(
    asking: Asking, clock: Clock, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(root / "A", {f"large{n:04}": "" for n in range(LARGE)})
    await asking.names("A")
    (root / "A/new").touch()
    move(root / "A")
    clock.now += KEEP
    asking.fetched_at()
    assert await asking.code("A/new") is None
    assert ("open_directory", "A") not in asking.fetched_at()


async def test_a_folder_that_can_be_passed_through_only_still_leads_on(
    asking: Asking, clock: Clock, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: bytes) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    await asking.names("B")
    monkeypatch.setattr(asking.source.reader, "open_directory", denied)
    (root / "B/new").write_text("new")
    move(root / "B")
    clock.now += KEEP
    assert await asking.size("B/new") == 3
    assert await asking.size("A/07") == 7
    assert await asking.code("A/none") == errno.ENOENT
    with pytest.raises(PermissionError):
        await asking.names("A")


async def test_two_who_want_the_same_directory_at_once_wait_for_one_look(either: Asking) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(either.names, "A")
    assert either.calls == [("open_directory", "A")]


async def test_a_look_that_fails_fails_for_all_who_wait_and_is_made_anew_for_the_next(
    asking: Asking, root: Path
) -> None:
    shutil.rmtree(root / "A")
    failed: list[int | None] = []

    async def ask() -> None:
        with pytest.raises(FileNotFoundError):
            await asking.names("A")
        failed.append(errno.ENOENT)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask)
    assert len(failed) == 3
    grow(root / "A", {"again": ""})
    assert await asking.names("A") == ["again"]


async def _never(*args: object) -> None:
    raise AssertionError("this is not to be called")


# Ahead


@pytest.fixture
def many(root: Path) -> None:
    shutil.rmtree(root)
    grow(root, {f"F{n:03}": {"x": ""} for n in range(60)})


def looked_at(asking: Asking) -> list[int]:
    return [int(path[1:]) for name, path in asking.fetched_at() if name == "open_directory"]


async def all_threads_done(asking: Asking) -> None:
    with trio.fail_after(10):
        while asking.source.pace.busy:
            await trio.sleep(0.001)


async def test_who_asks_for_one_directory_after_the_other_gets_the_next_ones_in_the_same_call(
    many: None, make: Make
) -> None:
    asking, turns = make(), list[list[int]]()
    for n in range(60):
        await asking.names(f"F{n:03}")
        await all_threads_done(asking)
        await trio.testing.wait_all_tasks_blocked()
        turns.append(looked_at(asking))
    assert [turn for turn in turns if turn] == [
        [0],
        [1, 2],
        [3, 4, 5, 6],
        list(range(7, 15)),
        list(range(15, 31)),
        list(range(31, 48)),
        list(range(48, 60)),
    ]
    assert max(map(len, turns)) == MOST + 1


async def test_who_asks_for_this_and_that_gets_that_alone(many: None, make: Make) -> None:
    asking = make()
    for n in (0, 30, 7, 50, 20, 40, 10):
        await asking.names(f"F{n:03}")
        await all_threads_done(asking)
        assert looked_at(asking) == [n]


async def test_on_any_other_source_the_next_ones_are_looked_at_all_at_once(
    many: None, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking, turns, together = make(local=False), list[list[int]](), threading.Barrier(MOST + 1)
    listed, full = asking.source.reader.open_directory, [b"F%03d" % n for n in range(31, 48)]

    def open_directory(path: bytes) -> int:
        if path in full:
            together.wait(10)  # or BrokenBarrierError
        return listed(path)

    monkeypatch.setattr(asking.source.reader, "open_directory", open_directory)
    for n in range(60):
        await asking.names(f"F{n:03}")
        await all_threads_done(asking)
        await trio.testing.wait_all_tasks_blocked()
        turns.append(sorted(looked_at(asking)))
    windows = [(0, 1), (1, 3), (3, 7), (7, 15), (15, 31), (31, 48), (48, 60)]
    assert [turn for turn in turns if turn] == [list(range(*window)) for window in windows]


async def test_who_comes_for_what_is_looked_at_ahead_waits_for_that_look(many: None, make: Make) -> None:
    asking = make(local=False)
    await asking.names("F000")
    async with trio.open_nursery() as nursery:
        for n in range(1, 60):
            nursery.start_soon(asking.names, f"F{n:03}")
    assert sorted(looked_at(asking)) == list(range(60))


async def test_what_is_looked_at_ahead_takes_no_room_from_anything(many: None, root: Path, clock: Clock) -> None:
    source = sources(root, local=False)[0]
    known = Known(source.scan(None), Room(3))
    fetch = Fetch(source, known, lasting(clock), lambda source: None)
    for n in range(4):
        await fetch.directory(b"F%03d" % n)
        with trio.fail_after(10):
            while source.pace.busy:
                await trio.sleep(0.001)
        await trio.testing.wait_all_tasks_blocked()
    assert list(known.listings.below) == [b"F001", b"F002", b"F003"]


async def test_a_walk_goes_on_in_the_next_directory_above(root: Path) -> None:
    shutil.rmtree(root)
    grow(root, {artist: {f"{n}": {"x": ""} for n in range(5)} for artist in "ABCDEFGH"})
    source = sources(root, depth=2)[0]
    known = Known(source.scan(None), Room(1000))
    ahead = Ahead(known, 2)
    asked = []
    for path in [f"{artist}/{n}".encode() for artist in "ABCDEFGH" for n in range(5)]:
        if known.listings.peek(path) is None:
            asked.append(path)
            for one in [path, *ahead.of(path)]:
                known.apply(one, look(source.reader, one))
    assert asked == [b"A/0", b"A/1", b"A/3", b"B/2", b"D/0", b"G/1"]


async def test_a_directory_above_the_depth_that_was_not_scanned_yet_is_the_scan_s(root: Path) -> None:
    shutil.rmtree(root)
    grow(root, {artist: {f"{n}": {} for n in range(5)} for artist in "ABC"})
    source = sources(root, depth=2)[0]
    tree = source.scan(None)
    known = Known(replace(tree, entries={name: tree.entries[name] for name in (b"A", b"C")}), Room(1000))
    ahead = Ahead(known, 2)
    found = list[bytes]()
    for n in (0, 1, 3):
        found += ahead.of(b"A/%d" % n)
        for path in [b"A/%d" % n, *found]:
            known.apply(path, look(source.reader, path))
    assert b"B" not in found
    assert b"C/0" in found


async def test_folders_that_a_view_does_not_show_are_no_end_of_a_walk(many: None, make: Make) -> None:
    asking = make(local=False)
    for n in range(0, 60, 3):
        await asking.names(f"F{n:03}")
        await all_threads_done(asking)
    assert len(looked_at(asking)) > 50


async def test_what_cannot_be_looked_at_ahead_is_nobody_s_trouble(many: None, make: Make, root: Path) -> None:
    asking = make()
    shutil.rmtree(root / "F002")
    for n in (0, 1):
        assert await asking.names(f"F{n:03}") == ["x"]
    with pytest.raises(FileNotFoundError):
        await asking.names("F002")


# Lost


def lose(root: Path) -> None:
    """Unplugged: an empty directory is what is left."""
    root.rename(root.parent / "unplugged")
    root.mkdir()


async def test_of_a_lost_source_what_was_known_answers_and_the_rest_is_an_error(
    either: Asking, clock: Clock, root: Path
) -> None:
    await either.names("A")
    lose(root)
    for _ in range(3):
        clock.now += KEEP
        assert await either.size("A/03") == 3
        assert await either.code("A/none") == errno.ENOENT
        assert len(await either.names("A")) == 20
        assert await either.code("B/b") == errno.EIO
        with pytest.raises(OSError, match="Input/output error"):
            await either.names("B")
    assert set(either.losses) == {either.source}
    assert either.source.lost is not None


async def test_a_lost_source_is_not_asked(either: Asking, clock: Clock, root: Path) -> None:
    await either.names("A")
    either.source.lost = "somebody said so"
    clock.now += KEEP
    either.fetched_at()
    await either.size("A/03")
    assert either.leaves.refresh(b"", {b"A": DIR}) == set()
    assert await either.code("B/b") == errno.EIO
    assert either.fetched_at() == []


async def test_an_error_that_tells_nothing_leaves_what_was_known(
    either: Asking, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await either.names("A")
    clock.now += KEEP

    def failing(path: bytes, cached: bool = False) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    stat = either.source.reader.stat
    for name in ("open_directory", "stat"):
        monkeypatch.setattr(either.source.reader, name, failing)
    for _ in range(2):
        assert (await either.size("A/03"), await either.names("A")) == (3, before)
        assert await either.code("A/none") == errno.EIO
        with pytest.raises(OSError, match="Input/output error"):
            await either.names("B")
    monkeypatch.setattr(either.source.reader, "stat", stat)
    assert (await either.size("A/03"), either.losses) == (3, [])


# Hung


class Gate:
    """While it is closed the source does not answer, but from memory; ``now`` is the time by which it hangs."""

    def __init__(self, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        source.pace = Pace(clock=lambda: self.now)
        self._open = threading.Event()
        self._open.set()
        for name in ("open_directory", "stat", "stat_several", "getxattr"):
            monkeypatch.setattr(source.reader, name, self._held(getattr(source.reader, name)))

    def _held(self, call: Callable[..., object]) -> Callable[..., object]:
        def held(*args: object) -> object:
            if args[-1] is not True:
                self._open.wait()
            return call(*args)

        return held

    def close(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate(either: Asking, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate(either.source, monkeypatch)
    yield made
    made.open()


async def hangs(call: Callable[..., object], *args: object, seconds: float = 0.2) -> bool:
    """Whether somebody waits for an answer, for so long at the least."""
    with trio.move_on_after(seconds) as scope:
        await call(*args)  # type: ignore[misc]  # any coroutine function will do
    return scope.cancelled_caught


async def test_slow_is_not_hung_and_of_a_hung_source_what_was_known_answers(
    either: Asking, gate: Gate, clock: Clock, autojump_clock: MockClock
) -> None:
    autojump_clock.autojump_threshold = 0.05  # real seconds: more than a thread takes that does not hang
    before = await either.names("A")
    gate.close()
    clock.now += KEEP
    assert await hangs(either.names, "A"), "slow is not hung"
    gate.now += HUNG
    with trio.fail_after(10):
        assert await either.names("A") == before
    assert await hangs(either.names, "B", seconds=2), "what was never known is waited for"
    assert either.losses == []
    gate.open()
    assert await either.names("B") == ["b"]


async def test_who_waits_for_a_source_that_hung_is_answered_when_it_answers(
    either: Asking, gate: Gate, clock: Clock
) -> None:
    gate.close()
    gate.now += HUNG
    found: list[int] = []

    async def ask() -> None:
        found.append(await either.size("B/b"))

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            gate.open()
    assert found == [1]


async def test_what_came_in_while_somebody_waited_is_what_is_told(either: Asking, gate: Gate, clock: Clock) -> None:
    """And it stays: the answer to the older question would follow the invalidation of what it tells."""
    listing = look(either.source.reader, b"B")
    ((name, attr),) = listing.entries()
    gate.close()
    found: list[int] = []

    async def ask() -> None:
        found.append(await either.size("B/b"))

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            newer = pack(listing.stamp, True, [(name, attr._replace(size=9))])
            either.known.apply(b"B", Listing(newer, clock.now + 1))
            gate.open()
    assert found == [9]
    assert await either.size("B/b") == 9


# In merged directories


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(10):
        while not condition():
            await trio.sleep(0.001)


async def test_what_is_in_a_merged_directory_is_asked_for_once_and_nobody_waits(
    either: Asking, gate: Gate, clock: Clock, root: Path
) -> None:
    wanted = {b"A": DIR, b"B": DIR, b"note": FILE}
    (root / "note").write_text("longer")
    if not either.source.local:
        gate.close()
    assert either.leaves.refresh(b"", dict(wanted)) == set()
    assert either.leaves.refresh(b"", dict(wanted)) == set()
    gate.open()

    def size() -> int | None:
        answer = either.known.entry(b"", b"note")
        return answer.attr.size if answer is not None and answer.attr is not None else None

    await until(lambda: size() == 6)


async def test_what_is_gone_from_a_merged_directory_is_reported(either: Asking, root: Path) -> None:
    (root / "note").unlink()
    shutil.rmtree(root / "B")
    (root / "B").touch()
    either.leaves.refresh(b"", {b"A": DIR, b"B": DIR, b"note": FILE})
    await until(lambda: set(either.gone) == {"B", "note"})


async def test_nothing_is_reported_gone_from_a_lost_source(either: Asking, root: Path) -> None:
    lose(root)
    assert either.leaves.refresh(b"", {b"A": DIR, b"note": FILE}) == set()
    await until(lambda: either.losses == [either.source])
    assert either.gone == []


# Values


ACL = b"system.posix_acl_access"


async def value_of(asking: Asking, name: bytes, briefly: bool = False) -> bytes | int | None:
    try:
        return await asking.fetch.value(b"note", name, briefly)
    except OSError as error:
        return error.errno


async def test_an_access_list_is_remembered_and_any_other_attribute_is_not(
    either: Asking, clock: Clock, root: Path
) -> None:
    os.setxattr(root / "note", b"user.x", b"1")
    for _ in range(2):
        assert (await value_of(either, b"user.x"), await value_of(either, ACL)) == (b"1", errno.ENODATA)
    names = [name for name, _ in either.calls]
    assert names.count("getxattr") == 3
    clock.now += KEEP
    await value_of(either, ACL)
    assert [name for name, _ in either.calls].count("getxattr") == 4


async def test_an_access_list_that_cannot_be_had_is_an_error_and_one_that_was_is_told(
    either: Asking, clock: Clock, root: Path
) -> None:
    assert await value_of(either, ACL) == errno.ENODATA
    lose(root)
    clock.now += KEEP
    assert await value_of(either, ACL) == errno.ENODATA, "there was none"
    assert await value_of(either, b"system.posix_acl_default") == errno.EIO
    assert await value_of(either, b"user.x") == errno.ENODATA
    assert either.losses[-1:] == [either.source]


async def test_who_waits_briefly_for_a_value_is_told_that_it_cannot_be_had(either: Asking, gate: Gate) -> None:
    gate.close()
    with trio.fail_after(10):
        assert await value_of(either, ACL, briefly=True) == errno.EIO
        assert await value_of(either, b"user.x", briefly=True) == errno.ENODATA
