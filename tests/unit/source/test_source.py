"""One source: when it is lost, which errors are believed, and fallbacks."""

import errno
import math
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from mmirrorfs.attributes import FILE
from mmirrorfs.source.source import DOUBTFUL, Source, SourceLost
from mmirrorfs.source.threads import HUNG, SourceThreads
from mmirrorfs.tree import Rank
from tests.support.build import move, sources
from tests.support.trees import grow


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return grow(tmp_path / "root", {"A": {"01": "x"}, "B": {}})


@pytest.fixture(params=[True, False], ids=["local", "remote"])
def source(root: Path, request: pytest.FixtureRequest) -> Source:
    return sources(root, local=request.param)[0]


def gone(root: Path) -> None:
    shutil.rmtree(root)


def replaced_by_empty(root: Path) -> None:
    root.rename(root.parent / "elsewhere")
    root.mkdir()


def replaced_by_file(root: Path) -> None:
    root.rename(root.parent / "elsewhere")
    root.touch()


def replaced_by_other(root: Path) -> None:
    root.rename(root.parent / "elsewhere")
    grow(root, {"C": {}})


def emptied(root: Path) -> None:
    for entry in root.iterdir():
        shutil.rmtree(entry)
    move(root)


def test_a_present_source_is_not_lost(source: Source) -> None:
    source.check_root()
    assert set(source.scan(None).entries) == {b"A", b"B"}


@pytest.mark.parametrize("how", [gone, replaced_by_empty, replaced_by_file])
def test_a_missing_root_or_another_empty_directory_is_a_lost_source(
    source: Source, root: Path, how: Callable[[Path], None]
) -> None:
    tree = source.scan(None)
    how(root)
    with pytest.raises(SourceLost) as caught:
        source.check_root()
    assert (caught.value.errno, bool(caught.value.reason)) == (errno.EIO, True)
    with pytest.raises(SourceLost):
        source.scan(tree)
    with pytest.raises(SourceLost):
        source.scan(None)


def test_another_directory_that_is_not_empty_is_the_source_remounted(source: Source, root: Path) -> None:
    tree = source.scan(None)
    replaced_by_other(root)
    assert set(source.scan(tree).entries) == {b"C"}
    emptied(root)
    assert set(source.scan(tree).entries) == set(), "the new directory is the root now"


def test_the_same_directory_now_empty_was_emptied(source: Source, root: Path) -> None:
    tree = source.scan(None)
    emptied(root)
    assert set(source.scan(tree).entries) == set()


def test_a_lost_source_recovers(source: Source, root: Path) -> None:
    tree = source.scan(None)
    replaced_by_empty(root)
    with pytest.raises(SourceLost):
        source.scan(tree)
    root.rmdir()
    (root.parent / "elsewhere").rename(root)
    assert set(source.scan(tree).entries) == {b"A", b"B"}


def test_a_root_given_as_a_link_is_resolved_once(tmp_path: Path) -> None:
    grow(tmp_path / "one", {"A": {}})
    grow(tmp_path / "two", {"B": {}})
    (tmp_path / "music").symlink_to("one")
    source = sources(tmp_path / "music")[0]
    (tmp_path / "music").unlink()
    (tmp_path / "music").symlink_to("two")
    assert set(source.scan(None).entries) == {b"A"}
    assert source.root == os.fsencode(tmp_path / "one")


@pytest.mark.parametrize("above", [False, True])
def test_a_link_in_the_place_of_the_root_or_on_the_way_to_it_is_never_followed(tmp_path: Path, above: bool) -> None:
    grow(tmp_path / "disk", {"root": {"A": {}}})
    grow(tmp_path / "other", {"root": {"B": {}}})
    source = sources(tmp_path / "disk" / "root")[0]
    tree = source.scan(None)
    swapped = Path("disk") if above else Path("disk/root")
    (tmp_path / swapped).rename(tmp_path / "before")
    (tmp_path / swapped).symlink_to(tmp_path / "other" / swapped.relative_to("disk"))
    for old in (None, tree):
        with pytest.raises(SourceLost, match="a link"):
            source.scan(old)


def test_excluded_names_do_not_make_another_directory_the_source_remounted(root: Path) -> None:
    source = Source(Rank(0), "root", os.fsencode(root), 1, lambda name: name == b".DS_Store")
    tree = source.scan(None)
    replaced_by_empty(root)
    (root / ".DS_Store").touch()
    with pytest.raises(SourceLost, match="empty"):
        source.scan(tree)


