"""``--exclude GLOB``: matching names are hidden at every level, from every source; everything else stays."""

import os
import stat
from pathlib import Path

import pytest

from tests.support.model import walk
from tests.support.mounts import mounted
from tests.support.polling import poll
from tests.support.trees import Tree, grow

ALBUM: Tree = {
    b"1": b"",
    b"@eaDir": {b"1": b""},
    b".DS_Store": b"",
    b"sub": {b"@eaDir": b"", b"cover.jpg": b"", b"COVER.JPG": b"", b"2": b""},
    b"x\xff.tmp": b"",
}
HIGH: Tree = {
    b"artist": {b"album": ALBUM, b"@eaDir": {b"1": b""}, b"cover.jpg": b""},
    b"@eaDir": {b"artist": {b"1": b""}},
    b"x\xff.tmp": {b"album": {b"1": b""}},
    b".DS_Store": b"",
}
LOW: Tree = {b"artist": {b"other": ALBUM, b"@eaDir": b"a file"}, b"@eaDir": b"a file", b"lost+found": {b"1": b""}}


def _sources(place: Path) -> tuple[Path, Path]:
    return grow(place / "high", HIGH), grow(place / "low", LOW)


def _left(place: Path, *options: str) -> set[bytes]:
    """All paths in a view with these options."""
    with mounted(place / "view", *_sources(place), depth=2, options=options) as view:
        return set(walk(view.where))


def _without(names: set[bytes], *excluded: bytes) -> set[bytes]:
    return {path for path in names if not set(path.split(b"/")) & set(excluded)}


@pytest.fixture(scope="module")
def everything(shared_place: Path) -> set[bytes]:
    """All paths in a view of the same sources without exclusions."""
    return _left(shared_place)


def test_a_matching_name_is_excluded_at_every_level(place: Path, everything: set[bytes]) -> None:
    assert any(path.count(b"/") == 3 and path.endswith(b"@eaDir") for path in everything)
    assert _left(place, "--exclude", "@eaDir") == _without(everything, b"@eaDir")


def test_several_patterns_are_combined(place: Path, everything: set[bytes]) -> None:
    options = ("--exclude", "@eaDir", "--exclude=.DS_Store", "--exclude", "lost[+]found")
    assert _left(place, *options) == _without(everything, b"@eaDir", b".DS_Store", b"lost+found")


def test_patterns_are_case_sensitive(place: Path, everything: set[bytes]) -> None:
    left = _left(place, "--exclude", "*.jpg", "--exclude", "@EADIR")
    assert left == _without(everything, b"cover.jpg")
    assert b"artist/album/sub/COVER.JPG" in left


def test_a_name_that_is_not_utf_8_is_matched_by_its_bytes(place: Path, everything: set[bytes]) -> None:
    expected = _without(everything, b"x\xff.tmp")
    assert expected < everything
    assert _left(place, "--exclude", "*.tmp") == expected


def test_a_pattern_need_not_be_utf_8(place: Path, everything: set[bytes]) -> None:
    assert _left(place, "--exclude", os.fsdecode(b"x\xff*")) == _without(everything, b"x\xff.tmp")


def test_mount_options_as_in_fstab_exclude_too(place: Path, everything: set[bytes]) -> None:
    left = _left(place, "-o", "exclude=@eaDir,exclude=.DS_Store,ro")
    assert left == _without(everything, b"@eaDir", b".DS_Store")


def test_what_is_left_out_cannot_be_reached_by_its_name_either(place: Path) -> None:
    with mounted(place / "view", *_sources(place), depth=2, options=("--exclude", "@eaDir")) as view:
        for path in (
            "@eaDir",
            "artist/@eaDir",
            "artist/album/@eaDir",
            "artist/album/@eaDir/1",
            "artist/album/sub/@eaDir",
        ):
            assert not os.path.lexists(view.mountpoint / path), path


def test_a_directory_without_what_is_left_out_tells_no_wrong_number_of_links(place: Path) -> None:
    with mounted(place / "view", *_sources(place), depth=2, options=("--exclude", "@eaDir")) as view:
        for path, shown in walk(view.where).items():
            if shown.kind == stat.S_IFDIR:
                assert os.stat(view.where + b"/" + path).st_nlink == 1


def test_matching_names_added_later_are_excluded_too(place: Path) -> None:
    high, low = _sources(place)
    with mounted(place / "view", high, low, depth=2, options=("--exclude", "@eaDir", "--refresh=1")) as view:
        grow(high / "new", {b"@eaDir": {}, b"album": {b"@eaDir": {}, b"1": b""}})
        poll(lambda: (view.mountpoint / "new/album/1").exists(), "the new album")
        assert os.listdir(view.mountpoint / "new") == ["album"]
        assert os.listdir(view.mountpoint / "new/album") == ["1"]
