"""A mounted view as users see it: names, types, bytes, attributes, inode numbers, the mount itself."""

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.kernel import view_at
from tests.support.model import Predicted, predict, walk
from tests.support.mounts import View, mounted
from tests.support.trees import Link, Tree, folders, grow
from tests.support.users import needs_root, run

EXAMPLE = (folders("h", *"2345"), folders("l", *"01234"))
"""The folders of the worked example: high and low."""

FLAC: Tree = {
    b"Mira Lund": {
        b"Harbour": {b"01 Ebb.flac": b"fLaC ebb", b"02 Flow.flac": b"fLaC flow", b"cover.jpg": b"large"},
        b"Lighthouse": {b"01 Lamp.flac": b"fLaC lamp"},
        b"artist.jpg": b"flac's picture",
    },
    b"index.txt": b"flac's index",
}
MP3: Tree = {
    b"Mira Lund": {
        b"Harbour": {b"01 Ebb.mp3": b"ID3 ebb", b"02 Flow.mp3": b"ID3 flow", b"scans": {b"front.jpg": b"small"}},
        b"artist.jpg": b"mp3's picture",
        b"artist.txt": b"only in mp3",
    },
    b"Tin Sparrows": {b"Rooftops": {b"01 Slate.mp3": b"ID3 slate"}},
    b"index.txt": b"mp3's index",
}


def two(place: Path, high: Tree, low: Tree) -> tuple[Path, Path]:
    """Make the two sources of most tests."""
    return grow(place / "high", high), grow(place / "low", low)


def predicted(prefer: str, high: Path, low: Path, depth: int) -> dict[bytes, Predicted]:
    """The model of a view of these sources."""
    ranked = [os.fsencode(high), os.fsencode(low)]
    return predict(ranked if prefer == "high" else ranked[::-1], depth)


@dataclass(frozen=True, slots=True)
class Shared:
    """Two sources, and for each preference a view of them. Tests only read."""

    high: Path
    low: Path
    views: dict[str, View]


@contextlib.contextmanager
def both_views(place: Path, high: Path, low: Path, depth: int, *options: str) -> Iterator[Shared]:
    """Mount both views."""
    with (
        mounted(place / "view-high", high, low, prefer="high", depth=depth, options=options) as first,
        mounted(place / "view-low", high, low, prefer="low", depth=depth, options=options) as second,
    ):
        yield Shared(high, low, {"high": first, "low": second})


@pytest.fixture(scope="module")
def example(shared_place: Path) -> Iterator[Shared]:
    """The worked example, mounted with options that views must override."""
    place = shared_place / "example"
    with both_views(place, *two(place, *EXAMPLE), 1, "-o", "rw,dev,suid") as shared:
        yield shared


@pytest.fixture(scope="module")
def library(shared_place: Path) -> Iterator[Shared]:
    """FLAC and MP3 at depth 2, with unusual attributes, and for root with unusual owners."""
    place = shared_place / "library"
    high, low = two(place, FLAC, MP3)
    os.link(high / "Mira Lund/Harbour/cover.jpg", high / "Mira Lund/Lighthouse/again.jpg")
    os.chmod(high / "index.txt", 0o604)
    if os.geteuid() == 0:
        for number, path in enumerate([high / "Mira Lund", high / "Mira Lund/Harbour", low / "Mira Lund"]):
            os.chown(path, 1000 + number, 2000 + number)
    os.chmod(high / "Mira Lund/Harbour", 0o2750)
    os.utime(high / "Mira Lund/Harbour/cover.jpg", ns=(5, 1_234_567_890_123_456_789))
    with both_views(place, high, low, 2) as shared:
        yield shared


@pytest.mark.parametrize(("prefer", "whose"), [("low", "l0 l1 l2 l3 l4 h5"), ("high", "l0 l1 h2 h3 h4 h5")])
def test_the_worked_example_takes_each_folder_from_the_preferred_source(
    place: Path, example: Shared, prefer: str, whose: str
) -> None:
    top = example.views[prefer].mountpoint
    assert os.listdir(top) == list("012345")
    assert [(top / name / "track").read_text() for name in "012345"] == whose.split()


@pytest.mark.parametrize("prefer", ["high", "low"])
def test_an_album_in_both_formats_is_shown_whole_from_one(place: Path, library: Shared, prefer: str) -> None:
    view = library.views[prefer]
    seen = walk(view.where)
    harbour = os.listdir(view.mountpoint / "Mira Lund/Harbour")
    assert seen == {path: what.shown for path, what in predicted(prefer, library.high, library.low, 2).items()}
    assert harbour == (
        ["01 Ebb.flac", "02 Flow.flac", "cover.jpg"] if prefer == "high" else ["01 Ebb.mp3", "02 Flow.mp3", "scans"]
    )
    assert os.listdir(view.mountpoint / "Mira Lund") == ["Harbour", "Lighthouse", "artist.jpg", "artist.txt"]


