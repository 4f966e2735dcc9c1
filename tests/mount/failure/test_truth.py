"""A view shows no mode, owner, size or time that the source did not report, even while it is slow, hung or lost.

Requests in merged directories never wait for a source: the view shows the last reported attributes. The sources are an
ext4 disk whose blocks are read slowly or not at all, and a pass-through that delays each request.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.disks import drop_caches, slow_disk
from tests.support.fresh import REFRESH, Figures, figures, shows
from tests.support.hanging import Hanging, freed, hanging
from tests.support.mounts import View, mounted
from tests.support.polling import poll
from tests.support.trees import Tree, grow
from tests.support.users import AS_NOBODY, NOBODY, WITHOUT_OVERRIDE, need, needs_root, output_of, run
from tests.support.waiting import Asked, timed

pytestmark = [pytest.mark.waits, pytest.mark.mount(seconds=45), needs_root]

AT_ONCE = 0.25
"""Longest time in seconds of a request that waits for no source, on a busy machine."""
SOURCE: Tree = {
    b"Ann": {b"Album": {b"track": b"t" * 100}, b"loose": b"l" * 5000, b"secret": b"s" * 77},
    b"Private": {b"Album": {b"track": b"t"}},
    b"cover": b"c" * 1234,
}
SHOWN = ("Ann", "Ann/Album", "Ann/loose", "Ann/secret", "Private", "Private/Album", "cover")


def protect(top: Path) -> None:
    """Set modes, owners and times that no default has."""
    for number, path in enumerate(SHOWN):
        os.chown(top / path, 1000 + number, 2000 + number)
        (top / path).chmod((0o700 if (top / path).is_dir() else 0o600) | number)
        os.utime(top / path, (10**9, 10**9 + number))


def all_figures(top: Path) -> dict[str, Figures]:
    """The attributes of each path; without size and mtime for directories, which may be merged."""
    found = {path: figures(top / path) for path in SHOWN}
    return {path: own if not stat.S_ISDIR(own[0]) else (*own[:3], 0, 0) for path, own in found.items()}


def listed(top: Path) -> list[tuple[str, int, int]]:
    """(path, mode, owner) of each listed entry."""
    found = []
    for above in ("", "Ann", "Private"):
        for entry in os.scandir(top / above):
            st = entry.stat(follow_symlinks=False)
            found.append((os.path.join(above, entry.name), st.st_mode, st.st_uid))
    return sorted(found)


def check_at_once(view: View, expected: dict[str, Figures], names: list[tuple[str, int, int]]) -> None:
    """Everything in merged directories is unchanged, and no request for it waits."""
    for path in SHOWN:
        asked = Asked(lambda path=path: figures(view.mountpoint / path))  # type: ignore[misc]
        asked.answer(2)
        assert asked.took < AT_ONCE, f"{path} took {asked.took:.2f} s"
    assert Asked(lambda: all_figures(view.mountpoint)).answer(2) == expected
    assert Asked(lambda: listed(view.mountpoint)).answer(2) == names


@contextmanager
def view_of_disk(place: Path, depth: int = 2) -> Iterator[tuple[Hanging, View]]:
    """A view of the disk; the kernel's caches of both are dropped."""
    other = grow(place / "other", {b"Other": {b"Album": {b"track": b"o"}}})
    with (
        slow_disk(place / "disk", SOURCE, protect) as blocks,
        mounted(place / "view", place / "disk", other, depth=depth, options=[REFRESH]) as view,
        freed(blocks),
    ):
        drop_caches()
        yield blocks, view


@contextmanager
def view_of_net(place: Path, depth: int = 2, refresh: str = REFRESH) -> Iterator[tuple[Hanging, Path, View]]:
    """A view of a pass-through, and the tree under that."""
    other = grow(place / "other", {b"Other": {b"Album": {b"track": b"o"}}})
    under = grow(place / "under", SOURCE)
    protect(under)
    with (
        hanging(under, place / "net") as net,
        mounted(place / "view", place / "net", other, depth=depth, options=[refresh]) as view,
        freed(net),
    ):
        yield net, under, view


