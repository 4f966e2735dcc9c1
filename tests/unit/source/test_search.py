"""Searching folders for files: what counts as one, what is asked for again, and by what reports."""

import errno
import os
import time
from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from mmirrorfs.attributes import Attributes
from mmirrorfs.source.exclude import excluded_by
from mmirrorfs.source.folders import Folders
from mmirrorfs.source.freshness import Freshness
from mmirrorfs.source.known import Known
from mmirrorfs.source.list_directory import list_directory
from mmirrorfs.source.reader import Reader
from mmirrorfs.source.room import Room
from mmirrorfs.source.scan import Scanner
from mmirrorfs.source.trust import Trust
from mmirrorfs.tree import Directory, Evidence, Leaf, Rank
from tests.support.scanning import Counting, Failing
from tests.support.trees import Fifo, Link, TextTree, grow

UNREPORTED = (b"",)


def scanner(reader: Reader, depth: int = 1, is_local: Callable[[bytes], bool] = lambda path: True) -> Scanner:
    return Scanner(reader, Rank(0), depth, is_local, skip_empty=True)


def scan(
    scanner: Scanner, old: Directory | None = None, only: Collection[bytes] | None = None, anew: bool = False
) -> Directory:
    return scanner.scan(old, lambda: None, only=only, anew=anew)


def leaf(directory: Directory, path: str) -> Leaf:
    """A folder of a scanned source."""
    *above, name = os.fsencode(path).split(b"/")
    for part in above:
        entry = directory.entries[part]
        assert isinstance(entry, Directory)
        directory = entry
    found = directory.entries[name]
    assert isinstance(found, Leaf)
    return found


def evidence(directory: Directory, path: str) -> Evidence:
    found = leaf(directory, path).evidence
    assert found is not None
    return found


def is_empty(root: Path, follow: bool = False, excludes: Collection[str] = ()) -> bool:
    """What a first scan says of the folder x."""
    return leaf(scan(scanner(Reader(os.fsencode(root), excluded_by(excludes), follow))), "x").is_empty


def named(reader: Reader) -> Reader:
    """Directories are reported by their names, but for those that are called "unseen"."""
    reader.mark = lambda fd: os.fsencode(os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))).replace(b"unseen", b"")
    return reader


class Asked(Reader):
    """A reader that notes the paths of which it is asked for the attributes."""

    def __init__(self, root: Path) -> None:
        super().__init__(os.fsencode(root))
        self.asked: list[bytes] = []

    def stat(self, path: bytes, cached: bool = False) -> Attributes:
        self.asked.append(path)
        return super().stat(path, cached)


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ({}, True),
        ({"a": {}, "b": {"c": {"d": {}}}}, True),
        ({"1": ""}, False),
        ({"a": {}, "b": {"c": {"d": {"1": ""}}}}, False),
        ({"a": Link("nowhere")}, False),
        ({"a": Link("../other")}, False),
        ({"a": {"b": Fifo()}}, False),
    ],
)
def test_a_file_is_what_is_no_directory_at_any_level(tmp_path: Path, folder: TextTree, expected: bool) -> None:
    root = grow(tmp_path / "root", {"x": folder, "other": {}})
    for brief in (True, False):
        found = scanner(Reader(os.fsencode(root))).scan(None, lambda: None, brief=brief)
        assert leaf(found, "x").is_empty == expected


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ({"a": Link("nowhere")}, False),
        ({"a": Link("../full")}, False),
        ({"a": Link("../full/1")}, False),
        ({"a": Link("../other")}, True),
        ({"a": {"b": Link("../../other")}, "c": Link("a")}, True),
        ({"a": Link(".")}, False),
    ],
)
def test_a_link_that_is_followed_counts_as_it_is_shown(tmp_path: Path, folder: TextTree, expected: bool) -> None:
    """One that leads nowhere, or to a directory that it lies in, is shown as a link."""
    root = grow(tmp_path / "root", {"x": folder, "other": {}, "full": {"1": ""}})
    assert is_empty(root, follow=True) == expected


def test_directories_that_lead_to_each_other_by_links_are_searched_once(tmp_path: Path) -> None:
    others: TextTree = {f"to {name}": Link(f"../{name}") for name in "abcdefgh"}
    beside = grow(tmp_path / "beside", dict.fromkeys("abcdefgh", others))
    root = grow(tmp_path / "root", {"x": {name: Link(f"{beside}/{name}") for name in "abcdefgh"}})
    assert not is_empty(root, follow=True), "a link to where it lies is shown as one"


