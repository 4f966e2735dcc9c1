"""Scans and rescans: results, the calls they take, and shared values. Errors are in ``test_scan_trouble``."""

import os
import time
from pathlib import Path

import pytest

from mmirrorfs.attributes import DIR, FILE, LINK, Attributes
from mmirrorfs.source import scan as scan_module
from mmirrorfs.source.freshness import COARSE
from mmirrorfs.source.reader import Reader, attributes
from mmirrorfs.source.scan import Scanner
from mmirrorfs.tree import Directory, Leaf, Rank
from tests.support.build import deep, move
from tests.support.scanning import Counting, shape
from tests.support.trees import Fifo, Link, TextTree, grow

FIFO = 0o010000


class Future:
    """A clock some seconds ahead, so that all changes on disk are old."""

    def __init__(self) -> None:
        self.ahead = 1000.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead

    def time_ns(self) -> int:
        return time.time_ns() + int(self.ahead * 1e9)


@pytest.fixture
def future(monkeypatch: pytest.MonkeyPatch) -> Future:
    """Every stamp is settled from its first listing on."""
    clock = Future()
    monkeypatch.setattr(scan_module, "time", clock)
    return clock


def scanner(root: Path, depth: int = 2, follow: bool = False) -> Scanner:
    return Scanner(Reader(os.fsencode(root), follow=follow), Rank(0), depth)


def scan(scanner: Scanner, old: Directory | None = None) -> Directory:
    return scanner.scan(old, lambda: None)


LIBRARY: TextTree = {
    "A": {"one": {"01": "x", "deeper": {}}, "two": {}},
    "B": {"three": {}, "note": "text"},
    "file": "",
    "pipe": Fifo(),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return grow(tmp_path / "root", LIBRARY)


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (1, {"A": DIR, "B": DIR, "file": FILE, "pipe": FIFO}),
        (2, {"A": {"one": DIR, "two": DIR}, "B": {"three": DIR, "note": FILE}, "file": FILE, "pipe": FIFO}),
        (
            3,
            {
                "A": {"one": {"01": FILE, "deeper": DIR}, "two": {}},
                "B": {"three": {}, "note": FILE},
                "file": FILE,
                "pipe": FIFO,
            },
        ),
    ],
)
def test_a_scan_reads_everything_down_to_the_depth_and_nothing_below(
    root: Path, depth: int, expected: dict[str, object]
) -> None:
    assert shape(scan(scanner(root, depth))) == expected


def test_leaves_carry_their_source_and_are_shared(root: Path) -> None:
    found = scan(Scanner(Reader(os.fsencode(root)), Rank(3), 1))
    assert found.entries[b"A"] == Leaf(Rank(3), DIR)
    assert found.entries[b"A"] is found.entries[b"B"]


def test_only_folders_is_set_for_directories_without_files(tmp_path: Path) -> None:
    root = grow(tmp_path / "r", {"A": {"x": {}}, "B": {"x": {}, "f": ""}})
    found = scan(scanner(root))
    below = [found.entries[name] for name in (b"A", b"B")]
    assert [entry.only_folders for entry in [found, *below] if isinstance(entry, Directory)] == [False, True, False]


def test_links_are_left_out_and_recorded(tmp_path: Path) -> None:
    root = grow(tmp_path / "r", {"A": {"x": {}, "l": Link("x")}, "dir": Link("A"), "none": Link("nowhere")})
    found = scan(scanner(root))
    assert shape(found) == {"A": {"x": DIR}}
    assert sorted(found.links) == [b"dir", b"none"]


def test_followed_links_count_as_their_targets_and_never_settle(tmp_path: Path, future: Future) -> None:
    grow(tmp_path / "out", {"x": {}})
    root = grow(
        tmp_path / "r", {"A": Link("../out"), "B": {"up": Link("..")}, "f": Link("/dev/null"), "none": Link("x")}
    )
    following = scanner(root, follow=True)
    found = scan(following)
    assert shape(found) == {"A": {"x": DIR}, "B": {}, "f": 0o020000}
    assert not found.settled
    assert scan(following, found) is found
    (tmp_path / "out" / "y").mkdir()
    move(tmp_path / "out")
    assert shape(scan(following, found))["A"] == {"x": DIR, "y": DIR}


