"""Open and mapped files while their source changes, and no stale byte after the maximum staleness.

Files are large enough for the page cache to matter, and an observer in another process holds them open or mapped.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support.fresh import MAX_STALENESS, REFRESH, Observer, observer, shows, stays, trees
from tests.support.held import crawled
from tests.support.mounts import mounted
from tests.support.trees import Tree, folders, grow

pytestmark = pytest.mark.waits

OLD, NEW, NEWER = b"old bytes " * 30_000, b"new bytes " * 30_000, b"the newest" * 30_000
LOOSE: Tree = {b"top": OLD, b"Ann": {b"beside": OLD, b"Both": {b"1": OLD, b"sub": {b"2": OLD}}}}
PLACES = ("top", "Ann/beside", "Ann/Both/1", "Ann/Both/sub/2")
"""A loose file at each level down to the depth, a file in a folder, and one below it."""
QUIET = "--refresh=3600"
"""Longer than any test: what shows does not show because of the timer."""


def replace(path: Path, data: bytes) -> None:
    """Replace a file by rename."""
    other = path.with_name("being written")
    other.write_bytes(data)
    other.rename(path)


def edit(path: Path, data: bytes, mtime: bool) -> None:
    """Overwrite a file with as many bytes. Unless ``mtime``, its mtime is put back and only ctime changes."""
    before = path.stat()
    with open(path, "r+b") as file:
        file.write(data)
    if not mtime:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_open_descriptors_keep_a_replaced_file_and_new_ones_get_the_new_file(place: Path) -> None:
    high, low, view = trees(place, LOOSE, {})
    with mounted(view, high, low, depth=2, options=[REFRESH]) as mount, observer() as eyes:
        mount.expect("low .* is empty")
        first, second = dict[str, int](), dict[str, int]()
        for name in PLACES:
            first[name] = eyes.open(view / name)
            assert eyes.pread(first[name]) == OLD
            replace(high / name, NEW)
            shows(lambda name=name: eyes.holds(view / name, NEW), f"new bytes for whoever opens {name}")  # type: ignore[misc]
            second[name] = eyes.open(view / name)
            replace(high / name, OLD[::-1] + b"!")
            shows(lambda name=name: eyes.read(view / name) == OLD[::-1] + b"!", f"the newest bytes of {name}")  # type: ignore[misc]
            assert [eyes.pread(fd[name], offset=4096) for fd in (first, second)] == [OLD[4096:], NEW[4096:]]
            assert eyes.fstat(first[name]).st_size == len(OLD)
            shows(lambda name=name: eyes.stat(view / name).st_size == len(OLD) + 1, f"the size of {name} now")  # type: ignore[misc]
        own = [(eyes.pread, fds[name], data) for name in PLACES for fds, data in ((first, OLD), (second, NEW))]
        stays(lambda: all(pread(fd) == data for pread, fd, data in own), "what was opened, each its own")


def test_a_replaced_file_can_be_opened_at_once_while_the_old_one_is_open(place: Path) -> None:
    high, low, view = trees(place, LOOSE, {})
    with mounted(view, high, low, depth=2, options=[QUIET]) as mount, observer() as eyes:
        mount.expect("low .* is empty")
        for path in (view / name for name in PLACES):
            eyes.names(path.parent)
            first = eyes.open(path)
            assert eyes.pread(first) == OLD
            replace(high / path.relative_to(view), NEW + b"and more")
            assert eyes.read(path) in (OLD, NEW + b"and more")
            assert eyes.pread(first) == OLD


def test_edits_of_a_file_that_has_replaced_an_open_one_show_without_the_timer(place: Path) -> None:
    """Such a file has an inode number of its own, also when the first one is closed. Announcing would refresh it."""
    high, low, view = trees(place, LOOSE, {})
    with mounted(view, high, low, depth=2, options=[QUIET, "--announce=off"]) as mount, observer() as eyes:
        mount.expect("low .* is empty")
        crawled(mount)
        for name in PLACES:
            first = eyes.open(view / name)
            replace(high / name, NEW)
            shows(lambda name=name: eyes.holds(view / name, NEW), f"new bytes for whoever opens {name}")  # type: ignore[misc]
            assert eyes.stat(view / name).st_ino != eyes.fstat(first).st_ino
            for count, data in enumerate((NEW + b"1", NEW + b"12", NEW + b"123")):
                assert eyes.stat(view / name).st_size == len(data) - 1
                with open(high / name, "ab") as file:
                    file.write(data[-1:])
                shows(lambda name=name, data=data: eyes.stat(view / name).st_size == len(data), f"the size of {name}")  # type: ignore[misc]
                if count == 1:
                    eyes.close(first)


def test_opening_a_path_whose_type_just_changed_gives_a_fitting_error(place: Path) -> None:
    high, low, view = trees(place, LOOSE, {})
    with mounted(view, high, low, depth=2, options=[REFRESH]) as mount, observer() as eyes:
        mount.expect("low .* is empty")
        for name in PLACES:
            eyes.names((view / name).parent)
            assert eyes.read(view / name) == OLD
            (high / name).unlink()
            (high / name).mkdir()
            with pytest.raises((IsADirectoryError, FileNotFoundError)):
                eyes.read(view / name)


def test_an_open_file_survives_the_removal_of_its_folder(place: Path) -> None:
    high, low, view = trees(place, {b"A": {b"1": OLD}}, folders("l", "A", "B"))
    with mounted(view, high, low, options=[REFRESH]), observer() as eyes:
        file, mapping = eyes.open(view / "A/1"), eyes.map(view / "A/1")
        assert eyes.pread(file, 4096) == OLD[:4096]
        (high / "A").rename(place / "away")
        shows(lambda: eyes.exists(view / "A/track"), "the folder of the other source")
        assert eyes.pread(file) == OLD
        assert eyes.mapped(mapping) == OLD
        assert eyes.fstat(file).st_size == len(OLD)


def test_an_open_file_survives_a_takeover_of_its_folder(place: Path) -> None:
    high, low, view = trees(place, folders("h", "B"), {b"A": {b"1": OLD}})
    with mounted(view, high, low, options=[REFRESH]), observer() as eyes:
        file = eyes.open(view / "A/1")
        grow(high / "A", {b"1": NEW})
        shows(lambda: eyes.read(view / "A/1") == NEW, "the folder of the better source")
        assert eyes.pread(file) == OLD


def test_an_edit_in_place_shows_in_open_and_mapped_files(place: Path) -> None:
    """First with its mtime moving, then with its mtime put back."""
    high, low, view = trees(place, LOOSE, {})
    with mounted(view, high, low, depth=2, options=[REFRESH]) as mount, observer() as eyes:
        mount.expect("low .* is empty")
        held = {name: (eyes.open(view / name), eyes.map(view / name)) for name in PLACES}
        for mtime, old, new in ((True, OLD, NEW), (False, NEW, NEWER)):
            for name, (file, mapping) in held.items():
                assert eyes.pread(file) == eyes.mapped(mapping) == old
                edit(high / name, new, mtime)
            for name, (file, mapping) in held.items():
                shows(partial(gives, eyes.pread, file, new), f"the new bytes of {name} through a descriptor, {mtime}")
                shows(partial(gives, eyes.mapped, mapping, new), f"the new bytes of {name} through a mapping, {mtime}")
            seen = [(file, mapping, view / name) for name, (file, mapping) in held.items()]
            stays(partial(all_give, eyes, seen, new), "the new bytes")


def gives(read: Callable[[int], bytes], key: int, data: bytes) -> bool:
    """Whether that is what is read."""
    return read(key) == data


def all_give(eyes: Observer, seen: list[tuple[int, int, Path]], data: bytes) -> bool:
    """Whether descriptors, mappings and paths all have these contents."""
    return all(eyes.pread(file) == eyes.mapped(key) == eyes.read(path) == data for file, key, path in seen)


@pytest.mark.parametrize("options", [REFRESH, "--refresh=0"])
def test_a_mapping_follows_an_edit_that_the_daemon_read_before_the_kernel(place: Path, options: str) -> None:
    """First with its mtime moving, then with its mtime put back."""
    high, low, view = trees(place, LOOSE, {})
    with mounted(view, high, low, depth=2, options=[options]) as mount, observer() as eyes:
        mount.expect("low .* is empty")
        path = view / "Ann/Both/1"
        mapping = eyes.map(path)
        for mtime, old, new in ((True, OLD, NEW), (False, NEW, NEWER)):
            assert eyes.mapped(mapping) == old
            edit(high / "Ann/Both/1", new, mtime)
            eyes.opendir(path.parent)  # never read: the daemon has read the file's attributes, and the kernel has not
            shows(partial(gives, eyes.mapped, mapping, new), f"the new bytes through a mapping, {mtime}")


def test_an_open_file_grows_and_shrinks(place: Path) -> None:
    high, low, view = trees(place, LOOSE, folders("l", "B"))
    source, path = high / "Ann/Both/1", view / "Ann/Both/1"
    with mounted(view, high, low, depth=2, options=[REFRESH]), observer() as eyes:
        file = eyes.open(path)
        assert eyes.pread(file) == OLD
        with open(source, "ab") as more:
            more.write(NEW)
        shows(lambda: eyes.pread(file) == OLD + NEW, "what was appended")
        os.truncate(source, 5000)
        shows(lambda: eyes.pread(file) == OLD[:5000], "what is left")
        with open(source, "ab") as more:
            more.write(b"end")
        shows(lambda: eyes.pread(file) == OLD[:5000] + b"end", "the new end, and no zeros or old bytes before it")
        assert eyes.fstat(file).st_size == eyes.stat(path).st_size == 5003


def test_an_open_directory_keeps_the_listing_it_was_opened_with(place: Path) -> None:
    many: Tree = {b"A": {b"%04d" % number: b"x" for number in range(1000)}}
    high, low, view = trees(place, many, folders("l", "B"))
    with mounted(view, high, low, options=[REFRESH]), observer() as eyes:
        began, top = eyes.opendir(view / "A"), eyes.opendir(view)
        for number in range(0, 1000, 2):
            (high / f"A/{number:04}").unlink()
        grow(high / "C", {b"new": b"x"})
        shows(lambda: len(eyes.names(view / "A")) == 500, "what is left, to whoever opens now")
        shows(lambda: eyes.names(view) == ["A", "B", "C"], "the new folder, to whoever opens now")
        assert eyes.readdir(began) == [f"{number:04}" for number in range(1000)]
        assert eyes.readdir(top) == ["A", "B"]


def test_a_late_readdir_of_an_old_listing_does_not_refresh_stale_entries(place: Path) -> None:
    high, low, view = trees(place, {b"A": {b"gone": OLD, b"changed": OLD}}, {})
    with mounted(view, high, low, options=[REFRESH]) as mount, observer() as eyes:
        mount.expect("low .* is empty")
        late = eyes.opendir(view / "A")
        (high / "A/gone").unlink()
        (high / "A/changed").write_bytes(b"short")
        shows(lambda: not eyes.exists(view / "A/gone"), "the removal")
        shows(lambda: eyes.stat(view / "A/changed").st_size == 5, "the change")
        assert eyes.readdir(late) == ["changed", "gone"]
        assert not eyes.exists(view / "A/gone")
        assert eyes.stat(view / "A/changed").st_size == 5
        assert eyes.read(view / "A/changed") == b"short"


def test_cached_pages_of_a_closed_file_are_not_served_after_an_edit(place: Path) -> None:
    high, low, view = trees(place, LOOSE, folders("l", "B"))
    source, path = high / "Ann/Both/1", view / "Ann/Both/1"
    with mounted(view, high, low, depth=2, options=[REFRESH]), observer() as eyes:
        for number in range(6):
            before, now = eyes.read(path), b"%d" % number * len(OLD)
            assert eyes.read(path) == before
            edit(source, now, number % 3 != 0)
            shows(lambda now=now: eyes.read(path) == now, f"edit {number}")  # type: ignore[misc]
        stays(lambda: eyes.read(path) == now, "the last bytes", MAX_STALENESS)