@pytest.mark.alone
def test_attributes_on_a_slow_local_disk_are_the_disks_and_shown_at_once(place: Path) -> None:
    with view_of_disk(place) as (blocks, view):
        expected, names = all_figures(place / "disk"), listed(place / "disk")
        names = sorted([*names, *[(n, m, u) for n, m, u in listed(view.mountpoint) if n.startswith("Other")]])
        for pause in (0.3, 1.0, 0.3, 1.0):
            drop_caches()
            blocks.slow(pause)
            check_at_once(view, expected, names)
        blocks.slow(0)


@pytest.mark.alone
def test_attributes_on_a_hung_local_disk_are_the_disks_and_shown_at_once(place: Path) -> None:
    with view_of_disk(place) as (blocks, view):
        expected = all_figures(place / "disk")
        names = listed(view.mountpoint)
        drop_caches()
        blocks.hang()
        for _ in range(3):
            check_at_once(view, expected, names)
            drop_caches()
        blocks.go_on()


def test_attributes_on_a_disk_that_hangs_after_the_scan_are_those_of_the_scan(place: Path) -> None:
    """No request came before the hang."""
    with view_of_disk(place) as (blocks, view):
        expected = all_figures(place / "disk")
        drop_caches()
        blocks.hang()
        assert Asked(lambda: all_figures(view.mountpoint)).answer(3) == expected
        blocks.go_on()


@pytest.mark.parametrize("depth", [1, 2])
def test_top_folders_on_a_slow_disk_have_their_own_modes(place: Path, depth: int) -> None:
    with view_of_disk(place, depth) as (blocks, view):
        before = {name: figures(place / "disk" / name)[:3] for name in ("Ann", "Private", "cover")}
        drop_caches()
        blocks.slow(1)
        for name, expected in before.items():
            assert Asked(lambda name=name: figures(view.mountpoint / name)[:3]).answer(3) == expected  # type: ignore[misc]
        blocks.slow(0)


@pytest.mark.alone
def test_a_slow_source_delays_no_request_in_a_merged_directory(place: Path) -> None:
    with view_of_net(place) as (net, under, view):
        expected, names = all_figures(under), listed(view.mountpoint)
        for pause in (0.5, 1.0, 0.5, 1.0):
            net.slow(pause)
            check_at_once(view, expected, names)
            drop_caches()
        net.slow(0)


def test_a_change_in_a_slow_source_shows_within_the_maximum_staleness(place: Path) -> None:
    with view_of_net(place) as (net, under, view):
        all_figures(view.mountpoint)
        net.slow(0.15)
        (under / "Ann/Album").chmod(0o711)
        (under / "Ann/loose").write_bytes(b"longer" * 1000)
        shows(lambda: stat.S_IMODE(os.stat(view.mountpoint / "Ann/Album").st_mode) == 0o711, "the new mode")
        shows(lambda: os.stat(view.mountpoint / "Ann/loose").st_size == 6000, "the new size")
        net.slow(0)


@pytest.mark.alone
def test_attributes_updated_since_the_scan_are_shown_while_the_source_hangs(place: Path) -> None:
    with view_of_net(place) as (net, under, view):
        all_figures(view.mountpoint)
        (under / "Ann/Album").chmod(0o711)
        (under / "Ann/loose").chmod(0o640)
        (under / "cover").write_bytes(b"c" * 4321)
        shows(lambda: all_figures(view.mountpoint) == all_figures(under), "the changes")
        expected, names = all_figures(under), listed(view.mountpoint)
        net.hang()
        for _ in range(3):
            check_at_once(view, expected, names)
            drop_caches()
        net.go_on()


def test_a_folder_created_in_a_slow_source_is_never_shown_with_placeholder_attributes(place: Path) -> None:
    with view_of_net(place) as (net, under, view):
        net.slow(0.15)
        new = grow(place / "new", {b"track": b"n"})
        os.chown(new, 1234, 4321)
        new.chmod(0o510)
        new.rename(under / "Ann/New")
        seen = set()

        def exists() -> bool:
            try:
                seen.add(figures(view.mountpoint / "Ann/New")[:3])
            except FileNotFoundError:
                return False
            return True

        poll(exists, "the folder", 40)
        assert seen == {(stat.S_IFDIR | 0o510, 1234, 4321)}
        net.slow(0)


