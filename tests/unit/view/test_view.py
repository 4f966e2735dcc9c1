"""The filesystem without FUSE: lookup, getattr, inode numbers, open. ``test_view_lost`` has lost and hung sources."""

import errno
import os
import time
from functools import partial
from pathlib import Path

import pytest

from mmirrorfs.attributes import DIR, FILE, LINK
from mmirrorfs.merge.inodes import ROOT
from mmirrorfs.source.freshness import Freshness
from mmirrorfs.source.singles import Answer
from mmirrorfs.source.source import Source
from mmirrorfs.view.nodes import FileNode
from mmirrorfs.view.view import View
from tests.support.build import KEEP, Clock, find, heard, move, rescan, seen, sources, view_of
from tests.support.trees import Fifo, Link, grow

LATER = 3 * 10**18
"""The time of rescans: after all others."""


@pytest.fixture
def high(tmp_path: Path) -> Path:
    return grow(tmp_path / "high", {"A": {"Gold": {"01.flac": "flac", "cover": Link("01.flac")}}, "note": "high"})


@pytest.fixture
def low(tmp_path: Path) -> Path:
    return grow(
        tmp_path / "low",
        {"A": {"Gold": {"01.mp3": "mp3"}, "More": {"02.mp3": "mp3", "CD2": {"x": Fifo()}}}, "B": {}, "note": "low"},
    )


@pytest.fixture
def both(high: Path, low: Path) -> list[Source]:
    return sources(high, low, depth=2)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def view(both: list[Source], clock: Clock) -> View:
    return view_of(both, clock=clock)


async def code_of(view: View, path: str) -> int | None:
    """The errno of a lookup of that path, or None if it exists."""
    try:
        await find(view, path)
    except OSError as error:
        return error.errno
    return None


async def bytes_of(view: View, path: str) -> bytes:
    handle, _ = await view.open((await find(view, path)).ino)
    try:
        return bytes(await view.read(handle, 0, 100))
    finally:
        view.files.release(handle)


# Lookup and inode numbers


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("A", DIR),
        ("B", DIR),
        ("note", FILE),
        ("A/Gold", DIR),
        ("A/More", DIR),
        ("A/Gold/01.flac", FILE),
        ("A/Gold/cover", LINK),
        ("A/More/CD2", DIR),
        ("A/More/CD2/x", 0o010000),
    ],
)
async def test_lookup_follows_the_merge_down_to_every_kind_of_entry(view: View, path: str, kind: int) -> None:
    assert (await seen(view, path)).kind == kind


async def test_folder_has_entries_of_its_winner_only(both: list[Source]) -> None:
    high, low = view_of(both), view_of(both, (1, 0))
    assert (await code_of(high, "A/Gold/01.flac"), await code_of(high, "A/Gold/01.mp3")) == (None, errno.ENOENT)
    assert (await code_of(low, "A/Gold/01.flac"), await code_of(low, "A/Gold/01.mp3")) == (errno.ENOENT, None)
    assert (await bytes_of(high, "note"), await bytes_of(low, "note")) == (b"high", b"low")


@pytest.mark.parametrize("path", ["none", "A/none", "A/Gold/none", "A/Gold/none/x", "A/Gold/01.flac/x"])
async def test_lookup_of_a_missing_name_raises_enoent_or_enotdir(view: View, path: str) -> None:
    assert await code_of(view, path) in (errno.ENOENT, errno.ENOTDIR)


async def test_inode_numbers_survive_a_restart_and_a_rescan(both: list[Source]) -> None:
    one, other = view_of(both), view_of(sources(*[Path(os.fsdecode(s.path)) for s in both], depth=2))
    for path in ("A", "B", "A/Gold", "A/Gold/01.flac", "note"):
        number = (await find(one, path)).ino
        rescan(one, LATER)
        assert number == (await find(one, path)).ino == (await find(other, path)).ino


async def test_inode_number_of_a_name_differs_between_sources_unless_it_is_merged(both: list[Source]) -> None:
    high, low = view_of(both), view_of(both, (1, 0))
    assert (await find(high, "note")).ino != (await find(low, "note")).ino
    assert (await find(high, "A/Gold")).ino != (await find(low, "A/Gold")).ino
    assert (await find(high, "A")).ino == (await find(low, "A")).ino


async def test_lookup_of_dots_finds_node_and_parent_after_all_others_were_forgotten(view: View) -> None:
    for path in ("A", "note", "A/Gold", "A/Gold/01.flac", "A/More/CD2", "A/More/CD2/x"):
        node = await find(view, path)
        above = await find(view, os.path.dirname(path))
        number, attr = above.ino, view.answer(above)[0]
        for other in view.inodes.held:
            if other is not node:
                view.inodes.held.forget(other.ino, other.nlookup)
        assert await view.lookup(node.ino, b".") is node
        found = await view.lookup(node.ino, b"..")
        assert (found.ino, view.answer(found)[0].mode) == (number, attr.mode)
        assert await view.lookup(ROOT, b"..") is view.inodes.node(ROOT)


