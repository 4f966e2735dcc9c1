"""The numbers of files in a plan: which folders are counted, in which sources, and what is remarked."""

import json
import os
import shutil
from pathlib import Path

import pytest

from mmirrorfs.cli.simulate import counted
from mmirrorfs.plan.rows import rows
from mmirrorfs.source.count import MOST, count_files
from mmirrorfs.source.exclude import excluded_by
from mmirrorfs.source.reader import Reader
from mmirrorfs.source.source import Source
from mmirrorfs.tree import Rank
from tests.support.mounts import COMMAND
from tests.support.running import called
from tests.support.trees import Link, Tree, grow
from tests.support.users import NOBODY, WITHOUT_OVERRIDE, needs_root, run

START = ("--simulate", "flac/", "mp3/", "--depth=1")


def everywhere(path: bytes) -> bool:
    return True


def count(root: Path, *exclude: str, follow: bool = False) -> int:
    return count_files(Reader(os.fsencode(root), excluded_by(exclude), follow), b"album", everywhere)


def simulated(place: Path, *words: str) -> tuple[dict[str, dict[str, int]], dict[str, str]]:
    """The numbers of files, and the remarks on folders, both by path."""
    document = json.loads(called(place, *START, "--json", *words).stdout)
    files = {entry["path"]: entry["files"] for entry in document["entries"]}
    return files, {note["path"]: f"{note['about']}: {note['text']}" for note in document["remarks"]}


def test_files_at_all_levels_are_counted_without_excluded_ones(tmp_path: Path) -> None:
    tree: Tree = {
        b"1": b"",
        b"Disc 1": {b"1": b"", b"2": b"", b"@eaDir": {b"x": b""}},
        b"Disc 2": {},
        b".DS_Store": b"",
    }
    grow(tmp_path / "album", tree)
    os.mkfifo(tmp_path / "album/fifo")
    assert count(tmp_path) == 6
    assert count(tmp_path, "@eaDir", ".DS_Store") == 4


def test_link_counts_as_a_file_unless_it_is_followed_to_a_directory(tmp_path: Path) -> None:
    grow(tmp_path, {b"album": {b"1": b"", b"other": Link(b"../other"), b"loop": Link(b".."), b"dead": Link(b"no")}})
    grow(tmp_path, {b"other": {b"2": b"", b"3": b""}})
    assert count(tmp_path) == 4
    assert count(tmp_path, follow=True) == 1 + 2 + 2, "the loop and the dead link are shown as links"


def test_counting_stops_at_the_maximum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grow(tmp_path, {b"album": {b"%d" % number: {b"1": b"", b"2": b""} for number in range(10)}})
    assert MOST >= 1000
    monkeypatch.setattr("mmirrorfs.source.count.MOST", 5)
    assert count(tmp_path) == 5


def test_only_folders_in_several_sources_are_counted(tmp_path: Path) -> None:
    grow(tmp_path / "flac", {b"a": {b"1": b""}, b"b": {b"1": b""}})
    grow(tmp_path / "mp3", {b"a": {}, b"c": {b"1": b""}})
    files, notes = simulated(tmp_path)
    assert files == {"a": {"flac": 1, "mp3": 0}, "b": {}, "c": {}}
    assert notes == {"a": "empty: mp3, which wins in the low view, has no file against 1 in flac"}
    assert simulated(tmp_path, "--crawl=off") == ({"a": {}, "b": {}, "c": {}}, {})


@pytest.mark.parametrize(
    ("winner", "other", "is_remarked"), [(5, 12, True), (6, 12, False), (12, 13, False), (1, 2, False), (1, 3, True)]
)
def test_winner_with_under_half_the_files_is_remarked(
    tmp_path: Path, winner: int, other: int, is_remarked: bool
) -> None:
    grow(tmp_path / "flac", {b"a": {b"%d" % number: b"" for number in range(winner)}})
    grow(tmp_path / "mp3", {b"a": {b"%d" % number: b"" for number in range(other)}})
    assert bool(simulated(tmp_path)[1]) == is_remarked


def test_paired_folders_are_counted_under_each_sources_own_spelling(tmp_path: Path) -> None:
    grow(tmp_path / "flac", {"Bj\u00f6rk".encode(): {b"1": b""}})
    grow(tmp_path / "mp3", {"Bjo\u0308rk".encode(): {b"1": b"", b"2": b""}})
    assert simulated(tmp_path, "--match=nfc")[0] == {"Bj\u00f6rk": {"flac": 1, "mp3": 2}}


@needs_root
def test_folder_that_cannot_be_listed_is_remarked_and_exits_with_1(tmp_path: Path) -> None:
    closed = grow(tmp_path / "flac/a", {b"1": b""})
    closed.chmod(0o700)
    os.chown(closed, NOBODY, NOBODY)
    grow(tmp_path / "mp3", {b"a": {b"1": b""}})
    done = run("env", "-C", tmp_path, *WITHOUT_OVERRIDE, *COMMAND, *START)
    assert done.returncode == 1
    assert b"unreadable: a: cannot be listed in flac: Permission denied" in done.stderr


def _source(rank: int, path: Path, local: bool) -> Source:
    return Source(Rank(rank), path.name, os.fsencode(path), 1, local=local)


def test_network_sources_are_counted_only_with_crawl_all_and_a_remark_says_so(tmp_path: Path) -> None:
    for name in ("flac", "nas"):
        grow(tmp_path / name, {b"a": {b"1": b""}})
    sources = [_source(0, tmp_path / "flac", True), _source(1, tmp_path / "nas", False)]
    plan = list(rows(tuple(source.scan(None) for source in sources)))
    (row,), (note,) = counted(plan, sources, "local")
    assert (row.files, note.about) == ((1, None), "uncounted")
    assert note.text == "files are counted in local sources only, not in nas; --crawl all"
    (row,), notes = counted(plan, sources, "all")
    assert (row.files, notes) == ((1, 1), [])
    assert counted(plan, sources, "off") == (plan, [])


def test_source_lost_while_counting_is_remarked_once(tmp_path: Path) -> None:
    for name in ("flac", "mp3"):
        grow(tmp_path / name, {b"%d" % number: {b"1": b""} for number in range(9)})
    sources = [_source(0, tmp_path / "flac", True), _source(1, tmp_path / "mp3", True)]
    plan = list(rows(tuple(source.scan(None) for source in sources)))
    shutil.rmtree(tmp_path / "mp3")
    found, (note,) = counted(plan, sources, "local")
    assert (note.about, note.text.partition(":")[0]) == ("unreadable", "mp3 is not there any more")
    assert {row.files for row in found} == {(1, None)}
    shutil.rmtree(tmp_path / "flac/1")
    assert len(counted(plan, sources[:1], "local")[1]) == 0


def test_folder_removed_since_the_scan_raises_file_not_found(tmp_path: Path) -> None:
    grow(tmp_path, {b"album": {b"1": b""}})
    reader = Reader(os.fsencode(tmp_path))
    shutil.rmtree(tmp_path / "album")
    with pytest.raises(FileNotFoundError):
        count_files(reader, b"album", everywhere)