def test_attributes_that_cannot_be_read_are_an_error_and_never_zeros(place: Path) -> None:
    """The daemon may list the directory but not search it: it has names without attributes."""
    need("setpriv")
    high = grow(place / "high", {b"A": {b"closed": {b"track": b"t" * 10, b"sub": {b"1": b"t"}}}})
    os.chown(high / "A/closed", NOBODY, NOBODY)
    (high / "A/closed").chmod(0o744)
    other = grow(place / "other", {b"B": {b"track": b"o"}})
    with mounted(place / "view", high, other, options=[REFRESH], prefix=WITHOUT_OVERRIDE) as view:
        closed = view.mountpoint / "A/closed"
        assert sorted(os.listdir(closed)) == ["sub", "track"]
        for name in ("sub", "track"):
            with pytest.raises(PermissionError):
                os.stat(closed / name)
        assert not [st for st in map(_stat_or_none, os.scandir(closed)) if st is not None]


def _stat_or_none(entry: "os.DirEntry[str]") -> os.stat_result | None:
    try:
        return entry.stat()
    except OSError:
        return None


# Access lists


def restrict(path: Path) -> None:
    """Deny a file's group what the mask, shown as the group's mode bits, seems to allow."""
    need("setfacl")
    os.chown(path, 0, NOBODY)
    path.chmod(0o640)
    if run("setfacl", "-m", "u:12345:r,g::-,m::r", path).returncode:
        pytest.skip(f"the filesystem of {path} has no POSIX ACLs")


def error_of(path: Path) -> int:
    """The errno of reading the access list; 0 where it succeeds."""
    try:
        os.getxattr(path, "system.posix_acl_access")
    except OSError as error:
        return error.errno or -1
    return 0


def may_read(path: Path) -> bool:
    """Whether the file is readable for a plain user."""
    return run(*AS_NOBODY, "test", "-r", path, seconds=10).returncode == 0


@pytest.mark.parametrize("refresh", [REFRESH, "--refresh=600"], ids=["scanned", "not scanned"])
def test_an_uncached_access_list_of_a_lost_source_is_not_treated_as_absent(place: Path, refresh: str) -> None:
    """The source is on another machine: of a local one, access lists are read with each listing."""
    under, other = grow(place / "under", {b"A": {b"track": b"t"}}), grow(place / "other", {b"B": {b"track": b"o"}})
    restrict(under / "A/track")
    with (
        hanging(under, place / "net") as net,
        mounted(place / "view", place / "net", other, options=[refresh, "-o", "allow_other"]) as view,
        freed(net),
    ):
        view.expect("is lost")
        track = view.mountpoint / "A/track"
        assert os.listdir(track.parent) == ["track"]
        net.abort()
        if refresh == REFRESH:
            shows(lambda: "is lost" in view.text(), "the loss")
        with pytest.raises(OSError, match="Input/output error"):
            track.read_bytes()
        assert error_of(track) == errno.EIO
        assert not may_read(track)
        shows(lambda: "is lost" in view.text(), "the loss")


def test_an_access_list_that_a_hung_source_withholds_is_not_treated_as_absent(place: Path) -> None:
    under, other = grow(place / "under", {b"A": {b"track": b"t"}}), grow(place / "other", {b"B": {b"track": b"o"}})
    restrict(under / "A/track")
    with (
        hanging(under, place / "net") as net,
        mounted(place / "view", place / "net", other, options=[REFRESH, "-o", "allow_other"]) as view,
        freed(net),
    ):
        track = view.mountpoint / "A/track"
        assert os.listdir(track.parent) == ["track"]
        assert timed(lambda: os.stat(track))[1] < 2
        net.hang()
        asked = Asked(lambda: error_of(track))
        try:
            assert asked.answer(8) == errno.EIO
        except AssertionError:
            assert asked.is_waiting, f"it ended with {os.strerror(asked.answer(0))}"
        net.go_on()
        assert asked.answer(10) in (0, errno.EIO)
        shows(lambda: error_of(track) == 0, "the access list")
        assert output_of("getfacl", "-nc", "--absolute-names", track).count(b"12345") == 1
        assert not may_read(track)
