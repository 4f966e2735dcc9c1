"""No mode, owner, size or time is shown that the source did not give, however slow it is, hung or lost.

In merged directories nobody waits for it: what is shown there is the last that it gave. Sources here are an ext4 disk
whose blocks come slowly or not at all, and a pass-through that takes its time for each request.
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

pytestmark = [pytest.mark.mount(seconds=45), needs_root]

AT_ONCE = 0.25
"""Seconds in which what waits for nobody is there, on a machine that is busy with other things."""
SOURCE: Tree = {
    b"Ann": {b"Album": {b"track": b"t" * 100}, b"loose": b"l" * 5000, b"secret": b"s" * 77},
    b"Private": {b"Album": {b"track": b"t"}},
    b"cover": b"c" * 1234,
}
SHOWN = ("Ann", "Ann/Album", "Ann/loose", "Ann/secret", "Private", "Private/Album", "cover")


def protect(top: Path) -> None:
    """Modes, owners and times that nobody would make up."""
    for number, path in enumerate(SHOWN):
        os.chown(top / path, 1000 + number, 2000 + number)
        (top / path).chmod((0o700 if (top / path).is_dir() else 0o600) | number)
        os.utime(top / path, (10**9, 10**9 + number))


def all_figures(top: Path) -> dict[str, Figures]:
    """What stat tells of each; of a directory not how large it is and when it was changed, for it may be merged."""
    found = {path: figures(top / path) for path in SHOWN}
    return {path: told if not stat.S_ISDIR(told[0]) else (*told[:3], 0, 0) for path, told in found.items()}


def listed(top: Path) -> list[tuple[str, int, int]]:
    """What a listing tells, with attributes."""
    found = []
    for above in ("", "Ann", "Private"):
        for entry in os.scandir(top / above):
            st = entry.stat(follow_symlinks=False)
            found.append((os.path.join(above, entry.name), st.st_mode, st.st_uid))
    return sorted(found)


def check_at_once(view: View, expected: dict[str, Figures], names: list[tuple[str, int, int]]) -> None:
    """All that is in merged directories is what it was, and nobody waits for it."""
    for path in SHOWN:
        took = Asked(lambda path=path: figures(view.mountpoint / path))  # type: ignore[misc]
        took.answer(2)
        assert took.took < AT_ONCE, f"{path} took {took.took:.2f} s"
    assert Asked(lambda: all_figures(view.mountpoint)).answer(2) == expected
    assert Asked(lambda: listed(view.mountpoint)).answer(2) == names


@contextmanager
def of_disk(place: Path, depth: int = 2) -> Iterator[tuple[Hanging, View]]:
    """A view of the disk; what the kernel had of it in memory is forgotten, and so is the view."""
    other = grow(place / "other", {b"Other": {b"Album": {b"track": b"o"}}})
    with (
        slow_disk(place / "disk", SOURCE, protect) as blocks,
        mounted(place / "view", place / "disk", other, depth=depth, options=[REFRESH]) as view,
        freed(blocks),
    ):
        drop_caches()
        yield blocks, view


@contextmanager
def of_net(place: Path, depth: int = 2, refresh: str = REFRESH) -> Iterator[tuple[Hanging, Path, View]]:
    """A view of a pass-through and what lies under that."""
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
@pytest.mark.parametrize("pause", [0.3, 1.0])
def test_a_local_disk_that_takes_a_second_has_its_own_attributes_at_once(place: Path, pause: float) -> None:
    with of_disk(place) as (blocks, view):
        expected, names = all_figures(place / "disk"), listed(place / "disk")
        names = sorted([*names, *[(n, m, u) for n, m, u in listed(view.mountpoint) if n.startswith("Other")]])
        for _ in range(3):
            drop_caches()
            blocks.slow(pause)
            check_at_once(view, expected, names)
        blocks.slow(0)


@pytest.mark.alone
def test_a_local_disk_that_never_answers_again_has_its_own_attributes_at_once(place: Path) -> None:
    with of_disk(place) as (blocks, view):
        expected = all_figures(place / "disk")
        names = listed(view.mountpoint)
        drop_caches()
        blocks.hang()
        for _ in range(3):
            check_at_once(view, expected, names)
            drop_caches()
        blocks.go_on()


def test_a_local_disk_that_hangs_before_anybody_asked_has_its_own_attributes_at_once(place: Path) -> None:
    """Nobody looked at the view but the scan."""
    with of_disk(place) as (blocks, view):
        expected = all_figures(place / "disk")
        drop_caches()
        blocks.hang()
        took = Asked(lambda: all_figures(view.mountpoint))
        assert took.answer(3) == expected
        blocks.go_on()


@pytest.mark.parametrize("depth", [1, 2])
def test_folders_of_depth_one_on_a_slow_disk_have_their_own_modes(place: Path, depth: int) -> None:
    with of_disk(place, depth) as (blocks, view):
        before = {name: figures(place / "disk" / name)[:3] for name in ("Ann", "Private", "cover")}
        drop_caches()
        blocks.slow(1)
        for name, expected in before.items():
            assert Asked(lambda name=name: figures(view.mountpoint / name)[:3]).answer(3) == expected  # type: ignore[misc]
        blocks.slow(0)


@pytest.mark.alone
@pytest.mark.parametrize("pause", [0.5, 1.0])
def test_a_slow_source_keeps_nobody_in_a_merged_directory_waiting(place: Path, pause: float) -> None:
    with of_net(place) as (net, under, view):
        expected, names = all_figures(under), listed(view.mountpoint)
        net.slow(pause)
        for _ in range(3):
            check_at_once(view, expected, names)
            drop_caches()
        net.slow(0)


def test_a_change_in_a_slow_source_shows_soon(place: Path) -> None:
    with of_net(place) as (net, under, view):
        all_figures(view.mountpoint)
        net.slow(0.3)
        (under / "Ann/Album").chmod(0o711)
        (under / "Ann/loose").write_bytes(b"longer" * 1000)
        shows(lambda: stat.S_IMODE(os.stat(view.mountpoint / "Ann/Album").st_mode) == 0o711, "the new mode")
        shows(lambda: os.stat(view.mountpoint / "Ann/loose").st_size == 6000, "the new size")
        net.slow(0)


@pytest.mark.alone
def test_what_a_source_gave_after_the_scan_is_shown_when_it_hangs(place: Path) -> None:
    with of_net(place) as (net, under, view):
        all_figures(view.mountpoint)
        (under / "Ann/Album").chmod(0o711)
        (under / "Ann/loose").chmod(0o640)
        (under / "cover").write_bytes(b"c" * 4321)
        shows(lambda: all_figures(view.mountpoint) == all_figures(under), "what was changed")
        expected, names = all_figures(under), listed(view.mountpoint)
        net.hang()
        for _ in range(3):
            check_at_once(view, expected, names)
            drop_caches()
        net.go_on()


def test_a_folder_made_while_its_source_is_slow_is_never_shown_with_other_attributes_than_its_own(place: Path) -> None:
    with of_net(place) as (net, under, view):
        net.slow(0.4)
        new = grow(place / "new", {b"track": b"n"})
        os.chown(new, 1234, 4321)
        new.chmod(0o510)
        new.rename(under / "Ann/New")
        seen = set()

        def there() -> bool:
            try:
                seen.add(figures(view.mountpoint / "Ann/New")[:3])
            except FileNotFoundError:
                return False
            return True

        poll(there, "the folder", 40)
        assert seen == {(stat.S_IFDIR | 0o510, 1234, 4321)}
        net.slow(0)


def test_attributes_that_cannot_be_had_are_an_error_and_never_zeros(place: Path) -> None:
    """A directory that its daemon may list and not search: names without attributes."""
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
    """Deny a file's group what the mask, which shows as the group's bits, seems to give it."""
    need("setfacl")
    os.chown(path, 0, NOBODY)
    path.chmod(0o640)
    if run("setfacl", "-m", "u:12345:r,g::-,m::r", path).returncode:
        pytest.skip(f"the filesystem of {path} has no POSIX ACLs")


def error_of(path: Path) -> int:
    """What asking for the access list fails with; 0 where it does not."""
    try:
        os.getxattr(path, "system.posix_acl_access")
    except OSError as error:
        return error.errno or -1
    return 0


def may_read(path: Path) -> bool:
    """Whether a plain user is told that the file is readable."""
    return run(*AS_NOBODY, "test", "-r", path, seconds=10).returncode == 0


@pytest.mark.parametrize("refresh", [REFRESH, "--refresh=600"], ids=["scanned", "not scanned"])
def test_an_access_list_that_a_lost_source_was_never_asked_for_is_not_taken_for_none(place: Path, refresh: str) -> None:
    """A source on another machine: a local one is asked for its lists when a directory is listed."""
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


def test_an_access_list_that_a_hung_source_does_not_give_is_not_taken_for_none(place: Path) -> None:
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