def test_attributes_are_read_of_all_entries_that_are_not_scanned(root: Path) -> None:
    found = scan(scanner(root, 1))
    known = dict(found.listing.entries())
    assert {name: attr.kind for name, attr in known.items()} == {b"A": DIR, b"B": DIR, b"file": FILE, b"pipe": FIFO}
    assert known[b"A"] == attributes((root / "A").stat())
    listing = scan(scanner(root, 2)).listing
    assert {name for name, attr in listing.entries() if attr.is_known} == {b"file", b"pipe"}
    assert listing.names() == [b"A", b"B", b"file", b"pipe"], "of those that are, the names"


def test_a_brief_scan_has_no_attributes_of_directories_and_the_next_full_one_has_all(root: Path) -> None:
    again = scanner(root, 1)
    brief, whole = again.scan(None, lambda: None, brief=True), scan(scanner(root, 1))
    assert shape(brief) == shape(whole)
    assert {name for name, attr in brief.listing.entries() if not attr.is_known} == {b"A", b"B"}
    assert again.scan(brief, lambda: None, anew=True).listing.blob == whole.listing.blob


def test_changed_attributes_do_not_change_the_names(root: Path) -> None:
    again, before = scanner(root, 1), attributes((root / "A").stat())
    first = scan(again)
    (root / "A").chmod(0o711)
    move(root)
    second = scan(again, first)
    assert second is not first, "its own mtime moved"
    (root / "A").chmod(0o700)
    third = scan(again, second)
    assert third.entries == second.entries
    assert [found.listing.get(b"A") for found in (first, third)] == [before, attributes((root / "A").stat())]


def test_excluded_names_are_not_scanned(root: Path) -> None:
    found = Scanner(Reader(os.fsencode(root), lambda name: name in (b"A", b"note")), Rank(0), 2)
    assert shape(scan(found)) == {"B": {"three": DIR}, "file": FILE, "pipe": FIFO}


def test_progress_adds_up_to_the_entries(root: Path) -> None:
    counted: list[int] = []
    scanner(root).scan(None, lambda: None, counted.append)
    assert sum(counted) == 8


# Again