def test_both_views_have_the_same_names_down_to_the_depth(place: Path, library: Shared) -> None:
    upper = [{path for path in walk(view.where) if path.count(b"/") < 2} for view in library.views.values()]
    assert upper[0] == upper[1] != set()


def test_a_directory_beats_a_file_of_the_same_name_in_any_source(place: Path) -> None:
    high, low = two(place, {b"x": b"a file", b"y": {b"in": b"high"}}, {b"x": {b"in": b"low"}, b"y": b"a file"})
    for prefer in ("high", "low"):
        with mounted(place / f"view-{prefer}", high, low, prefer=prefer) as view:
            assert (view.mountpoint / "x/in").read_text() == "low"
            assert (view.mountpoint / "y/in").read_text() == "high"


def test_three_sources_are_preferred_in_the_given_order_or_its_reverse(place: Path) -> None:
    a, b, c = (grow(place / name, folders(name, *has)) for name, has in (("a", "1"), ("b", "12"), ("c", "123")))
    for prefer, whose in (("high", ["a1", "b2", "c3"]), ("low", ["c1", "c2", "c3"])):
        with mounted(place / f"view-{prefer}", a, b, c, prefer=prefer) as view:
            assert [(view.mountpoint / name / "track").read_text() for name in "123"] == whose


def test_symlinks_are_hidden_down_to_the_depth_and_shown_below_it(place: Path) -> None:
    high, low = two(
        place,
        {b"artist": {b"album": {b"track": b"h", b"way": Link(b"track")}, b"link": Link(b"album")}, b"top": Link(b"/")},
        {b"artist": {b"link": {b"track": b"l"}}, b"top": b"a file"},
    )
    with mounted(place / "view", high, low, depth=2) as view:
        assert os.listdir(view.mountpoint) == ["artist", "top"]
        assert (view.mountpoint / "top").read_text() == "a file"
        assert (view.mountpoint / "artist/link/track").read_text() == "l"
        assert os.readlink(view.mountpoint / "artist/album/way") == "track"
        assert (view.mountpoint / "artist/album/way").read_text() == "h"


def test_a_merged_directory_shows_the_newest_times_and_a_link_count_of_one(place: Path) -> None:
    high, low = two(place, {b"both": {b"a": {}, b"b": {}}}, {b"both": {b"c": {}}})
    os.chmod(high / "both", 0o751)
    os.chmod(low / "both", 0o700)
    os.utime(low / "both", ns=(1, 1_600_000_000_123_456_789))
    os.utime(high / "both", ns=(1, 1_500_000_000_000_000_001))
    with mounted(place / "view", high, low, depth=2) as view:
        shown, ours, theirs = (os.stat(top / "both") for top in (view.mountpoint, high, low))
        assert shown.st_mtime_ns == theirs.st_mtime_ns > ours.st_mtime_ns
        assert shown.st_ctime_ns == max(ours.st_ctime_ns, theirs.st_ctime_ns)
        assert (shown.st_mode, shown.st_uid, shown.st_size) == (ours.st_mode, ours.st_uid, ours.st_size)
        assert (shown.st_nlink, os.stat(view.mountpoint).st_nlink) == (1, 1)


def test_all_but_merged_directories_have_the_attributes_of_their_winners(place: Path, library: Shared) -> None:
    view = library.views["high"]
    for path, what in predicted("high", library.high, library.low, 2).items():
        if not what.merged:
            shown, true = os.lstat(view.where + b"/" + path), os.lstat(what.winner)
            for name in ("mode", "uid", "gid", "nlink", "size", "blocks", "rdev", "mtime_ns", "ctime_ns"):
                assert getattr(shown, f"st_{name}") == getattr(true, f"st_{name}"), (path, name)


@needs_root
def test_owners_are_the_winners_or_for_a_merged_directory_the_first_sources(place: Path, library: Shared) -> None:
    for prefer, owner in (("high", 1000), ("low", 1002)):
        top = library.views[prefer].mountpoint
        st = os.stat(top / "Mira Lund")
        assert (st.st_uid, st.st_gid) == (owner, owner + 1000)
        harbour = os.stat(top / "Mira Lund/Harbour")
        assert (harbour.st_uid, harbour.st_gid) == ((1001, 2001) if prefer == "high" else (0, 0))


def _numbers(top: Path) -> dict[bytes, int]:
    return {path: os.lstat(os.fsencode(top) + b"/" + path).st_ino for path in walk(os.fsencode(top))}


