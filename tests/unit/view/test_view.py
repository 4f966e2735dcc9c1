"""The filesystem without FUSE: names, attributes, numbers, opening. Lost and hung sources are in ``test_view_lost``."""

import errno
import os
import time
from functools import partial
from pathlib import Path

import pytest

from mmirrorfs.attributes import DIR, FILE, LINK
from mmirrorfs.merge.inodes import ROOT
from mmirrorfs.source.freshness import Freshness
from mmirrorfs.source.source import Source
from mmirrorfs.view.nodes import FileNode
from mmirrorfs.view.view import View
from tests.support.build import KEEP, Clock, find, heard, move, rescan, seen, sources, view_of
from tests.support.trees import Fifo, Link, grow

LATER = 3 * 10**18
"""When refreshes are said to happen: after everything else."""


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
    """The errno that looking a path up gives, or None where it is there."""
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


# Names and numbers


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
async def test_names_lead_to_what_the_merge_says(view: View, path: str, kind: int) -> None:
    assert (await seen(view, path)).kind == kind


async def test_a_folder_is_its_winner_s_and_nothing_of_the_other_s_shows_through(both: list[Source]) -> None:
    high, low = view_of(both), view_of(both, (1, 0))
    assert (await code_of(high, "A/Gold/01.flac"), await code_of(high, "A/Gold/01.mp3")) == (None, errno.ENOENT)
    assert (await code_of(low, "A/Gold/01.flac"), await code_of(low, "A/Gold/01.mp3")) == (errno.ENOENT, None)
    assert (await bytes_of(high, "note"), await bytes_of(low, "note")) == (b"high", b"low")


@pytest.mark.parametrize("path", ["none", "A/none", "A/Gold/none", "A/Gold/none/x", "A/Gold/01.flac/x"])
async def test_absent_names_are_not_there(view: View, path: str) -> None:
    assert await code_of(view, path) in (errno.ENOENT, errno.ENOTDIR)


async def test_numbers_are_the_same_in_another_process_and_after_a_refresh(both: list[Source]) -> None:
    one, other = view_of(both), view_of(sources(*[Path(os.fsdecode(s.path)) for s in both], depth=2))
    for path in ("A", "B", "A/Gold", "A/Gold/01.flac", "note"):
        number = (await find(one, path)).ino
        rescan(one, LATER)
        assert number == (await find(one, path)).ino == (await find(other, path)).ino


async def test_numbers_differ_between_the_sources_of_one_name(both: list[Source]) -> None:
    high, low = view_of(both), view_of(both, (1, 0))
    assert (await find(high, "note")).ino != (await find(low, "note")).ino
    assert (await find(high, "A/Gold")).ino != (await find(low, "A/Gold")).ino
    assert (await find(high, "A")).ino == (await find(low, "A")).ino


async def test_dots_lead_here_and_to_the_directory_above_when_all_else_was_forgotten(view: View) -> None:
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


async def test_dots_of_a_directory_that_is_gone_are_not_there(view: View, both: list[Source], low: Path) -> None:
    node = await find(view, "B")
    (low / "B").rmdir()
    move(low)
    rescan(view, LATER)
    for dots in (b".", b".."):
        with pytest.raises(FileNotFoundError):
            await view.lookup(node.ino, dots)


# Holding and forgetting


async def test_a_number_that_nobody_holds_is_stale(view: View) -> None:
    node = await find(view, "A/Gold")
    view.inodes.held.forget(node.ino, 1)
    for asked in (view.getattr, view.open, view.readlink):
        with pytest.raises(OSError, match="Stale") as caught:
            await asked(node.ino)
        assert caught.value.errno == errno.ESTALE


async def test_a_lookup_counts_nothing_by_itself(view: View) -> None:
    await view.lookup(ROOT, b"A")
    assert len(view.inodes.held) == 1


async def test_one_name_is_one_node_as_long_as_it_is_held(view: View) -> None:
    one, again = await find(view, "A/Gold/01.flac"), await find(view, "A/Gold/01.flac")
    assert one is again
    assert one.nlookup == 2
    view.inodes.held.forget(one.ino, 1)
    assert (await view.getattr(one.ino)) is one


