"""Fetching from a source: which calls a request causes, in which thread, and what it waits for."""

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
from mmirrorfs.source.cache_limit import CacheLimit
from mmirrorfs.source.fetch import LARGE, Fetch
from mmirrorfs.source.known import Known
from mmirrorfs.source.leaves import Leaves
from mmirrorfs.source.list_directory import list_directory
from mmirrorfs.source.readahead import MOST, Ahead
from mmirrorfs.source.source import Source
from mmirrorfs.source.threads import HUNG, SourceThreads
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


class Fetching:
    """A source with its cache and fetchers, its ``calls``, and what was reported."""

    def __init__(self, root: Path, clock: Clock, local: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        self.source = sources(root, local=local)[0]
        self.known = Known(self.source.scan(None), CacheLimit(100_000))
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
        """The errno of a request for a name in a folder; None if it succeeds."""
        try:
            await self.size(path)
        except OSError as error:
            return error.errno
        return None

    async def names(self, path: str) -> list[str]:
        return list(map(os.fsdecode, (await self.fetch.directory(os.fsencode(path))).names()))

    def take_calls(self) -> Calls:
        """The calls since the last time."""
        calls = list(self.calls)
        self.calls.clear()
        return calls


Make = Callable[..., Fetching]


@pytest.fixture
def make(root: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Make:
    return lambda local=True: Fetching(root, clock, local, monkeypatch)


@pytest.fixture
def fetching(make: Make) -> Fetching:
    return make()


@pytest.fixture(params=[True, False], ids=["local", "remote"])
def either(make: Make, request: pytest.FixtureRequest) -> Fetching:
    return make(request.param)


# Which calls are made


async def test_an_uncached_local_folder_is_listed_once_for_all_names_in_it(fetching: Fetching) -> None:
    assert [await fetching.size(f"A/{n:02}") for n in range(20)] == list(range(20))
    for name in ("cover.jpg", "folder.jpg", "cover.jpg"):
        assert await fetching.code(f"A/{name}") == errno.ENOENT
    assert await fetching.names("A") == [f"{n:02}" for n in range(20)]
    assert fetching.calls == [("open_directory", "A")]


async def test_on_a_source_that_is_not_local_a_single_name_is_fetched(make: Make) -> None:
    fetching = make(local=False)
    assert [await fetching.size(f"A/{n:02}") for n in range(5)] == list(range(5))
    assert await fetching.code("A/none") == errno.ENOENT
    assert fetching.take_calls() == [("stat", f"A/{name}") for name in ("00", "01", "02", "03", "04", "none")]
    assert (await fetching.size("A/03"), await fetching.code("A/none")) == (3, errno.ENOENT)
    assert fetching.take_calls() == []


async def test_a_fresh_entry_is_not_fetched(either: Fetching, clock: Clock) -> None:
    await either.names("A")
    either.take_calls()
    clock.now += KEEP - 0.1
    assert (await either.size("A/03"), await either.code("A/none")) == (3, errno.ENOENT)
    assert len(await either.names("A")) == 20
    assert either.take_calls() == []


@pytest.mark.on_disk
async def test_a_stale_entry_with_a_cached_inode_is_renewed_on_the_event_loop(
    fetching: Fetching, clock: Clock, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fetching.names("A")
    fetching.take_calls()
    monkeypatch.setattr(fetching.source.threads, "in_thread", _never)
    (root / "A/03").write_text("longer")
    clock.now += KEEP
    assert await fetching.size("A/03") == 6
    assert fetching.take_calls() == [("stat", "A/03")]
    assert await fetching.size("A/03") == 6
    assert fetching.take_calls() == []
    (root / "A/03").unlink()
    clock.now += KEEP
    assert await fetching.code("A/03") == errno.ENOENT
    assert [call for call in fetching.take_calls() if call[1]] == [("stat", "A/03")], "and the root, to believe it"


async def test_absence_is_renewed_by_one_stat_if_the_stamp_is_unchanged(
    fetching: Fetching, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):  # by then the stamp can be trusted
        await fetching.names("A")
        clock.now += KEEP
    fetching.take_calls()
    monkeypatch.setattr(fetching.source.threads, "in_thread", _never)
    for name in ("cover.jpg", "folder.jpg"):
        assert await fetching.code(f"A/{name}") == errno.ENOENT
    assert fetching.take_calls() == [("stat", "A")]


async def test_a_new_name_is_found_once_the_cached_absence_is_stale(either: Fetching, clock: Clock, root: Path) -> None:
    assert await either.code("A/new") == errno.ENOENT
    (root / "A/new").write_text("new")
    move(root / "A")
    clock.now += KEEP
    assert await either.size("A/new") == 3
    assert "new" in await either.names("A")


async def test_a_directory_with_an_unchanged_stamp_is_not_read_and_its_files_are_statted(
    fetching: Fetching, clock: Clock, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        await fetching.names("A")
        clock.now += KEEP
    (root / "A/03").write_text("longer")
    monkeypatch.setattr(os, "scandir", _never)
    assert len(await fetching.names("A")) == 20
    fetching.take_calls()
    assert await fetching.size("A/03") == 6
    assert fetching.take_calls() == []


async def test_a_large_folder_is_not_listed_to_renew_one_name(
    fetching: Fetching, clock: Clock, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(root / "A", {f"large{n:04}": "" for n in range(LARGE)})
    await fetching.names("A")
    (root / "A/new").touch()
    move(root / "A")
    clock.now += KEEP
    fetching.take_calls()
    assert await fetching.code("A/new") is None
    assert ("open_directory", "A") not in fetching.take_calls()


async def test_names_in_a_folder_without_read_permission_are_found(
    fetching: Fetching, clock: Clock, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: bytes) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    await fetching.names("B")
    monkeypatch.setattr(fetching.source.reader, "open_directory", denied)
    (root / "B/new").write_text("new")
    move(root / "B")
    clock.now += KEEP
    assert await fetching.size("B/new") == 3
    assert await fetching.size("A/07") == 7
    assert await fetching.code("A/none") == errno.ENOENT
    with pytest.raises(PermissionError):
        await fetching.names("A")


async def test_concurrent_requests_for_one_directory_share_one_listing(either: Fetching) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(either.names, "A")
    assert either.calls == [("open_directory", "A")]


async def test_a_failed_listing_fails_for_all_waiting_requests_and_is_retried_for_the_next(
    fetching: Fetching, root: Path
) -> None:
    shutil.rmtree(root / "A")
    failed: list[int | None] = []

    async def ask() -> None:
        with pytest.raises(FileNotFoundError):
            await fetching.names("A")
        failed.append(errno.ENOENT)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask)
    assert len(failed) == 3
    grow(root / "A", {"again": ""})
    assert await fetching.names("A") == ["again"]


async def _never(*args: object) -> None:
    raise AssertionError("this is not to be called")


# Ahead


@pytest.fixture
def many(root: Path) -> None:
    shutil.rmtree(root)
    grow(root, {f"F{n:03}": {"x": ""} for n in range(60)})


def listed_folders(fetching: Fetching) -> list[int]:
    return [int(path[1:]) for name, path in fetching.take_calls() if name == "open_directory"]


async def all_threads_done(fetching: Fetching) -> None:
    with trio.fail_after(10):
        while fetching.source.threads.busy:
            await trio.sleep(0.001)


async def test_consecutive_requests_on_a_local_source_list_the_next_directories_ahead_in_one_call(
    many: None, make: Make
) -> None:
    fetching, turns = make(), list[list[int]]()
    for n in range(60):
        await fetching.names(f"F{n:03}")
        await all_threads_done(fetching)
        await trio.testing.wait_all_tasks_blocked()
        turns.append(listed_folders(fetching))
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


async def test_requests_in_no_order_list_nothing_ahead(many: None, make: Make) -> None:
    fetching = make()
    for n in (0, 30, 7, 50, 20, 40, 10):
        await fetching.names(f"F{n:03}")
        await all_threads_done(fetching)
        assert listed_folders(fetching) == [n]


async def test_on_a_source_that_is_not_local_the_next_directories_are_listed_concurrently(
    many: None, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetching, turns, together = make(local=False), list[list[int]](), threading.Barrier(MOST + 1)
    listed, full = fetching.source.reader.open_directory, [b"F%03d" % n for n in range(31, 48)]

    def open_directory(path: bytes) -> int:
        if path in full:
            together.wait(10)  # or BrokenBarrierError
        return listed(path)

    monkeypatch.setattr(fetching.source.reader, "open_directory", open_directory)
    for n in range(60):
        await fetching.names(f"F{n:03}")
        await all_threads_done(fetching)
        await trio.testing.wait_all_tasks_blocked()
        turns.append(sorted(listed_folders(fetching)))
    windows = [(0, 1), (1, 3), (3, 7), (7, 15), (15, 31), (31, 48), (48, 60)]
    assert [turn for turn in turns if turn] == [list(range(*window)) for window in windows]


async def test_a_request_for_a_directory_being_listed_ahead_waits_for_that_listing(many: None, make: Make) -> None:
    fetching = make(local=False)
    await fetching.names("F000")
    async with trio.open_nursery() as nursery:
        for n in range(1, 60):
            nursery.start_soon(fetching.names, f"F{n:03}")
    assert sorted(listed_folders(fetching)) == list(range(60))


async def test_listings_ahead_evict_nothing(many: None, root: Path, clock: Clock) -> None:
    source = sources(root, local=False)[0]
    known = Known(source.scan(None), CacheLimit(3))
    fetch = Fetch(source, known, lasting(clock), lambda source: None)
    for n in range(4):
        await fetch.directory(b"F%03d" % n)
        with trio.fail_after(10):
            while source.threads.busy:
                await trio.sleep(0.001)
        await trio.testing.wait_all_tasks_blocked()
    assert list(known.listings.below) == [b"F001", b"F002", b"F003"]


async def test_read_ahead_continues_in_the_next_sibling_of_the_parent(root: Path) -> None:
    shutil.rmtree(root)
    grow(root, {artist: {f"{n}": {"x": ""} for n in range(5)} for artist in "ABCDEFGH"})
    source = sources(root, depth=2)[0]
    known = Known(source.scan(None), CacheLimit(1000))
    ahead = Ahead(known, 2)
    asked = []
    for path in [f"{artist}/{n}".encode() for artist in "ABCDEFGH" for n in range(5)]:
        if known.listings.peek(path) is None:
            asked.append(path)
            for one in [path, *ahead.of(path)]:
                known.apply(one, list_directory(source.reader, one))
    assert asked == [b"A/0", b"A/1", b"A/3", b"B/2", b"D/0", b"G/1"]


async def test_an_unscanned_directory_above_the_depth_is_not_listed_ahead(root: Path) -> None:
    shutil.rmtree(root)
    grow(root, {artist: {f"{n}": {} for n in range(5)} for artist in "ABC"})
    source = sources(root, depth=2)[0]
    tree = source.scan(None)
    known = Known(replace(tree, entries={name: tree.entries[name] for name in (b"A", b"C")}), CacheLimit(1000))
    ahead = Ahead(known, 2)
    found = list[bytes]()
    for n in (0, 1, 3):
        found += ahead.of(b"A/%d" % n)
        for path in [b"A/%d" % n, *found]:
            known.apply(path, list_directory(source.reader, path))
    assert b"B" not in found
    assert b"C/0" in found


async def test_folders_hidden_in_the_view_do_not_interrupt_read_ahead(many: None, make: Make) -> None:
    fetching = make(local=False)
    for n in range(0, 60, 3):
        await fetching.names(f"F{n:03}")
        await all_threads_done(fetching)
    assert len(listed_folders(fetching)) > 50


async def test_an_error_of_a_listing_ahead_is_ignored(many: None, make: Make, root: Path) -> None:
    fetching = make()
    shutil.rmtree(root / "F002")
    for n in (0, 1):
        assert await fetching.names(f"F{n:03}") == ["x"]
    with pytest.raises(FileNotFoundError):
        await fetching.names("F002")


# Lost


def lose(root: Path) -> None:
    """Unplug it: the mountpoint is an empty directory."""
    root.rename(root.parent / "unplugged")
    root.mkdir()


async def test_a_lost_source_is_answered_from_the_cache_and_the_rest_is_eio(
    either: Fetching, clock: Clock, root: Path
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


async def test_a_lost_source_is_not_called(either: Fetching, clock: Clock, root: Path) -> None:
    await either.names("A")
    either.source.lost = "somebody said so"
    clock.now += KEEP
    either.take_calls()
    await either.size("A/03")
    assert either.leaves.refresh(b"", {b"A": DIR}) == set()
    assert await either.code("B/b") == errno.EIO
    assert either.take_calls() == []


async def test_an_error_that_proves_nothing_leaves_the_cache_as_it_is(
    either: Fetching, clock: Clock, monkeypatch: pytest.MonkeyPatch
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
    """While it is closed only cached calls return; ``now`` is the clock of ``SourceThreads``."""

    def __init__(self, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        source.threads = SourceThreads(clock=lambda: self.now)
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
def gate(either: Fetching, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate(either.source, monkeypatch)
    yield made
    made.open()


async def hangs(call: Callable[..., object], *args: object, seconds: float = 0.2) -> bool:
    """Whether a call does not return for so many seconds."""
    with trio.move_on_after(seconds) as scope:
        await call(*args)  # type: ignore[misc]  # any coroutine function will do
    return scope.cancelled_caught


async def test_a_slow_source_is_waited_for_and_a_hung_one_falls_back_to_the_cache(
    either: Fetching, gate: Gate, clock: Clock, autojump_clock: MockClock
) -> None:
    autojump_clock.autojump_threshold = 0.05  # real seconds: more than a thread takes that does not hang
    before = await either.names("A")
    gate.close()
    clock.now += KEEP
    assert await hangs(either.names, "A"), "slow is not hung"
    gate.now += HUNG
    with trio.fail_after(10):
        assert await either.names("A") == before
    assert await hangs(either.names, "B", seconds=2), "without a cached entry it waits"
    assert either.losses == []
    gate.open()
    assert await either.names("B") == ["b"]


async def test_a_request_without_a_cached_entry_waits_until_a_hung_source_responds(
    either: Fetching, gate: Gate, clock: Clock
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


async def test_an_entry_updated_while_a_request_waits_is_the_one_replied(
    either: Fetching, gate: Gate, clock: Clock
) -> None:
    """And it stays: the older answer would arrive after its invalidation."""
    listing = list_directory(either.source.reader, b"B")
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


async def test_a_leaf_of_a_merged_directory_is_renewed_once_without_waiting(
    either: Fetching, gate: Gate, clock: Clock, root: Path
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


async def test_a_leaf_gone_from_a_merged_directory_is_reported(either: Fetching, root: Path) -> None:
    (root / "note").unlink()
    shutil.rmtree(root / "B")
    (root / "B").touch()
    either.leaves.refresh(b"", {b"A": DIR, b"B": DIR, b"note": FILE})
    await until(lambda: set(either.gone) == {"B", "note"})


async def test_no_leaf_of_a_lost_source_is_reported_as_gone(either: Fetching, root: Path) -> None:
    lose(root)
    assert either.leaves.refresh(b"", {b"A": DIR, b"note": FILE}) == set()
    await until(lambda: either.losses == [either.source])
    assert either.gone == []


# Values


ACL = b"system.posix_acl_access"


async def value_of(fetching: Fetching, name: bytes, briefly: bool = False) -> bytes | int | None:
    try:
        return await fetching.fetch.value(b"note", name, briefly)
    except OSError as error:
        return error.errno


async def test_access_lists_are_cached_and_other_attributes_are_not(either: Fetching, clock: Clock, root: Path) -> None:
    os.setxattr(root / "note", b"user.x", b"1")
    for _ in range(2):
        assert (await value_of(either, b"user.x"), await value_of(either, ACL)) == (b"1", errno.ENODATA)
    names = [name for name, _ in either.calls]
    assert names.count("getxattr") == 3
    clock.now += KEEP
    await value_of(either, ACL)
    assert [name for name, _ in either.calls].count("getxattr") == 4


async def test_an_unreadable_access_list_is_an_error_unless_it_is_cached(
    either: Fetching, clock: Clock, root: Path
) -> None:
    assert await value_of(either, ACL) == errno.ENODATA
    lose(root)
    clock.now += KEEP
    assert await value_of(either, ACL) == errno.ENODATA, "there was none"
    assert await value_of(either, b"system.posix_acl_default") == errno.EIO
    assert await value_of(either, b"user.x") == errno.ENODATA
    assert either.losses[-1:] == [either.source]


async def test_a_brief_request_for_a_value_times_out_with_an_error(either: Fetching, gate: Gate) -> None:
    gate.close()
    with trio.fail_after(10):
        assert await value_of(either, ACL, briefly=True) == errno.EIO
        assert await value_of(either, b"user.x", briefly=True) == errno.ENODATA
