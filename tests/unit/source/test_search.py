"""Searching folders for files: what counts as one, and when a folder is searched again."""

import errno
import os
import time
from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from mmirrorfs.attributes import Attributes
from mmirrorfs.source.cache_limit import CacheLimit
from mmirrorfs.source.exclude import excluded_by
from mmirrorfs.source.folders import Folders
from mmirrorfs.source.freshness import Freshness
from mmirrorfs.source.known import Known
from mmirrorfs.source.list_directory import list_directory
from mmirrorfs.source.reader import Reader
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
    """Whether folder x is empty by a first scan."""
    return leaf(scan(scanner(Reader(os.fsencode(root), excluded_by(excludes), follow))), "x").is_empty


def named(reader: Reader) -> Reader:
    """The event key of a directory is its name, except that "unseen" is not watched."""
    reader.mark = lambda fd: os.fsencode(os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))).replace(b"unseen", b"")
    return reader


class Statted(Reader):
    """A reader that records the paths of its stat calls."""

    def __init__(self, root: Path) -> None:
        super().__init__(os.fsencode(root))
        self.statted: list[bytes] = []

    def stat(self, path: bytes, cached: bool = False) -> Attributes:
        self.statted.append(path)
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
def test_everything_that_is_not_a_directory_counts_as_a_file_at_any_level(
    tmp_path: Path, folder: TextTree, expected: bool
) -> None:
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
def test_a_followed_link_counts_as_it_is_shown(tmp_path: Path, folder: TextTree, expected: bool) -> None:
    """A dangling one, or one to a directory above itself, is shown as a link."""
    root = grow(tmp_path / "root", {"x": folder, "other": {}, "full": {"1": ""}})
    assert is_empty(root, follow=True) == expected


def test_directories_linked_to_each_other_are_searched_once(tmp_path: Path) -> None:
    others: TextTree = {f"to {name}": Link(f"../{name}") for name in "abcdefgh"}
    beside = grow(tmp_path / "beside", dict.fromkeys("abcdefgh", others))
    root = grow(tmp_path / "root", {"x": {name: Link(f"{beside}/{name}") for name in "abcdefgh"}})
    assert not is_empty(root, follow=True), "a link to a directory above itself is shown as a link"


def test_excluded_names_do_not_count(tmp_path: Path) -> None:
    root = grow(tmp_path / "root", {"x": {".DS_Store": "", "a": {"Thumbs.db": ""}, "@eaDir": {"1": ""}}})
    assert is_empty(root, excludes=[".DS_Store", "Thumbs.db", "@eaDir"])
    assert not is_empty(root, excludes=[".DS_Store", "Thumbs.db"])


@pytest.mark.parametrize("name", [b"caf\xe9", b"line\nbreak", b"\x1b[0m", b"\\", b" ", b"n" * 255])
def test_directories_with_any_name_are_searched(tmp_path: Path, name: bytes) -> None:
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
def test_a_folder_with_an_unreadable_part_is_not_empty(tmp_path: Path, code: int, path: bytes) -> None:
    reader = Failing(grow(tmp_path / "root", {"x": {"a": {}}}))
    again = scanner(reader)
    reader.codes[path] = code
    found = scan(again)
    assert not leaf(found, "x").is_empty
    reader.codes.clear()
    assert leaf(scan(again, found), "x").is_empty


@pytest.mark.parametrize(("code", "expected"), [(errno.EACCES, False), (errno.EIO, True), (errno.EMFILE, True)])
def test_an_error_that_proves_nothing_leaves_the_evidence(tmp_path: Path, code: int, expected: bool) -> None:
    reader = Failing(grow(tmp_path / "root", {"x": {}, "y": {"1": ""}}))
    named(reader)
    again = scanner(reader)
    first = scan(again)
    assert evidence(first, "x").keys == (b"x",)
    reader.codes |= {b"x": code, b"y": code}
    second = scan(again, first, anew=True)
    assert (leaf(second, "x").is_empty, leaf(second, "y").is_empty) == (expected, False)
    assert evidence(second, "x").keys == UNREPORTED, "it is searched again, whether anything is reported or not"


def test_an_error_is_believed_only_after_the_root_was_checked(tmp_path: Path) -> None:
    def lost() -> None:
        raise OSError(errno.EIO, "lost")

    reader = Failing(grow(tmp_path / "root", {"x": {}}))
    for code in (errno.ENOENT, errno.EACCES, errno.EIO):
        reader.codes[b"x"] = code
        with pytest.raises(OSError, match="lost"):
            scanner(reader).scan(None, lost)


def test_a_directory_removed_during_the_search_does_not_count(tmp_path: Path) -> None:
    reader = Failing(grow(tmp_path / "root", {"x": {"a": {"1": ""}}}))
    reader.codes[b"x/a"] = errno.ENOENT
    assert leaf(scan(scanner(reader)), "x").is_empty


def test_a_mount_that_is_not_local_in_a_local_folder_counts_as_a_file_unopened(tmp_path: Path) -> None:
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


def test_only_folders_is_unset_for_a_directory_with_an_empty_folder(tmp_path: Path) -> None:
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