def test_a_rescan_without_changes_costs_one_stat_a_directory_and_returns_the_old_tree(
    root: Path, future: Future, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = scanner(root)
    first = scan(again)
    counting = Counting(root, monkeypatch)
    assert scan(again, first) is first
    assert counting.listed == []
    assert sorted(counting.looked_at) == [".", "A", "B"]


def test_only_a_changed_directory_is_listed_and_the_rest_is_shared(
    root: Path, future: Future, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = scanner(root)
    first = scan(again)
    (root / "B" / "new").mkdir()
    move(root / "B")
    counting = Counting(root, monkeypatch)
    second = scan(again, first)
    assert counting.listed == ["B"]
    assert second is not first
    assert second.entries[b"A"] is first.entries[b"A"]
    assert shape(second) == {**shape(first), "B": {"three": DIR, "note": FILE, "new": DIR}}


def test_a_new_directory_is_listed_with_its_parent(root: Path, future: Future, monkeypatch: pytest.MonkeyPatch) -> None:
    again = scanner(root, depth=3)
    first = scan(again)
    grow(root / "A" / "new", {"x": {}})
    move(root / "A")
    counting = Counting(root, monkeypatch)
    second = scan(again, first)
    assert sorted(counting.listed) == ["A", "A/new"]
    assert second.entries[b"B"] is first.entries[b"B"]
    old, new = first.entries[b"A"], second.entries[b"A"]
    assert isinstance(old, Directory)
    assert isinstance(new, Directory)
    assert old.entries[b"one"] is new.entries[b"one"]


def test_changes_below_the_depth_leave_the_tree_as_it_is(root: Path, future: Future) -> None:
    again = scanner(root)
    first = scan(again)
    (root / "A" / "one" / "02").touch()
    move(root / "A" / "one")
    assert scan(again, first) is first


def test_a_directory_changed_just_now_is_unsettled_and_listed_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = scanner(root)
    first = scan(again)
    assert not first.settled
    counting = Counting(root, monkeypatch)
    assert scan(again, first) is first
    assert sorted(counting.listed) == [".", "A", "B"]


def test_a_change_with_the_same_stamp_is_seen_while_the_stamp_is_unsettled(root: Path) -> None:
    again = scanner(root)
    first = scan(again)
    before = (root / "B").stat()
    (root / "B" / "note").unlink()
    os.mkfifo(root / "B" / "note")
    own = first.entries[b"B"]
    assert isinstance(own, Directory)
    coarse = _with_stamp_of(again, root / "B", own.attr)
    second = coarse.scan(first, lambda: None)
    assert shape(second)["B"] == {"three": DIR, "note": FIFO}
    assert before.st_ino == (root / "B").stat().st_ino


def _with_stamp_of(old: Scanner, path: Path, attr: Attributes) -> Scanner:
    """A scanner on a filesystem with a coarse clock: that directory keeps its stamp."""

    class Coarse(Reader):
        def shown(self, st: os.stat_result) -> Attributes:
            found = super().shown(st)
            return attr if found.ino == attr.ino else found

    return Scanner(Coarse(os.fsencode(path.parent)), Rank(0), 2)


def test_a_stamp_in_the_future_settles_after_it_was_unchanged_for_a_while(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (root, root / "A", root / "B"):
        ahead = time.time_ns() + 10**15
        os.utime(path, ns=(ahead, ahead))
    clock = Future()
    monkeypatch.setattr(scan_module, "time", clock)
    again = scanner(root)
    first = scan(again)
    assert not first.settled
    clock.ahead += COARSE + 0.5
    second = scan(again, first)
    assert second.settled
    counting = Counting(root, monkeypatch)
    assert scan(again, second) is second
    assert counting.listed == []


def test_a_file_becomes_a_directory_and_a_directory_a_file(root: Path, future: Future) -> None:
    again = scanner(root)
    first = scan(again)
    (root / "file").unlink()
    grow(root / "file", {"x": {}})
    for entry in (root / "B").iterdir():
        entry.rmdir() if entry.is_dir() else entry.unlink()
    (root / "B").rmdir()
    (root / "B").touch()
    move(root)
    second = scan(again, first)
    assert (shape(second)["file"], shape(second)["B"]) == ({"x": DIR}, FILE)
    (root / "B").unlink()
    (root / "B").mkdir()
    (root / "file" / "x").rmdir()
    (root / "file").rmdir()
    (root / "file").symlink_to("A")
    move(root)
    third = scan(again, second)
    assert (shape(third).get("file"), shape(third)["B"]) == (None, {})
    assert LINK not in shape(third).values()


def test_a_removed_directory_is_gone_from_the_tree(root: Path, future: Future) -> None:
    again = scanner(root)
    first = scan(again)
    (root / "A").rename(root.parent / "elsewhere")
    move(root)
    second = scan(again, first)
    assert "A" not in shape(second)
    assert second.entries[b"B"] is first.entries[b"B"]


def test_a_directory_replaced_by_another_is_listed_again(root: Path, future: Future) -> None:
    again = scanner(root)
    first = scan(again)
    (root / "A").rename(root / "C")
    grow(root / "A", {"other": {}})
    move(root)
    assert shape(scan(again, first)) == {**shape(first), "A": {"other": DIR}, "C": {"one": DIR, "two": DIR}}


def test_a_very_deep_tree_is_scanned(tmp_path: Path, future: Future) -> None:
    with deep(tmp_path, 1200, "dddd"):
        again = scanner(tmp_path, 2000)
        levels, found = 0, scan(again)
        place = found
        while isinstance(below := place.entries.get(b"dddd"), Directory):
            levels, place = levels + 1, below
        assert levels == 1200
        assert set(place.entries) == {b"file"}
        assert scan(again, found) is found