async def test_lookup_of_dots_in_a_removed_directory_raises_enoent(view: View, both: list[Source], low: Path) -> None:
    node = await find(view, "B")
    (low / "B").rmdir()
    move(low)
    rescan(view, LATER)
    for dots in (b".", b".."):
        with pytest.raises(FileNotFoundError):
            await view.lookup(node.ino, dots)


# Lookup counts


async def test_inode_number_that_the_kernel_does_not_hold_raises_estale(view: View) -> None:
    node = await find(view, "A/Gold")
    view.inodes.held.forget(node.ino, 1)
    for request in (view.getattr, view.open, view.readlink):
        with pytest.raises(OSError, match="Stale") as caught:
            await request(node.ino)
        assert caught.value.errno == errno.ESTALE


async def test_lookup_does_not_change_the_lookup_count(view: View) -> None:
    await view.lookup(ROOT, b"A")
    assert len(view.inodes.held) == 1


async def test_lookups_of_a_name_return_one_node_while_it_is_held(view: View) -> None:
    one, again = await find(view, "A/Gold/01.flac"), await find(view, "A/Gold/01.flac")
    assert one is again
    assert one.nlookup == 2
    view.inodes.held.forget(one.ino, 1)
    assert (await view.getattr(one.ino)) is one


async def test_getattr_of_a_removed_directory_raises_enoent(
    view: View, both: list[Source], low: Path, clock: Clock
) -> None:
    merged, folder = await find(view, "B"), await find(view, "A/More")
    (low / "B").rmdir()
    (low / "A" / "More").rename(low / "elsewhere")
    for path in (low, low / "A"):
        move(path)
    rescan(view, LATER)
    clock.now += KEEP
    for node in (merged, folder):
        with pytest.raises(FileNotFoundError):
            await view.getattr(node.ino)


# Attributes


async def test_merged_directory_has_attributes_of_the_first_source_and_the_newest_times(both: list[Source]) -> None:
    for rank, source in enumerate(both):
        path = os.path.join(source.reader.root, b"A")
        os.chmod(path, 0o700 + rank)
        os.utime(path, ns=(10**18 * (rank + 1), 10**18 * (rank + 1)))
    for order, mode in (((0, 1), 0o700), ((1, 0), 0o701)):
        attr = await seen(view_of(both, order), "A")
        assert (attr.mode, attr.nlink, attr.mtime_ns) == (DIR | mode, 1, 2 * 10**18)


async def test_folder_and_file_have_attributes_of_the_winner(view: View, high: Path) -> None:
    for path in ("A/Gold", "A/Gold/01.flac", "A/Gold/cover", "note"):
        attr, st = await seen(view, path), (high / path).lstat()
        assert attr.ino == st.st_ino
        assert attr[:7] == (st.st_mode, st.st_nlink, st.st_uid, st.st_gid, st.st_rdev, st.st_size, st.st_blocks)
        assert (attr.mtime_ns, attr.ctime_ns) == (st.st_mtime_ns, st.st_ctime_ns)


async def test_attributes_are_cached_until_they_expire(view: View, high: Path, clock: Clock) -> None:
    nodes = [await find(view, path) for path in ("note", "A/Gold/01.flac")]
    for path in ("note", "A/Gold/01.flac"):
        (high / path).write_text("longer than before")
    clock.now += KEEP - 0.1
    assert [view.answer(await view.getattr(node.ino))[0].size for node in nodes] == [4, 4]
    clock.now += 0.1
    assert [view.answer(await view.getattr(node.ino))[0].size for node in nodes] == [18, 18]


async def test_times_of_a_folder_move_forward_when_another_source_takes_over(
    view: View, both: list[Source], high: Path, low: Path
) -> None:
    os.utime(low / "A" / "Gold", ns=(5, 5))
    before = await seen(view, "A/Gold")
    (high / "A" / "Gold").rename(high / "A" / "Other")
    move(high / "A")
    rescan(view, LATER)
    after = await seen(view, "A/Gold")
    assert after.ino == (low / "A" / "Gold").stat().st_ino
    assert after.mtime_ns == after.ctime_ns == LATER > before.mtime_ns


async def test_change_of_neither_mtime_nor_size_is_reported_once(view: View, high: Path, clock: Clock) -> None:
    reported, node = heard(view).changed, await find(view, "A/Gold/01.flac")
    view.pages.replied(node, *view.answer(node))
    st = (high / "A/Gold/01.flac").stat()
    (high / "new").write_text("FLAC")
    os.utime(high / "new", ns=(st.st_atime_ns, st.st_mtime_ns))
    (high / "new").rename(high / "A/Gold/01.flac")
    for expected in ([], [node.ino]):
        view.pages.replied(node, *view.answer(await view.getattr(node.ino)))
        assert reported == expected
        clock.now += KEEP