def test_without_events_the_found_file_is_statted_and_empty_folders_are_searched(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = scanner(reader := Statted(root))
    first = scan(again)
    counting = Counting(root, monkeypatch)
    assert scan(again, first).entries is first.entries
    assert sorted(counting.listed) == [".", "empty", "empty/a"], "the root may have changed, just after it was listed"
    assert sorted(reader.statted) in ([b"deep/a/b/1", b"full/1"], [b"deep/a/b/1", b"full/2"])


def test_a_file_created_or_removed_at_any_level_is_noticed_without_a_changed_stamp_above(root: Path) -> None:
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


def test_a_directory_replaced_by_a_link_does_not_lead_the_search_outside(tmp_path: Path) -> None:
    root = grow(tmp_path / "root", {"x": {"a": {"1": ""}}})
    again = scanner(Reader(os.fsencode(root)))
    first = scan(again)
    (root / "x/a").rename(tmp_path / "outside")
    (root / "x/a").symlink_to(tmp_path / "outside")
    assert evidence(first, "x").file == b"a/1"
    assert evidence(scan(again, first), "x").file == b"a", "the link, not its target"


def test_evidence_has_the_keys_of_the_directories_it_depends_on(root: Path) -> None:
    found = scan(scanner(named(Reader(os.fsencode(root)))))
    assert evidence(found, "full")[:2] == (b"", (b"full",))
    assert (evidence(found, "deep").file, set(evidence(found, "deep").keys)) == (b"", {b"deep", b"a", b"b"})
    assert (evidence(found, "empty").file, set(evidence(found, "empty").keys)) == (None, {b"empty", b"a"})


def test_evidence_is_unwatched_if_one_of_its_directories_is(root: Path) -> None:
    grow(root, {"full": {"unseen": {}}, "empty": {"unseen": {}}, "deep": {"a": {"b": {"unseen": {}}}}})
    found = scan(scanner(named(Reader(os.fsencode(root)))))
    assert evidence(found, "full").keys == (b"full",), "it is not on the way to the file"
    assert evidence(found, "empty")[:2] == (None, UNREPORTED)


def test_evidence_through_a_followed_link_is_unwatched(tmp_path: Path) -> None:
    root = grow(tmp_path / "root", {"x": {"a": Link("../y")}, "y": {}})
    found = scan(scanner(named(Reader(os.fsencode(root), follow=True))))
    assert (evidence(found, "x").keys, evidence(found, "y").keys) == (UNREPORTED, (b"y",))


def test_with_only_these_folders_and_new_ones_are_searched(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_with_only_the_found_files_of_these_folders_alone_are_statted(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = scanner(reader := Statted(root))
    first = scan(again)
    counting = Counting(root, monkeypatch)
    assert scan(again, first, only={b"deep", b"full"}) is first
    assert (counting.listed, len(reader.statted)) == ([], 2)
    (root / "deep/a/b/1").unlink()
    assert leaf(scan(again, first, only={b"deep"}), "deep").is_empty


def test_with_only_a_deep_folder_is_searched_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_with_anew_all_folders_are_searched_and_equal_results_are_the_same_value(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_folders_are_found_by_the_keys_in_their_current_evidence() -> None:
    folders = Folders(Trust())
    first = tree((b"x", Evidence(b"", (b"1", b"2"), 0)), (b"y", Evidence(None, UNREPORTED, 0)))
    folders.update(b"A", None, first, first.entries)
    assert (folders.keys.paths(b"1"), folders.keys.paths(b"2"), folders.polled) == ([b"A/x"], [b"A/x"], {b"A/y"})
    renamed = tree((b"z", Evidence(b"", (b"1",), 1)), (b"y", Evidence(b"", (b"2",), 1)))
    folders.update(b"B", None, renamed, renamed.entries)
    assert folders.keys.paths(b"1") == [b"A/x", b"B/z"], "until the old place was scanned too"
    folders.update(b"A", first, None, first.entries)
    assert (folders.keys.paths(b"1"), folders.keys.paths(b"2"), folders.polled) == ([b"B/z"], [b"B/y"], set())
    folders.update(b"B", renamed, tree(), renamed.entries)
    assert not folders.keys


def test_the_cached_listing_of_a_folder_that_was_filled_becomes_stale(tmp_path: Path) -> None:
    root, freshness = grow(tmp_path / "root", {"x": {"a": {}}, "y": {"a": {}}}), Freshness.promised(60, time.monotonic)
    again = scanner(reader := Reader(os.fsencode(root)))
    known = Known(scan(again), CacheLimit(100))
    for path in (b"x", b"x/a", b"y", b"y/a"):
        known.apply(path, list_directory(reader, path))
        assert freshness.is_fresh(known.when(path))
    (root / "x/a/1").touch()
    known.install(scan(again, known.tree))
    assert [freshness.is_fresh(known.when(path)) for path in (b"x", b"x/a", b"y", b"y/a")] == [False, False, True, True]


def test_a_folder_with_an_event_before_its_evidence_is_returned_once() -> None:
    trust = Trust()
    folders = Folders(trust)
    trust.report([b"1", b"2"], 10)
    later = Evidence(None, (b"2",), 11)
    found = tree((b"x", Evidence(None, (b"1",), 9)), (b"y", later), (b"z", Evidence(None, (b"3",), 1)))
    folders.update(b"", None, found, found.entries)
    assert folders.missed() == {b"x"}
    assert folders.missed() == set()
