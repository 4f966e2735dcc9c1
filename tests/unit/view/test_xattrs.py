"""Extended attributes and statfs."""

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from trio.testing import MockClock

from mmirrorfs.merge.inodes import ROOT
from mmirrorfs.view.labels import Labels
from mmirrorfs.view.view import View
from mmirrorfs.view.xattrs import BLOCK, Xattrs
from tests.support.acls import access_list, give
from tests.support.build import find, sources, view_of
from tests.support.trees import Link, grow


@pytest.fixture
def high(tmp_path: Path) -> Path:
    return grow(tmp_path / "high", {"A": {"Gold": {"01": "flac", "l": Link("01")}}, "note": ""})


@pytest.fixture
def low(tmp_path: Path) -> Path:
    return grow(tmp_path / "low", {"A": {"Gold": {}, "More": {}}, "B": {}})


@pytest.fixture(params=[True, False], ids=["local", "remote"])
def view(high: Path, low: Path, request: pytest.FixtureRequest) -> View:
    try:
        for rank, root in enumerate((high, low)):
            for path in (root, root / "A", root / "A/Gold"):
                os.setxattr(path, "user.rank", b"%d" % rank)
        os.setxattr(high / "A/Gold/01", "user.mood", b"blue")
    except OSError:
        pytest.skip("no extended attributes here")
    return view_of(sources(high, low, depth=2, local=request.param))


@pytest.fixture
def xattrs(view: View) -> Xattrs:
    return Xattrs(view, Labels(view, "me"))


async def test_xattrs_are_those_of_the_winner(view: View, xattrs: Xattrs) -> None:
    for path, expected in (("", b"0"), ("A", b"0"), ("A/Gold", b"0")):
        node = await find(view, path)
        assert await xattrs.getxattr(node.ino, b"user.rank") == expected
        assert b"user.rank" in await xattrs.listxattr(node.ino)
    node = await find(view, "A/Gold/01")
    assert await xattrs.getxattr(node.ino, b"user.mood") == b"blue"


async def test_xattrs_of_a_merged_directory_are_those_of_the_preferred_source(high: Path, view: View) -> None:
    other = view_of(view.sources, (1, 0))
    xattrs = Xattrs(other, Labels(other))
    assert await xattrs.getxattr((await find(other, "A")).ino, b"user.rank") == b"1"


@pytest.mark.parametrize("path", ["", "A", "A/Gold", "A/Gold/01", "note"])
async def test_xattr_that_is_not_set_raises_enodata(view: View, xattrs: Xattrs, path: str) -> None:
    with pytest.raises(OSError, match="No data") as caught:
        await xattrs.getxattr((await find(view, path)).ino, b"user.none")
    assert caught.value.errno == errno.ENODATA


async def test_security_xattrs_are_answered_without_the_source(
    view: View, xattrs: Xattrs, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await find(view, "A/Gold/01")
    for source in view.sources:
        monkeypatch.setattr(source.reader, "getxattr", None)
    for name in (b"security.selinux", b"security.capability"):
        with pytest.raises(OSError, match="No data"):
            await xattrs.getxattr(node.ino, name)


async def test_xattrs_of_a_symlink_do_not_follow_it(view: View, xattrs: Xattrs) -> None:
    node = await find(view, "A/Gold/l")
    with pytest.raises(OSError, match=r"."):
        await xattrs.getxattr(node.ino, b"user.mood")


async def test_inode_number_that_the_kernel_does_not_hold_raises_estale(xattrs: Xattrs) -> None:
    with pytest.raises(OSError, match="Stale"):
        await xattrs.getxattr(12345, b"user.rank")
    with pytest.raises(OSError, match="Stale"):
        await xattrs.listxattr(12345)


async def test_statfs_counts_a_shared_filesystem_once(view: View, xattrs: Xattrs, high: Path) -> None:
    figures, own = await xattrs.statfs(), os.statvfs(high)
    assert figures["f_blocks"] == own.f_blocks * own.f_frsize // BLOCK
    assert figures["f_namemax"] == own.f_namemax
    assert "f_bfree" not in figures
    assert "f_bavail" not in figures


async def test_statfs_sums_up_several_filesystems(
    view: View, xattrs: Xattrs, high: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = os.statvfs(high)
    for number, source in enumerate(view.sources):
        monkeypatch.setattr(source.reader, "statvfs", lambda number=number: (number, own))
    assert (await xattrs.statfs())["f_blocks"] == 2 * own.f_blocks * own.f_frsize // BLOCK


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


async def test_statfs_leaves_out_a_hung_source(
    high: Path, low: Path, gate: threading.Event, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    view = view_of(sources(high, low, depth=2, local=False))
    autojump_clock.autojump_threshold = 0.1
    monkeypatch.setattr(view.sources[0].reader, "statvfs", gate.wait)
    own = os.statvfs(low)
    figures = await Xattrs(view, Labels(view)).statfs()
    assert figures["f_blocks"] == own.f_blocks * own.f_frsize // BLOCK


async def test_statfs_is_zero_if_all_sources_are_lost(view: View, xattrs: Xattrs) -> None:
    for source in view.sources:
        source.lost = "unplugged"
    figures = await xattrs.statfs()
    assert (figures["f_blocks"], figures["f_namemax"]) == (0, 255)


async def test_xattrs_of_a_merged_directory_do_not_block_on_a_hung_source(
    high: Path, low: Path, gate: threading.Event, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    view = view_of(sources(high, low, depth=2, local=False))
    xattrs = Xattrs(view, Labels(view))
    for call in ("getxattr", "listxattr"):
        monkeypatch.setattr(view.sources[0].reader, call, lambda *args: gate.wait())
    with pytest.raises(OSError, match="No data"):
        await xattrs.getxattr(ROOT, b"user.rank")
    with pytest.raises(OSError, match="Input/output error"):
        await xattrs.getxattr(ROOT, b"system.posix_acl_access")  # never ENODATA: that would grant access
    assert await xattrs.listxattr(ROOT) == []


async def test_lost_source_keeps_cached_access_lists(view: View, xattrs: Xattrs, high: Path) -> None:
    access = b"system.posix_acl_access"
    paths = ("A", "A/Gold", "A/Gold/01")
    for number, path in enumerate(paths):
        give(high / path, 4, number)
    nodes = [await find(view, path) for path in paths]
    before = [await xattrs.getxattr(node.ino, access) for node in nodes]
    assert before == [access_list(4, number) for number in range(3)]
    await xattrs.getxattr(nodes[0].ino, b"user.rank")
    view.sources[0].lost = "unplugged"
    assert [await xattrs.getxattr(node.ino, access) for node in nodes] == before
    assert [await xattrs.listxattr(node.ino) for node in nodes] == [[], [], []]
    with pytest.raises(OSError, match="No data"):
        await xattrs.getxattr(nodes[0].ino, b"user.rank")
    with pytest.raises(OSError, match="Input/output error"):
        await xattrs.getxattr((await find(view, "note")).ino, access)