async def test_a_node_whose_name_went_answers_that_it_is_not_there(
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


async def test_a_merged_directory_is_the_first_source_s_with_the_newest_times(both: list[Source]) -> None:
    for rank, source in enumerate(both):
        path = os.path.join(source.reader.root, b"A")
        os.chmod(path, 0o700 + rank)
        os.utime(path, ns=(10**18 * (rank + 1), 10**18 * (rank + 1)))
    for order, mode in (((0, 1), 0o700), ((1, 0), 0o701)):
        attr = await seen(view_of(both, order), "A")
        assert (attr.mode, attr.nlink, attr.mtime_ns) == (DIR | mode, 1, 2 * 10**18)


async def test_everything_else_has_the_winner_s_own_attributes(view: View, high: Path) -> None:
    for path in ("A/Gold", "A/Gold/01.flac", "A/Gold/cover", "note"):
        attr, st = await seen(view, path), (high / path).lstat()
        assert attr.ino == st.st_ino
        assert attr[:7] == (st.st_mode, st.st_nlink, st.st_uid, st.st_gid, st.st_rdev, st.st_size, st.st_blocks)
        assert (attr.mtime_ns, attr.ctime_ns) == (st.st_mtime_ns, st.st_ctime_ns)


async def test_attributes_are_kept_for_a_while_and_then_asked_for_again(view: View, high: Path, clock: Clock) -> None:
    nodes = [await find(view, path) for path in ("note", "A/Gold/01.flac")]
    for path in ("note", "A/Gold/01.flac"):
        (high / path).write_text("longer than before")
    clock.now += KEEP - 0.1
    assert [view.answer(await view.getattr(node.ino))[0].size for node in nodes] == [4, 4]
    clock.now += 0.1
    assert [view.answer(await view.getattr(node.ino))[0].size for node in nodes] == [18, 18]


async def test_a_folder_that_another_source_took_over_moves_forward_in_time(
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


async def test_what_changed_without_moving_mtime_or_size_is_told(view: View, high: Path, clock: Clock) -> None:
    told, node = heard(view).changed, await find(view, "A/Gold/01.flac")
    view.pages.replied(node, *view.answer(node))
    st = (high / "A/Gold/01.flac").stat()
    (high / "new").write_text("FLAC")
    os.utime(high / "new", ns=(st.st_atime_ns, st.st_mtime_ns))
    (high / "new").rename(high / "A/Gold/01.flac")
    for expected in ([], [node.ino]):
        view.pages.replied(node, *view.answer(await view.getattr(node.ino)))
        assert told == expected
        clock.now += KEEP


# Links and files


async def test_a_link_below_the_depth_is_read_as_it_stands(view: View) -> None:
    assert await view.readlink((await find(view, "A/Gold/cover")).ino) == b"01.flac"
    with pytest.raises(OSError, match="Invalid argument"):
        await view.readlink(ROOT)


async def test_a_file_s_bytes_are_read(view: View) -> None:
    assert await bytes_of(view, "A/Gold/01.flac") == b"flac"
    assert await bytes_of(view, "A/More/02.mp3") == b"mp3"


async def test_what_the_kernel_has_cached_is_true_while_the_file_is_the_same(view: View, high: Path) -> None:
    node = await find(view, "A/Gold/01.flac")
    unchanged = []
    for text in (None, None, "other", None):
        if text is not None:
            (high / "A/Gold/01.flac").write_text(text)
        handle, same = await view.open(node.ino)
        view.pages.opened(node.ino)
        view.files.release(handle)
        unchanged.append(same)
    assert unchanged == [False, True, False, True], "at first the kernel was told of nothing"


@pytest.mark.parametrize("path", ["A/Gold/01.flac", "note"])
async def test_a_file_that_replaced_one_that_is_open_is_a_file_of_its_own(
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
    assert view.answer(await view.getattr(old.ino))[0].size == 4, "an open file is asked itself"
    view.files.release(handle)
    clock.now += KEEP
    assert (await find(view, path)).ino == old.ino


async def test_what_is_open_goes_on_when_its_folder_goes(view: View, both: list[Source], high: Path) -> None:
    handle, _ = await view.open((await find(view, "A/Gold/01.flac")).ino)
    (high / "A" / "Gold").rename(high / "A" / "Other")
    move(high / "A")
    rescan(view, LATER)
    assert bytes(await view.read(handle, 0, 10)) == b"flac"
    view.files.release(handle)
    node = await find(view, "A/Gold/01.mp3")
    assert isinstance(node, FileNode)
    assert node.source is both[1]


async def test_a_folder_swapped_for_a_link_leads_nowhere_and_gives_way(view: View, high: Path) -> None:
    node = await find(view, "A/Gold/01.flac")
    (high / "A" / "Gold").rename(high / "A" / "Moved")
    (high / "A" / "Gold").symlink_to("Moved")
    with pytest.raises(OSError, match="Stale"):
        await view.open(node.ino)
    assert await bytes_of(view, "A/Gold/01.mp3") == b"mp3"


def test_the_promise_is_kept_by_what_is_kept_and_how_often_is_looked() -> None:
    for seconds in (1, 60, 3600):
        parts = Freshness.promised(seconds, time.monotonic)
        assert parts.keep + parts.kernel < seconds
        assert parts.period is not None
        assert parts.period + parts.kernel < seconds
    assert Freshness.promised(0, time.monotonic) == Freshness(0.5, 0.5, None, time.monotonic)


@pytest.mark.parametrize("local", [True, False], ids=["local", "remote"])
async def test_who_looks_up_what_a_brief_scan_left_out_waits_for_it(
    high: Path, low: Path, clock: Clock, local: bool
) -> None:
    both = sources(high, low, depth=2, local=local)
    for source in both:
        source.scan = partial(source.scan, brief=True)  # type: ignore[method-assign]
    view = view_of(both, clock=clock)
    assert view.known[0].entry(b"A", b"Gold") is None
    assert (await seen(view, "A/Gold")).ino == (high / "A/Gold").stat().st_ino
    assert (await seen(view, "A/More")).ino == (low / "A/More").stat().st_ino
