"""System calls on one source: results, errors, and that no descriptor is left."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from mmirrorfs.attributes import DIR, FILE, LINK, bare
from mmirrorfs.source.list_directory import list_directory
from mmirrorfs.source.reader import Reader, attributes
from tests.support.trees import Fifo, Link, grow


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return grow(
        tmp_path / "root",
        {
            "album": {"01": "one", "02": "two!", "cover": Link("01"), "pipe": Fifo(), "inner": {}},
            "link": Link("album"),
        },
    )


@pytest.fixture
def reader(root: Path) -> Reader:
    return Reader(os.fsencode(root))


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    before = os.listdir("/proc/self/fd")
    yield
    assert os.listdir("/proc/self/fd") == before


def test_attributes_equal_those_of_stat(root: Path, reader: Reader) -> None:
    for path in ("", "album", "album/01", "album/cover", "album/pipe"):
        st = os.lstat(root / path)
        found = reader.stat(os.fsencode(path))
        assert found == attributes(st)
        assert (found.kind, found.size) == (stat.S_IFMT(st.st_mode), st.st_size)
        assert found.stamp == (st.st_dev, st.st_ino, st.st_mtime_ns, st.st_ctime_ns)


def test_attributes_of_several_names_are_read_in_one_directory(reader: Reader) -> None:
    found = reader.stat_several(b"album", [b"01", b"none", b"cover"])
    kinds = [one.errno if isinstance(one, OSError) else one.kind for one in found]
    assert kinds == [FILE, errno.ENOENT, LINK]
    assert reader.stat_several(b"", []) == []


def test_stat_several_in_a_file_is_an_error(reader: Reader) -> None:
    with pytest.raises(NotADirectoryError):
        reader.stat_several(b"album/01", [b"x"])
    with pytest.raises(FileNotFoundError):
        reader.stat_several(b"none", [b"x"])


def test_a_listing_has_names_and_attributes(root: Path, reader: Reader) -> None:
    found = list_directory(reader, b"album")
    assert found.stamp[1] == (root / "album").stat().st_ino
    assert dict(found.kinds()) == {b"01": FILE, b"02": FILE, b"cover": LINK, b"pipe": 0o010000, b"inner": DIR}


def test_list_directory_leaves_no_descriptor_open(reader: Reader) -> None:
    before = os.listdir("/proc/self/fd")
    list_directory(reader, b"album")
    for wrong in (b"album/01", b"none"):
        with pytest.raises(OSError, match="No"):
            list_directory(reader, wrong)
    assert os.listdir("/proc/self/fd") == before


def test_excluded_names_are_not_listed(root: Path) -> None:
    reader = Reader(os.fsencode(root), lambda name: name.startswith(b"0"))
    assert list_directory(reader, b"album").names() == [b"cover", b"inner", b"pipe"]


class Entry:
    """A directory entry that was removed, or cannot be statted, after readdir."""

    def __init__(self, code: int, kind: int) -> None:
        self.name = "name"
        self._code, self._kind = code, kind

    def stat(self, *, follow_symlinks: bool) -> os.stat_result:
        raise OSError(self._code, os.strerror(self._code))

    def is_dir(self, *, follow_symlinks: bool) -> bool:
        return self._kind == DIR

    def is_file(self, *, follow_symlinks: bool) -> bool:
        return self._kind == FILE

    def is_symlink(self) -> bool:
        return self._kind == LINK

    def inode(self) -> int:
        return 7


@pytest.mark.parametrize("kind", [DIR, FILE, LINK])
def test_an_entry_that_cannot_be_statted_has_its_type_alone(reader: Reader, kind: int) -> None:
    found = reader.attributes_of(b"album", b"name", cast("os.DirEntry[str]", Entry(errno.EIO, kind)))
    assert found == bare(kind)


def test_an_entry_of_another_type_that_cannot_be_statted_is_left_out(reader: Reader) -> None:
    assert reader.attributes_of(b"album", b"name", cast("os.DirEntry[str]", Entry(errno.EIO, stat.S_IFIFO))) is None


def test_a_removed_entry_is_left_out(reader: Reader) -> None:
    assert reader.attributes_of(b"album", b"name", cast("os.DirEntry[str]", Entry(errno.ENOENT, FILE))) is None


def test_contents_are_opened_for_reading(root: Path, reader: Reader) -> None:
    fd, attr = reader.open_content(b"album/02")
    assert os.read(fd, 10) == b"two!"
    assert attr.size == 4
    os.close(fd)


@pytest.mark.parametrize(
    ("path", "code"),
    [(b"album/pipe", errno.EIO), (b"album/inner", errno.EIO), (b"socket", errno.ENXIO), (b"", errno.EIO)],
)
def test_only_regular_files_are_opened(root: Path, reader: Reader, path: bytes, code: int) -> None:
    os.mknod(root / "socket", stat.S_IFSOCK | 0o600)
    with pytest.raises(OSError, match=r".") as caught:
        reader.open_content(path)
    assert caught.value.errno == code


def test_a_link_is_never_followed_to_contents(reader: Reader) -> None:
    for path in (b"album/cover", b"link/01"):
        with pytest.raises(OSError, match=r".") as caught:
            reader.open_content(path)
        assert caught.value.errno == errno.ELOOP


def test_readlink_returns_the_target_unresolved(reader: Reader) -> None:
    assert reader.readlink(b"album/cover") == b"01"
    assert reader.readlink(b"link") == b"album"


def test_readlink_of_a_file_is_an_error(reader: Reader) -> None:
    with pytest.raises(OSError, match=r".") as caught:
        reader.readlink(b"album/01")
    assert caught.value.errno in (errno.EINVAL, errno.ENOENT)


def test_extended_attributes_are_read(root: Path, reader: Reader) -> None:
    try:
        os.setxattr(root / "album" / "01", "user.mood", b"blue")
    except OSError:
        pytest.skip("no extended attributes here")
    assert reader.getxattr(b"album/01", b"user.mood") == b"blue"
    assert b"user.mood" in reader.listxattr(b"album/01")
    with pytest.raises(OSError, match="No data") as caught:
        reader.getxattr(b"album/02", b"user.mood")
    assert caught.value.errno == errno.ENODATA


def test_statvfs_has_the_device_number(root: Path, reader: Reader) -> None:
    device, figures = reader.statvfs()
    assert device == root.stat().st_dev
    assert figures.f_frsize == os.statvfs(root).f_frsize


def test_a_renamed_root_is_read_after_the_reader_was_given_its_new_path(root: Path, reader: Reader) -> None:
    moved = root.rename(root.parent / "moved")
    with pytest.raises(FileNotFoundError):
        reader.stat(b"album/01")
    reader.root = os.fsencode(moved)
    assert reader.stat(b"album/01").kind == FILE


def test_nlink_of_a_directory_is_hidden_if_names_are_excluded(root: Path) -> None:
    assert Reader(os.fsencode(root)).stat(b"album").nlink == (root / "album").stat().st_nlink
    assert Reader(os.fsencode(root), lambda name: False).stat(b"album").nlink == 1
    assert Reader(os.fsencode(root), follow=True).stat(b"album").nlink == 1