def test_what_is_left_out_does_not_count(tmp_path: Path) -> None:
    root = grow(tmp_path / "root", {"x": {".DS_Store": "", "a": {"Thumbs.db": ""}, "@eaDir": {"1": ""}}})
    assert is_empty(root, excludes=[".DS_Store", "Thumbs.db", "@eaDir"])
    assert not is_empty(root, excludes=[".DS_Store", "Thumbs.db"])


@pytest.mark.parametrize("name", [b"caf\xe9", b"line\nbreak", b"\x1b[0m", b"\\", b" ", b"n" * 255])
def test_any_name_is_searched(tmp_path: Path, name: bytes) -> None:
    top = os.fsencode(tmp_path)
    os.makedirs(top + b"/" + name + b"/" + name)
    again = scanner(Reader(top))
    first = scan(again)
    assert leaf(first, os.fsdecode(name)).is_empty
    os.mkfifo(top + b"/" + name + b"/" + name + b"/" + name)
    second = scan(again, first)
    assert not leaf(second, os.fsdecode(name)).is_empty
    assert scan(again, second) is second


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EIO])
@pytest.mark.parametrize("path", [b"x", b"x/a"])
def test_what_cannot_be_read_is_not_known_to_be_empty(tmp_path: Path, code: int, path: bytes) -> None:
    reader = Failing(grow(tmp_path / "root", {"x": {"a": {}}}))
    again = scanner(reader)
    reader.codes[path] = code
    found = scan(again)
    assert not leaf(found, "x").is_empty
    reader.codes.clear()
    assert leaf(scan(again, found), "x").is_empty


@pytest.mark.parametrize(("code", "expected"), [(errno.EACCES, False), (errno.EIO, True), (errno.EMFILE, True)])
def test_an_error_that_is_no_news_leaves_what_was_known(tmp_path: Path, code: int, expected: bool) -> None:
    reader = Failing(grow(tmp_path / "root", {"x": {}, "y": {"1": ""}}))
    named(reader)
    again = scanner(reader)
    first = scan(again)
    assert evidence(first, "x").keys == (b"x",)
    reader.codes |= {b"x": code, b"y": code}
    second = scan(again, first, anew=True)
    assert (leaf(second, "x").is_empty, leaf(second, "y").is_empty) == (expected, False)
    assert evidence(second, "x").keys == UNREPORTED, "it is searched again, whether anything is reported or not"


def test_an_error_is_believed_only_after_the_root_was_asked_for(tmp_path: Path) -> None:
    def lost() -> None:
        raise OSError(errno.EIO, "lost")

    reader = Failing(grow(tmp_path / "root", {"x": {}}))
    for code in (errno.ENOENT, errno.EACCES, errno.EIO):
        reader.codes[b"x"] = code
        with pytest.raises(OSError, match="lost"):
            scanner(reader).scan(None, lost)


def test_what_goes_while_it_is_searched_is_not_there(tmp_path: Path) -> None:
    reader = Failing(grow(tmp_path / "root", {"x": {"a": {"1": ""}}}))
    reader.codes[b"x/a"] = errno.ENOENT
    assert leaf(scan(scanner(reader)), "x").is_empty


def test_what_is_not_local_in_a_folder_that_is_counts_as_a_file_and_is_not_opened(tmp_path: Path) -> None:
    root = grow(tmp_path / "root", {"A": {"x": {"net": {}}, "net": {}}, "net": {"x": {}}})
    reader = Failing(root)
    reader.codes |= dict.fromkeys([b"A/x/net", b"A/net"], errno.EDEADLK)
    found = scan(scanner(reader, 2, lambda path: b"net" not in path.split(b"/")))
    assert [leaf(found, path).is_empty for path in ("A/x", "A/net", "net/x")] == [False, False, True]


def test_only_folders_at_the_depth_are_searched(tmp_path: Path) -> None:
    root = grow(tmp_path / "root", {"A": {"x": {}, "f": ""}, "B": {}, "f": ""})
    found = scan(scanner(Reader(os.fsencode(root)), 2))
    assert leaf(found, "A/x").is_empty
    assert not any(leaf(found, path).evidence for path in ("A/f", "f"))


def test_a_directory_with_an_empty_folder_has_not_only_folders_as_the_merge_takes_them(tmp_path: Path) -> None:
    root = grow(tmp_path / "root", {"A": {"x": {}, "y": {"1": ""}}, "B": {"x": {"1": ""}}})
    again = scanner(Reader(os.fsencode(root)), 2)
    found = scan(again)
    assert [entry.only_folders for _, entry in sorted(found.entries.items()) if isinstance(entry, Directory)] == [
        False,
        True,
    ]
    (root / "A/x/1").touch()
    found = scan(again, found)
    assert all(entry.only_folders for entry in found.entries.values() if isinstance(entry, Directory))