# Links and files


async def test_readlink_returns_the_target_unchanged(view: View) -> None:
    assert await view.readlink((await find(view, "A/Gold/cover")).ino) == b"01.flac"
    with pytest.raises(OSError, match="Invalid argument"):
        await view.readlink(ROOT)


async def test_read_returns_the_bytes_of_the_winner(view: View) -> None:
    assert await bytes_of(view, "A/Gold/01.flac") == b"flac"
    assert await bytes_of(view, "A/More/02.mp3") == b"mp3"


async def test_open_keeps_cached_pages_only_while_the_file_is_unchanged(view: View, high: Path) -> None:
    node = await find(view, "A/Gold/01.flac")
    unchanged = []
    for text in (None, None, "other", None):
        if text is not None:
            (high / "A/Gold/01.flac").write_text(text)
        handle, same = await view.open(node.ino)
        view.pages.opened(node.ino)
        view.files.release(handle)
        unchanged.append(same)
    assert unchanged == [False, True, False, True], "nothing is cached at first"


@pytest.mark.parametrize("path", ["A/Gold/01.flac", "note"])
async def test_file_that_replaced_an_open_one_has_its_own_inode_number(
    view: View, high: Path, clock: Clock, path: str
) -> None:
    old = await find(view, path)
    handle, _ = await view.open(old.ino)
    (high / "new").write_text("replaced!")
    (high / "new").rename(high / path)
    with pytest.raises(OSError, match="Stale"):
        await view.open(old.ino)
    clock.now += KEEP
    new = await find(view, path)
    assert new.ino != old.ino
    assert await bytes_of(view, path) == b"replaced!"
    assert bytes(await view.read(handle, 0, 100)) in (b"flac", b"high")
    assert view.answer(await view.getattr(old.ino))[0].size == 4, "attributes come from the open file itself"
    view.files.release(handle)
    clock.now += KEEP
    assert (await find(view, path)).ino == old.ino


async def test_open_file_stays_readable_after_its_folder_was_removed(
    view: View, both: list[Source], high: Path
) -> None:
    handle, _ = await view.open((await find(view, "A/Gold/01.flac")).ino)
    (high / "A" / "Gold").rename(high / "A" / "Other")
    move(high / "A")
    rescan(view, LATER)
    assert bytes(await view.read(handle, 0, 10)) == b"flac"
    view.files.release(handle)
    node = await find(view, "A/Gold/01.mp3")
    assert isinstance(node, FileNode)
    assert node.source is both[1]


async def test_folder_replaced_by_a_symlink_gives_way_to_the_next_source(view: View, high: Path) -> None:
    node = await find(view, "A/Gold/01.flac")
    (high / "A" / "Gold").rename(high / "A" / "Moved")
    (high / "A" / "Gold").symlink_to("Moved")
    with pytest.raises(OSError, match="Stale"):
        await view.open(node.ino)
    assert await bytes_of(view, "A/Gold/01.mp3") == b"mp3"


def test_staleness_budget_of_cache_and_scan_period_is_within_refresh() -> None:
    for seconds in (1, 60, 3600):
        parts = Freshness.promised(seconds, time.monotonic)
        assert parts.keep + parts.kernel < seconds
        assert parts.period is not None
        assert parts.period + parts.kernel < seconds
    assert Freshness.promised(0, time.monotonic) == Freshness(0.5, 0.5, None, time.monotonic)


@pytest.mark.parametrize("local", [True, False], ids=["local", "remote"])
async def test_lookup_waits_for_attributes_that_a_brief_scan_left_out(
    high: Path, low: Path, clock: Clock, local: bool
) -> None:
    both = sources(high, low, depth=2, local=local)
    for source in both:
        source.scan = partial(source.scan, brief=True)  # type: ignore[method-assign]
    view = view_of(both, clock=clock)
    assert view.known[0].entry(b"A", b"Gold") is None
    assert (await seen(view, "A/Gold")).ino == (high / "A/Gold").stat().st_ino
    assert (await seen(view, "A/More")).ino == (low / "A/More").stat().st_ino


@pytest.mark.parametrize(("turns", "expected"), [(9, None), (1000, errno.ESTALE)])
async def test_lookup_of_a_name_whose_winners_go_one_after_the_other_finds_the_last_or_is_repeated_by_the_kernel(
    view: View, monkeypatch: pytest.MonkeyPatch, turns: int, expected: int | None
) -> None:
    leaf, left = view.revalidation.leaf, iter(range(turns))

    async def going(node: FileNode) -> Answer | None:
        return None if next(left, None) is not None else await leaf(node)

    monkeypatch.setattr(view.revalidation, "leaf", going)
    assert await code_of(view, "A/Gold") == expected
