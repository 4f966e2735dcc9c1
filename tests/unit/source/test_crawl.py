"""A crawl of real trees: which directories it sends, in what order, and which it leaves out."""

import errno
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mmirrorfs.listing import Listing
from mmirrorfs.source import crawl as crawl_module
from mmirrorfs.source.crawl import Sender, Walk
from mmirrorfs.source.list_directory import list_directory
from mmirrorfs.source.reader import Reader, attributes
from tests.support.build import deep
from tests.support.crawling import SECONDS, Taken, crawled, expected, plan
from tests.support.trees import Fifo, Link, TextTree, grow
from tests.support.users import needs_root, output_of

LIBRARY: TextTree = {
    "A": {"one": {"01": "x", "02": b"longer", "disc": {"03": "", "scans": {}}, "cover": Link("01")}, "two": {}},
    "B": {"three": {"pipe": Fifo(), "lost": Link("nowhere"), "back": Link("..")}, "note": "text"},
    "C": {},
    "file": "",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return grow(tmp_path / "root", LIBRARY)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
async def test_all_directories_from_the_depth_on_are_sent_with_lstat_attributes(root: Path, depth: int) -> None:
    found = Taken()
    before = time.monotonic()
    assert await crawled(plan(root, depth), found) == "done"
    assert found.found == expected(root, depth)
    assert all(before <= listing.fetched_at <= time.monotonic() for listing in found.listings.values())
    for path, listing in found.listings.items():
        assert listing.stamp == attributes(os.lstat(os.path.join(os.fsencode(root), path))).stamp
    assert {path.count(b"/") + 1 for path in found.listings} <= set(range(depth, 5))


async def test_a_crawl_does_not_move_access_times(root: Path) -> None:
    for path in (root / "A/one", root / "A/one/01"):
        os.utime(path, ns=(1, 2))
    assert await crawled(plan(root), Taken()) == "done"
    assert {os.lstat(path).st_atime_ns for path in (root / "A/one", root / "A/one/01")} == {1}


async def test_names_that_are_not_utf_8_are_sent(root: Path) -> None:
    odd = os.fsencode(root) + b"/\xff\xfe/a\nb/\xe9"
    os.makedirs(odd)
    os.close(os.open(odd + b"/\xc3(", os.O_CREAT))
    found = Taken()
    assert await crawled(plan(root), found) == "done"
    assert list(found.found[b"\xff\xfe/a\nb/\xe9"]) == [b"\xc3("]
    assert found.found == expected(root, 1)


async def test_a_root_with_any_bytes_is_crawled_from_any_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = grow(tmp_path / os.fsdecode(b"r\xff\xe9 t"), LIBRARY)
    monkeypatch.chdir(root)
    found = Taken()
    assert await crawled(plan(root), found) == "done"
    assert found.found == expected(root, 1)


async def test_excluded_directories_are_not_crawled(root: Path) -> None:
    taken = Taken()
    assert await crawled(plan(root, 1, ("d?sc", "01")), taken) == "done"
    found, without = taken.found, expected(root, 1, lambda name: name in (b"disc", b"01"))
    for names in (*found.values(), *without.values()):  # st_nlink would count excluded directories
        names.update({name: attr._replace(nlink=1) for name, attr in names.items() if attr.kind == 0o040000})
    assert found == without
    assert b"A/one/disc" not in found


async def test_folders_are_sent_in_inode_order_each_whole_before_the_next(root: Path) -> None:
    grow(root, {f"{number:02}": {"x": {}, "y": {"z": {}}} for number in range(30)})
    found = Taken()
    assert await crawled(plan(root), found) == "done"
    order = list(found.listings)
    inodes = [os.lstat(root / os.fsdecode(path)).st_ino for path in order if b"/" not in path]
    assert inodes == sorted(inodes)
    folders = [path.partition(b"/")[0] for path in order]
    assert [one for one, last in zip(folders, [None, *folders], strict=False) if one != last] == [
        path for path in order if b"/" not in path
    ]


async def test_a_tree_of_2000_levels(tmp_path: Path) -> None:
    root = grow(tmp_path / "root", {"A": {}})
    with deep(root / "A", 2000, "level") as inner:
        found = Taken()
        assert await crawled(plan(root), found) == "done"
        assert len(found.listings) == 2001
        assert found.listings[b"A/" + os.fsencode(inner)].names() == [b"file", b"link"]


async def test_a_directory_of_100_000_entries(in_memory: Path) -> None:
    root = grow(in_memory / "root", {"A": {"wide": {}}, "B": {"x": ""}})
    wide = os.open(root / "A/wide", os.O_RDONLY)
    for number in range(100_000):
        os.mknod(f"{number:06}", dir_fd=wide)
    os.close(wide)
    found = Taken()
    assert await crawled(plan(root), found) == "done"
    assert found.found == expected(root, 1)


async def test_a_root_without_folders(tmp_path: Path) -> None:
    found = Taken()
    assert await crawled(plan(grow(tmp_path / "root", {"file": ""})), found) == "done"
    assert found.listings == {}


def test_a_directory_that_cannot_be_listed_is_left_out_and_the_crawl_goes_on(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(reader: Reader, path: bytes) -> Listing:
        if path in (b"A/one", b"C"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return list_directory(reader, path)

    class Kept(Sender):
        def directory(self, path: bytes, listing: Listing) -> None:
            paths.append(path)

    paths: list[bytes] = []
    monkeypatch.setattr(crawl_module, "list_directory", failing)
    with open(os.devnull, "wb") as null:
        walk = Walk(plan(root), Kept(null.fileno()))
        walk.run()
    assert sorted(paths) == [b"A", b"A/two", b"B", b"B/three"]
    assert walk.word() == {"folders": 3, "of": 3, "watch": (0, [])}


class TestLinks:
    """With ``follow`` a link counts as its target, and the crawl still terminates."""

    async def test_a_link_is_not_descended_into(self, root: Path, tmp_path: Path) -> None:
        grow(tmp_path / "elsewhere", {"song": "x"})
        (root / "A" / "link").symlink_to(tmp_path / "elsewhere")
        found = Taken()
        assert await crawled(plan(root), found) == "done"
        assert found.found == expected(root, 1)

    async def test_a_followed_link_is_the_directory_that_it_leads_to(self, root: Path, tmp_path: Path) -> None:
        grow(tmp_path / "elsewhere", {"song": "x", "inner": {"more": ""}})
        (root / "A" / "link").symlink_to(tmp_path / "elsewhere")
        (root / "D").symlink_to(tmp_path / "elsewhere")
        found = Taken()
        assert await crawled(plan(root, follow=True), found) == "done"
        assert found.listings[b"A/link"].names() == found.listings[b"D"].names() == [b"inner", b"song"]
        assert found.listings[b"A/link/inner"].names() == found.listings[b"D/inner"].names() == [b"more"]
        song = found.listings[b"D"].get(b"song")
        assert song == attributes(os.lstat(tmp_path / "elsewhere/song"))
        assert b"B/three/back" not in found.listings

    async def test_directories_that_all_link_to_each_other_are_crawled_once_a_folder(self, tmp_path: Path) -> None:
        names = [f"d{number}" for number in range(12)]
        root = grow(tmp_path / "root", {"A": {name: {f"to-{to}": Link(f"../{to}") for to in names} for name in names}})
        found = Taken()
        assert await crawled(plan(root, follow=True), found) == "done"
        assert len(found.listings) == len(names) + 1


@needs_root
@pytest.mark.parametrize("everywhere", [False, True])
async def test_other_filesystems_are_crawled_if_local_or_with_everywhere(root: Path, everywhere: bool) -> None:
    queues, memory = grow(root / "A" / "queues", {}), grow(root / "A" / "memory", {})
    with mounted("mqueue", queues), mounted("tmpfs", memory):
        grow(memory, {"album": {"song": "x"}})
        found = Taken()
        assert await crawled(plan(root)._replace(everywhere=everywhere), found) == "done"
    assert found.listings[b"A/memory/album"].names() == [b"song"]
    assert (b"A/queues" in found.listings) == everywhere


@contextmanager
def mounted(kind: str, where: Path) -> Iterator[None]:
    """Mount a filesystem there."""
    output_of("mount", "-t", kind, "none", where)
    try:
        yield
    finally:
        output_of("umount", where)


@contextmanager
def changing(where: Path) -> Iterator[None]:
    """Create, remove and rename directories there until the block ends."""
    ended = threading.Event()

    def change() -> None:
        turn = 0
        while not ended.is_set():
            turn += 1
            top = where / f"new{turn % 50}"
            os.makedirs(top / "a/b/c/d", exist_ok=True)
            (top / "a/b").rename(where / f"moved{turn}")
            if turn % 3 == 0:
                shutil.rmtree(top)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


async def test_a_crawl_of_a_constantly_changing_source_terminates(root: Path) -> None:
    grow(root / "C", {f"{number:03}": {"x": {"y": {}}} for number in range(300)})
    found = Taken()
    with changing(root / "C"):
        assert await crawled(plan(root), found, SECONDS) == "done"
    quiet = {path: names for path, names in expected(root, 1).items() if not path.startswith(b"C")}
    assert {path: found.found[path] for path in quiet} == quiet
