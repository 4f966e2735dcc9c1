"""Scans with errors: what is kept, what is left out, what is raised."""

import errno
import os
from pathlib import Path

import pytest

from mmirrorfs.attributes import DIR, bare
from mmirrorfs.source.reader import Reader
from mmirrorfs.source.scan import Scanner
from mmirrorfs.tree import Directory, Leaf, Rank
from tests.support.build import move
from tests.support.scanning import Failing, shape
from tests.support.trees import grow


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return grow(tmp_path / "root", {"A": {"one": {"x": {}}, "two": {}}, "B": {"three": {}}})


@pytest.fixture
def reader(root: Path) -> Failing:
    return Failing(root)


@pytest.fixture
def again(reader: Failing) -> Scanner:
    return Scanner(reader, Rank(0), 2)


def scan(scanner: Scanner, old: Directory | None = None) -> Directory:
    return scanner.scan(old, lambda: None)


def at(directory: Directory, name: bytes) -> Directory:
    found = directory.entries[name]
    assert isinstance(found, Directory)
    return found


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EIO])
def test_a_directory_that_cannot_be_listed_is_empty_with_an_errno(
    again: Scanner, reader: Failing, root: Path, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    reader.codes[b"A"] = code
    found = scan(again)
    assert shape(found) == {"A": {}, "B": {"three": DIR}}
    assert at(found, b"A").errno == code
    assert at(found, b"A").attr.ino == (root / "A").stat().st_ino
    assert len(caplog.records) == 1


def test_a_directory_that_still_cannot_be_listed_is_the_same_value(
    again: Scanner, reader: Failing, caplog: pytest.LogCaptureFixture
) -> None:
    reader.codes[b"A"] = errno.EACCES
    first = scan(again)
    assert scan(again, first) is first
    assert len(caplog.records) == 1


def test_a_directory_made_unreadable_loses_its_names_until_it_is_readable(
    again: Scanner, reader: Failing, root: Path
) -> None:
    first = scan(again)
    reader.codes[b"A"] = errno.EACCES
    move(root / "A")
    second = scan(again, first)
    assert shape(second)["A"] == {}
    reader.codes.clear()
    assert shape(scan(again, second)) == shape(first)


def test_a_directory_that_cannot_be_statted_is_a_leaf_without_attributes(again: Scanner, reader: Failing) -> None:
    before = scan(again)
    reader.codes[b"A"], reader.stat_too = errno.EACCES, True
    found = scan(again, before)
    assert (found.entries[b"A"], found.listing.get(b"A")) == (Leaf(Rank(0), DIR), bare(DIR))
    assert scan(again, found) is found
    reader.codes.clear()
    assert shape(scan(again, found)) == shape(before)


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ENOMEM, errno.EMFILE])
def test_an_io_error_leaves_a_directory_as_it_was(again: Scanner, reader: Failing, root: Path, code: int) -> None:
    first = scan(again)
    grow(root / "A", {"new": {}})
    move(root / "A")
    reader.codes[b"A"] = code
    assert scan(again, first) is first
    reader.codes.clear()
    assert shape(scan(again, first))["A"] == {"one": DIR, "two": DIR, "new": DIR}


def test_below_a_directory_with_an_io_error_the_scan_goes_on(reader: Failing, root: Path) -> None:
    again = Scanner(reader, Rank(0), 3)
    first = scan(again)
    grow(root / "A" / "two", {"y": {}})
    move(root / "A" / "two")
    reader.codes[b"A"] = errno.EIO
    second = scan(again, first)
    assert shape(second)["A"] == {"one": {"x": DIR}, "two": {"y": DIR}}
    assert at(at(second, b"A"), b"one") is at(at(first, b"A"), b"one")


@pytest.mark.parametrize("code", [errno.ENOENT, errno.ENOTDIR, errno.ELOOP])
def test_a_directory_removed_during_the_scan_is_left_out(again: Scanner, reader: Failing, code: int) -> None:
    reader.codes[b"A"] = code
    assert shape(scan(again)) == {"B": {"three": DIR}}


def test_an_error_is_believed_only_after_the_root_was_checked(again: Scanner, reader: Failing) -> None:
    class RootGone(OSError):
        pass

    def checked() -> None:
        raise RootGone

    first = scan(again)
    for code in (errno.ENOENT, errno.EACCES, errno.EIO):
        reader.codes[b"A"] = code
        with pytest.raises(RootGone):
            again.scan(first, checked)
    reader.codes.clear()
    assert again.scan(first, checked) is first


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ENOENT])
def test_a_root_that_cannot_be_listed_is_an_error(again: Scanner, reader: Failing, code: int) -> None:
    first = scan(again)
    reader.codes[b""] = code
    for old in (None, first):
        with pytest.raises(OSError, match=r".") as caught:
            scan(again, old)
        assert caught.value.errno == code


def test_names_that_are_not_utf_8_or_have_control_characters_are_scanned(tmp_path: Path) -> None:
    names = {b"caf\xe9", b"line\nbreak", b"\x1b[0m", b"\\", b" ", b"n" * 255}
    for name in names:
        os.mkdir(os.path.join(os.fsencode(tmp_path), name))
    found = Scanner(Reader(os.fsencode(tmp_path)), Rank(0), 2)
    assert set(scan(found).entries) == names


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize(("before", "after"), [("file", "folder"), ("folder", "file"), ("folder", "link")])
def test_an_entry_replaced_during_the_listing_never_has_attributes_of_another_type(
    tmp_path: Path, before: str, after: str, depth: int
) -> None:
    """readdir gives one type, and stat(2) another one later; attributes must fit the type that is shown."""
    root = grow(tmp_path / "root", {"other": {}})

    def make(kind: str) -> None:
        path = root / "name"
        if kind == "link":
            path.symlink_to("other")
        else:
            path.mkdir() if kind == "folder" else path.touch()

    def replacing(name: bytes) -> bool:
        """The scan asks for each name that it has listed whether it is left out."""
        path = root / "name"
        if name == b"name" and not path.is_symlink() and path.is_dir() == (before == "folder"):
            path.rmdir() if before == "folder" else path.unlink()
            make(after)
        return False

    make(before)
    scanner = Scanner(Reader(os.fsencode(root), replacing), Rank(0), depth)
    for _ in range(2):
        found = scanner.scan(None, lambda: None)
        entry = found.entries.get(b"name")
        attr = found.listing.get(b"name")
        if isinstance(entry, Leaf) and attr is not None and attr.is_known:
            assert attr.kind == entry.kind
        elif entry is not None:
            assert isinstance(entry, Directory), "it has no attributes"
    assert (b"name" in found.entries) == (after != "link"), "the next scan is right"