def test_inode_numbers_use_64_bits_and_are_stable_across_a_remount(place: Path) -> None:
    sources = two(place, FLAC, {**MP3, **folders("many ", *map(str, range(300)))})
    with mounted(place / "view", *sources, depth=2) as view:
        first = _numbers(view.mountpoint)
        listed = {os.fsencode(entry.name): entry.inode() for entry in os.scandir(view.mountpoint)}
    with mounted(place / "view", *sources, depth=2) as view:
        assert _numbers(view.mountpoint) == first
    assert min(first.values()) > 1
    assert max(first.values()) > 1 << 60, "all 64 bits are used"
    assert len({number & 0xFFFFFFFF for number in first.values()}) == len(first), "the low 32 bits are unique too"
    assert listed == {name: first[name] for name in listed}


def test_listings_are_in_byte_order(place: Path) -> None:
    names = [
        b"a",
        b"B",
        b"-rf",
        b" ",
        b"\xff\xfe",
        b"a\nb",
        "é".encode(),
        "e\u0301".encode(),
        b"~",
        b"10",
        b"9",
        b"...",
    ]
    high, low = two(place, {name: {b"x": b""} for name in names[::2]}, {name: {} for name in names[1::2]})
    grow(high / "deep", dict.fromkeys(names, b""))
    with mounted(place / "view", high, low) as view:
        assert os.listdir(view.where) == sorted([*names, b"deep"])
        assert os.listdir(view.where + b"/deep") == sorted(names)


def test_the_mount_has_its_type_and_the_options_ro_nosuid_nodev_and_default_permissions(
    place: Path, example: Shared
) -> None:
    found = view_at(example.views["high"].where)
    assert found is not None
    assert found.type == b"fuse.mmirrorfs"
    assert {"ro", "nosuid", "nodev"} <= found.options
    assert "default_permissions" in found.superblock


def test_statfs_sums_the_filesystems_of_the_sources_and_reports_no_free_space(place: Path, example: Shared) -> None:
    shown, below = os.statvfs(example.views["high"].mountpoint), os.statvfs(example.high)
    assert shown.f_flag & os.ST_RDONLY
    assert (shown.f_bfree, shown.f_bavail, shown.f_ffree, shown.f_favail) == (0, 0, 0, 0)
    assert shown.f_blocks * shown.f_frsize == below.f_blocks * below.f_frsize // shown.f_frsize * shown.f_frsize
    assert (shown.f_files, shown.f_namemax) == (below.f_files, 255)


@needs_root
def test_statfs_counts_each_of_two_filesystems(place: Path) -> None:
    sources = []
    for name, size in (("high", 8), ("low", 16)):
        (place / name).mkdir()
        assert run("mount", "-t", "tmpfs", "-o", f"size={size}m", "none", place / name).returncode == 0
        sources.append(grow(place / name / "in", folders(name, "1")))
    with mounted(place / "view", *sources) as view:
        shown = os.statvfs(view.mountpoint)
        assert shown.f_blocks * shown.f_frsize == 24 << 20


def _special(where: Path) -> None:
    os.mkfifo(where / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(where / "socket"))


def test_fifos_and_sockets_show_their_type_and_connect_is_refused(place: Path) -> None:
    high, low = two(place, {b"album": {}}, {b"album": {}})
    _special(high)
    _special(high / "album")
    with mounted(place / "view", high, low) as view:
        for above in (view.mountpoint, view.mountpoint / "album"):
            assert stat.S_ISFIFO(os.stat(above / "fifo").st_mode)
            assert stat.S_ISSOCK(os.stat(above / "socket").st_mode)
        with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
            client.connect(str(view.mountpoint / "album/socket"))


@needs_root
def test_devices_show_their_type_and_number_and_cannot_be_opened(place: Path) -> None:
    high, low = two(place, {b"album": {}}, {b"album": {}})
    for above in (high, high / "album"):
        os.mknod(above / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
        os.mknod(above / "disk", stat.S_IFBLK | 0o666, os.makedev(7, 0))
    with mounted(place / "view", high, low, options=("-o", "dev")) as view:
        for above in (view.mountpoint, view.mountpoint / "album"):
            zero, disk = os.stat(above / "zero"), os.stat(above / "disk")
            assert (stat.S_ISCHR(zero.st_mode), zero.st_rdev) == (True, os.makedev(1, 5))
            assert (stat.S_ISBLK(disk.st_mode), disk.st_rdev) == (True, os.makedev(7, 0))
            with pytest.raises(PermissionError):
                os.open(above / "zero", os.O_RDONLY)