# Again


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return grow(tmp_path / "root", {"full": {"1": "", "2": ""}, "deep": {"a": {"b": {"1": ""}}}, "empty": {"a": {}}})


def test_where_nothing_is_reported_the_file_that_was_found_is_asked_for_and_the_empty_ones_are_searched(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = scanner(reader := Asked(root))
    first = scan(again)
    counting = Counting(root, monkeypatch)
    assert scan(again, first).entries is first.entries
    assert sorted(counting.listed) == [".", "empty", "empty/a"], "the root may have changed, just after it was listed"
    assert sorted(reader.asked) in ([b"deep/a/b/1", b"full/1"], [b"deep/a/b/1", b"full/2"])


def test_a_file_that_comes_or_goes_at_any_level_is_noticed_though_no_stamp_above_moves(root: Path) -> None:
    again = scanner(Reader(os.fsencode(root)))
    found = scan(again)
    for path in ("empty/a/new", "empty/a/b/c/new", "empty/new"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
        found = scan(again, found)
        assert not leaf(found, "empty").is_empty
        (root / path).unlink()
        found = scan(again, found)
        assert leaf(found, "empty").is_empty
    (root / "deep/a").rename(root / "a")
    assert leaf(scan(again, found), "deep").is_empty
    (root / "full/1").unlink()
    found = scan(again, found)
    assert not leaf(found, "full").is_empty, "there is another one"
    (root / "full/2").unlink()
    (root / "full/2").mkdir()
    assert leaf(scan(again, found), "full").is_empty


def test_nothing_outside_is_asked_for_through_a_link_that_took_a_directory_s_place(tmp_path: Path) -> None:
    root = grow(tmp_path / "root", {"x": {"a": {"1": ""}}})
    again = scanner(Reader(os.fsencode(root)))
    first = scan(again)
    (root / "x/a").rename(tmp_path / "outside")
    (root / "x/a").symlink_to(tmp_path / "outside")
    assert evidence(first, "x").file == b"a/1"
    assert evidence(scan(again, first), "x").file == b"a", "the link, not what it leads to"


def test_the_evidence_has_the_keys_of_the_directories_that_prove_it(root: Path) -> None:
    found = scan(scanner(named(Reader(os.fsencode(root)))))
    assert evidence(found, "full")[:2] == (b"", (b"full",))
    assert (evidence(found, "deep").file, set(evidence(found, "deep").keys)) == (b"", {b"deep", b"a", b"b"})
    assert (evidence(found, "empty").file, set(evidence(found, "empty").keys)) == (None, {b"empty", b"a"})


def test_where_one_of_them_is_not_reported_the_folder_is_not(root: Path) -> None:
    grow(root, {"full": {"unseen": {}}, "empty": {"unseen": {}}, "deep": {"a": {"b": {"unseen": {}}}}})
    found = scan(scanner(named(Reader(os.fsencode(root)))))
    assert evidence(found, "full").keys == (b"full",), "it is not on the way to the file"
    assert evidence(found, "empty")[:2] == (None, UNREPORTED)


def test_a_link_that_was_followed_is_not_reported(tmp_path: Path) -> None:
    root = grow(tmp_path / "root", {"x": {"a": Link("../y")}, "y": {}})
    found = scan(scanner(named(Reader(os.fsencode(root), follow=True))))
    assert (evidence(found, "x").keys, evidence(found, "y").keys) == (UNREPORTED, (b"y",))


def test_with_some_only_these_are_searched_and_those_that_are_new(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    again = scanner(named(Reader(os.fsencode(root))))
    first = scan(again)
    for folder in ("full", "deep", "empty"):
        grow(root / folder, {"new": ""})
    grow(root, {"new": {}})
    counting = Counting(root, monkeypatch)
    second = scan(again, first, only={b"empty"})
    assert counting.listed == ["empty"], "nor is the directory listed that it is in"
    assert (leaf(second, "empty").is_empty, b"new" in second.entries) == (False, False)
    counting.listed.clear()
    third = scan(again, second, only={b""})
    assert counting.listed == [".", "new"]
    assert leaf(third, "new").is_empty
    counting.listed.clear()
    (root / "full").rename(root / "other")
    grow(root, {"full": {"a": {}}})
    fourth = scan(again, third, only={b""})
    assert set(counting.listed) == {".", "full", "full/a", "other"}
    assert (leaf(fourth, "full").is_empty, evidence(fourth, "other").keys) == (True, (b"other",))


def test_where_nothing_is_reported_some_only_are_asked_for_their_files_too(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = scanner(reader := Asked(root))
    first = scan(again)
    counting = Counting(root, monkeypatch)
    assert scan(again, first, only={b"deep", b"full"}) is first
    assert (counting.listed, len(reader.asked)) == ([], 2)
    (root / "deep/a/b/1").unlink()
    assert leaf(scan(again, first, only={b"deep"}), "deep").is_empty


def test_a_folder_far_down_is_searched_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = grow(tmp_path / "root", {"A": {"B": {"x": {}, "y": {}}, "C": {"z": {}}}})
    again = scanner(named(Reader(os.fsencode(root))), 3)
    first = scan(again)
    grow(root, {"A": {"B": {"x": {"1": ""}}}})
    counting = Counting(root, monkeypatch)
    second = scan(again, first, only={b"A/B/x"})
    assert (counting.listed, counting.looked_at) == (["A/B/x"], [])
    assert (leaf(second, "A/B/x").is_empty, leaf(second, "A/B/y") is leaf(first, "A/B/y")) == (False, True)
    third = scan(again, second, only={b"A/B/x"})
    assert third is second


def test_anew_all_are_searched_and_what_is_found_again_is_the_same(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    again = scanner(named(Reader(os.fsencode(root))))
    first = scan(again)
    counting = Counting(root, monkeypatch)
    second = scan(again, first, anew=True)
    assert {"full", "deep", "deep/a", "deep/a/b", "empty", "empty/a"} <= set(counting.listed)
    assert all(leaf(second, name) is leaf(first, name) for name in ("full", "deep", "empty"))


# Reports


def tree(*folders: tuple[bytes, Evidence]) -> Directory:
    """A root with folders."""
    root = Directory(Reader(b"/").stat(b""), {})
    root.entries = {name: Leaf(Rank(0), root.attr.kind, None, found) for name, found in folders}
    return root


def test_folders_are_found_by_the_keys_of_what_is_in_them_for_as_long_as_these_prove_anything() -> None:
    folders = Folders(Trust())
    first = tree((b"x", Evidence(b"", (b"1", b"2"), 0)), (b"y", Evidence(None, UNREPORTED, 0)))
    folders.update(b"A", None, first, first.entries)
    assert (folders.keys.paths(b"1"), folders.keys.paths(b"2"), folders.polled) == ([b"A/x"], [b"A/x"], {b"A/y"})
    renamed = tree((b"z", Evidence(b"", (b"1",), 1)), (b"y", Evidence(b"", (b"2",), 1)))
    folders.update(b"B", None, renamed, renamed.entries)
    assert folders.keys.paths(b"1") == [b"A/x", b"B/z"], "until the old place was looked at too"
    folders.update(b"A", first, None, first.entries)
    assert (folders.keys.paths(b"1"), folders.keys.paths(b"2"), folders.polled) == ([b"B/z"], [b"B/y"], set())
    folders.update(b"B", renamed, tree(), renamed.entries)
    assert not folders.keys


def test_what_was_known_of_a_folder_that_is_filled_is_not_told_when_it_takes_over(tmp_path: Path) -> None:
    root, freshness = grow(tmp_path / "root", {"x": {"a": {}}, "y": {"a": {}}}), Freshness.promised(60, time.monotonic)
    again = scanner(reader := Reader(os.fsencode(root)))
    known = Known(scan(again), Room(100))
    for path in (b"x", b"x/a", b"y", b"y/a"):
        known.apply(path, list_directory(reader, path))
        assert freshness.is_fresh(known.when(path))
    (root / "x/a/1").touch()
    known.install(scan(again, known.tree))
    assert [freshness.is_fresh(known.when(path)) for path in (b"x", b"x/a", b"y", b"y/a")] == [False, False, True, True]


def test_what_was_reported_before_it_was_known_what_it_is_about_is_not_missed() -> None:
    trust = Trust()
    folders = Folders(trust)
    trust.report([b"1", b"2"], 10)
    later = Evidence(None, (b"2",), 11)
    found = tree((b"x", Evidence(None, (b"1",), 9)), (b"y", later), (b"z", Evidence(None, (b"3",), 1)))
    folders.update(b"", None, found, found.entries)
    assert folders.missed() == {b"x"}
    assert folders.missed() == set()