@pytest.mark.parametrize(("names", "lost"), [(["C"], True), (["A", "C"], False)])
def test_on_another_filesystem_a_remounted_source_has_some_of_the_known_names(
    source: Source, root: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], lost: bool
) -> None:
    tree = source.scan(None)
    monkeypatch.setattr(source, "_identity", (source._identity[0] + 1, 7))
    shutil.rmtree(root)
    grow(root, {name: {} for name in names})
    if lost:
        with pytest.raises(SourceLost, match="another filesystem"):
            source.scan(tree)
    else:
        assert set(source.scan(tree).entries) == {os.fsencode(name) for name in names}


def test_an_unreadable_or_failing_root_is_a_lost_source(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *args, **kwargs: False)
    with pytest.raises(SourceLost, match="Permission denied"):
        source.check_root()


def test_a_root_with_io_errors_while_it_is_listed_is_a_lost_source(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: bytes) -> int:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(source.reader, "open_directory", failing)
    with pytest.raises(SourceLost, match="Input/output error"):
        source.scan(None)


def test_a_root_removed_between_check_and_scan_is_a_lost_source(
    source: Source, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = source.reader.open_directory

    def unplugged(path: bytes) -> int:
        if not path:
            replaced_by_empty(root)
        return listed(path)

    monkeypatch.setattr(source.reader, "open_directory", unplugged)
    with pytest.raises(SourceLost):
        source.scan(None)


def test_a_source_missing_at_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Source(Rank(0), "x", os.fsencode(tmp_path / "none"), 1)


async def test_run_and_within_return_results(source: Source) -> None:
    for _ in range(3):
        assert (await source.run(source.reader.stat, b"A/01")).kind == FILE
        assert (await source.within(5, source.reader.stat, b"A/01")).kind == FILE


async def test_enoent_is_believed_while_the_root_is_valid(source: Source) -> None:
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            await source.run(source.reader.stat, b"A/none")
        with pytest.raises(FileNotFoundError):
            await source.within(5, source.reader.stat, b"A/none")
    assert source.lost is None


@pytest.mark.parametrize("bounded", [False, True])
async def test_enoent_of_a_lost_source_raises_source_lost(source: Source, root: Path, bounded: bool) -> None:
    replaced_by_empty(root)
    stat = source.reader.stat
    with pytest.raises(SourceLost):
        await (source.within(5, stat, b"A/01") if bounded else source.run(stat, b"A/01"))
    assert source.lost == "an empty directory is in its place"


async def test_a_lost_source_is_not_called_again(source: Source, root: Path) -> None:
    source.lost = "unplugged"
    with pytest.raises(SourceLost, match="unplugged"):
        await source.run(source.reader.stat, b"A")
    with pytest.raises(SourceLost, match="unplugged"):
        await source.within(5, source.reader.stat, b"A")


def failing_with(code: int) -> Callable[[], None]:
    def call() -> None:
        raise OSError(code, os.strerror(code))

    return call


@pytest.mark.parametrize("code", sorted(DOUBTFUL))
async def test_doubtful_errors_are_raised_unchanged_while_the_root_is_valid(source: Source, code: int) -> None:
    with pytest.raises(OSError, match=r".") as caught:
        await source.run(failing_with(code))
    assert (caught.value.errno, type(caught.value) is SourceLost) == (code, False)


@pytest.mark.parametrize("code", sorted(DOUBTFUL))
async def test_doubtful_errors_of_a_lost_source_raise_source_lost(source: Source, root: Path, code: int) -> None:
    gone(root)
    with pytest.raises(SourceLost):
        await source.run(failing_with(code))


async def test_an_error_that_is_not_doubtful_is_believed_without_a_check(source: Source, root: Path) -> None:
    gone(root)
    with pytest.raises(PermissionError):
        await source.run(failing_with(errno.EPERM))
    assert source.lost is None


async def test_a_root_check_that_hangs_is_within_the_timeout(
    root: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    source, gate = sources(root, local=False)[0], threading.Event()
    monkeypatch.setattr(source, "check_root", gate.wait)
    autojump_clock.autojump_threshold = 0.1
    try:
        with trio.fail_after(60), pytest.raises(TimeoutError):
            await source.within(0.3, failing_with(errno.ESTALE))
    finally:
        gate.set()


# From memory


@pytest.mark.on_disk
@pytest.mark.parametrize("source", [True], indirect=True)
def test_cached_calls_return_for_cached_inodes(source: Source) -> None:
    source.reader.stat(b"A/01")
    assert source.cached(source.reader.stat, b"A/01").kind == FILE
    with pytest.raises(FileNotFoundError):
        source.reader.stat(b"A/none")
    with pytest.raises(FileNotFoundError):
        source.cached(source.reader.stat, b"A/none")


@pytest.mark.parametrize("source", [False], indirect=True)
def test_a_filesystem_that_is_not_local_is_never_called_on_the_loop(source: Source) -> None:
    with pytest.raises(BlockingIOError):
        source.cached(source.reader.stat, b"A/01")


@pytest.mark.on_disk
@pytest.mark.parametrize("source", [True], indirect=True)
def test_cached_enoent_raises_eagain_if_the_root_is_gone(source: Source, root: Path) -> None:
    replaced_by_empty(root)
    with pytest.raises(BlockingIOError):
        source.cached(source.reader.stat, b"A/01")
    with pytest.raises(FileNotFoundError):
        source.reader.stat(b"A")
    with pytest.raises(BlockingIOError):
        source.cached(source.stat_several, b"", [b"A", b"B"])


def test_an_error_while_checking_search_permission_of_the_root_is_the_reason(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """access(2) may fail in the source, too, and os.access raises nothing."""
    stat = os.stat

    def failing(path: bytes | str, **words: Any) -> os.stat_result:  # noqa: ANN401  # os.stat's own
        if path == b".":
            raise OSError(errno.EHOSTDOWN, os.strerror(errno.EHOSTDOWN))
        return stat(path, **words)

    monkeypatch.setattr(os, "access", lambda *args, **words: False)
    with pytest.raises(SourceLost, match="Permission denied"):
        source.check_root()
    monkeypatch.setattr(os, "stat", failing)
    with pytest.raises(SourceLost, match="Host is down"):
        source.check_root()


# Slow, and hung


async def test_a_hung_source_with_a_fallback_is_not_waited_for(root: Path, autojump_clock: MockClock) -> None:
    source, gate = sources(root, local=False)[0], threading.Event()
    now = [1000.0]
    source.threads = SourceThreads(clock=lambda: now[0])
    autojump_clock.autojump_threshold = 0.005
    otherwise: list[str | None] = [None]
    answers: list[tuple[object, bool]] = []

    def slow() -> str:
        gate.wait()
        return "at last"

    async def ask() -> None:
        answers.append(await source.with_fallback(lambda: otherwise[0], slow))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.sleep(HUNG)
        now[0] += 10 * HUNG
        await trio.sleep(10 * HUNG)
        assert (answers, source.threads.hung) == ([], True), "there is nothing else: it is waited for"
        otherwise[0] = "as it was"
        await trio.sleep(1)
        assert answers == [("as it was", False)]
        otherwise[0] = None
        gate.set()
    autojump_clock.autojump_threshold = float("inf")
    while source.threads.busy:
        await trio.lowlevel.checkpoint()
    await trio.testing.wait_all_tasks_blocked()
    assert await source.with_fallback(lambda: "as it was", slow) == ("at last", True)


@pytest.mark.parametrize("limit", [math.inf, 1.0], ids=["hangs", "answers others"])
async def test_a_call_that_timed_out_is_not_repeated_until_it_returns(
    root: Path, limit: float, autojump_clock: MockClock
) -> None:
    source, gate, now, called = sources(root, local=False)[0], threading.Event(), [1000.0], list[str]()
    autojump_clock.autojump_threshold = 0.005
    source.threads = SourceThreads(clock=lambda: now[0], limit=limit)

    def slow(name: str) -> str:
        called.append(name)
        gate.wait()
        return "now"

    async def ask(name: str) -> tuple[str, bool]:
        now[0] += 0.1
        return await source.with_fallback(lambda: "as it was", slow, name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, "one")
        while not called:
            await trio.sleep(0.01)
        now[0] += HUNG
    for _ in range(3):
        assert await ask("one") == ("as it was", False)
    assert called == ["one"]
    if limit == math.inf:
        for name in ("two", "three"):  # one call is made to check whether the source responds again
            assert await ask(name) == ("as it was", False)
        assert called == ["one", "two"]
    gate.set()
    while source.threads.busy:
        await trio.lowlevel.checkpoint()
    await trio.testing.wait_all_tasks_blocked()
    assert await ask("one") == ("now", True)


def test_an_idle_source_holds_no_descriptor(source: Source, root: Path) -> None:
    before = os.listdir("/proc/self/fd")
    tree = source.scan(None)
    source.scan(tree)
    source.check_root()
    assert os.listdir("/proc/self/fd") == before


async def test_a_call_that_fails_when_the_source_is_known_to_be_lost_has_no_check_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = sources(grow(tmp_path / "high", {}))[0]
    checks: list[None] = []
    monkeypatch.setattr(source, "check_root", lambda: checks.append(None))

    def failing() -> None:
        source.lost = "another request found it lost"
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(SourceLost, match="another request"):
        await source.run(failing)
    assert checks == []
