"""Resolving links: targets, loops, and links that count as dangling."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmirrorfs.attributes import DIR, FILE, LINK
from mmirrorfs.source import links
from mmirrorfs.source.beneath import CONTENT, DIRECTORY
from mmirrorfs.source.filesystems import VIEW_TYPE, Mount, mount_at
from mmirrorfs.source.links import DEEPEST, open_following, stat_following
from mmirrorfs.source.list_directory import list_directory
from mmirrorfs.source.reader import Reader
from tests.support.trees import Link, grow


@pytest.fixture
def root(tmp_path: Path) -> Path:
    grow(tmp_path / "outside", {"album": {"01": "far"}, "back": Link("../root/A/file")})
    grow(
        tmp_path / "root",
        {
            "A": {"file": "near", "self": Link("."), "up": Link(".."), "above": Link("../..")},
            "out": Link("../outside/album"),
            "chain": Link("out"),
            "absolute": Link(str(tmp_path / "outside")),
            "dangling": Link("nowhere/x"),
            "circle": Link("circle"),
            "through": Link("A/self/file"),
        },
    )
    return tmp_path / "root"


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    before = os.listdir("/proc/self/fd")
    yield
    assert os.listdir("/proc/self/fd") == before


def contents(root: Path, path: str) -> bytes:
    with open(open_following(os.fsencode(root), os.fsencode(path), CONTENT), "rb") as file:
        return file.read()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("A/file", b"near"),
        ("out/01", b"far"),
        ("chain/01", b"far"),
        ("absolute/album/01", b"far"),
        ("absolute/back", b"near"),
        ("through", b"near"),
    ],
)
def test_a_link_counts_as_its_target_wherever_that_is(root: Path, path: str, expected: bytes) -> None:
    assert contents(root, path) == expected
    st = stat_following(os.fsencode(root), os.fsencode(path))
    assert st is not None
    assert os.path.samestat(st, os.stat(root / path))


@pytest.mark.parametrize("path", ["A/self", "A/up", "dangling", "circle", "A/file/x", "none"])
def test_loops_and_dangling_links_have_no_target(root: Path, path: str) -> None:
    assert stat_following(os.fsencode(root), os.fsencode(path)) is None


@pytest.mark.parametrize("path", ["A/self/file", "A/up/A/file", "A/above/root/A/up", "circle", "circle/x"])
def test_nothing_is_opened_through_a_loop(root: Path, path: str) -> None:
    with pytest.raises(OSError, match=r".") as caught:
        os.close(open_following(os.fsencode(root), os.fsencode(path), CONTENT))
    assert caught.value.errno == errno.ELOOP


def test_a_chain_of_links_is_limited_as_in_the_kernel(root: Path) -> None:
    (root / "l0").symlink_to("A")
    for n in range(1, DEEPEST + 1):
        (root / f"l{n}").symlink_to(f"l{n - 1}")
    assert stat_following(os.fsencode(root), b"l%d" % (DEEPEST - 1)) is not None
    assert stat_following(os.fsencode(root), b"l%d" % DEEPEST) is None


def test_a_link_into_a_view_counts_as_dangling(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proc = mount_at(b"/proc")
    assert proc is not None
    (root / "view").symlink_to("/proc/version")
    assert stat_following(os.fsencode(root), b"view") is not None
    as_view = Mount(proc.id, proc.device, proc.where, VIEW_TYPE, b"high:low")
    monkeypatch.setattr(links, "mounts", lambda: [as_view])
    assert stat_following(os.fsencode(root), b"view") is None


def test_a_following_reader_shows_targets_and_dangling_links_as_they_are(root: Path) -> None:
    reader = Reader(os.fsencode(root), follow=True)
    listed = list(list_directory(reader, b"").entries())
    assert {name: attr.kind for name, attr in listed} == {
        b"A": DIR,
        b"out": DIR,
        b"chain": DIR,
        b"absolute": DIR,
        b"dangling": LINK,
        b"circle": LINK,
        b"through": FILE,
    }
    assert {name: reader.stat(name).kind for name, _ in listed} == {name: attr.kind for name, attr in listed}
    found = reader.stat_several(b"A", [b"file", b"self", b"none"])
    assert [one.errno if isinstance(one, OSError) else one.kind for one in found] == [FILE, LINK, errno.ENOENT]
    assert reader.stat(b"A/self").kind == LINK
    assert reader.readlink(b"dangling") == b"nowhere/x"


def test_a_following_reader_opens_lists_and_stats_targets(root: Path) -> None:
    reader = Reader(os.fsencode(root), follow=True)
    fd, attr = reader.open_content(b"chain/01")
    assert (os.read(fd, 9), attr.size) == (b"far", 3)
    os.close(fd)
    fd = reader.open_directory(b"chain")
    assert os.listdir(fd) == ["01"]
    os.close(fd)
    os.close(open_following(os.fsencode(root), b"out", DIRECTORY))
    assert isinstance(reader.listxattr(b"out"), list)


@pytest.mark.parametrize("path", [b"chain/01", b"chain"])
def test_a_following_reader_raises_eagain_for_links_in_cached_calls(root: Path, path: bytes) -> None:
    reader = Reader(os.fsencode(root), follow=True)
    with pytest.raises(BlockingIOError):
        reader.stat(path, cached=True)


def test_a_reader_without_follow_shows_links(root: Path) -> None:
    reader = Reader(os.fsencode(root))
    assert reader.stat(b"out").kind == LINK
    with pytest.raises(OSError, match=r".") as caught:
        reader.open_content(b"out/01")
    assert caught.value.errno == errno.ELOOP
