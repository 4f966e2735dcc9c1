"""Changes by other paths: hard links, mappings, bind mounts, nested sources, moved trees."""

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fresh import Observer, becomes, observer, shows
from tests.support.held import crawled
from tests.support.mounts import mounted
from tests.support.namespace import namespace
from tests.support.trees import Tree, grow
from tests.support.users import needs_root, output_of
from tests.support.watched import HOURLY

pytestmark = pytest.mark.waits

TREE: Tree = {b"A": {b"one": {b"1": b"track", b"sub": {b"2": b"track"}}, b"two": {b"1": b"two"}}}


@pytest.fixture
def eyes() -> Iterator[Observer]:
    """An observer in another process."""
    with observer() as eyes:
        yield eyes


def test_a_write_through_a_hard_link_outside_shows_within_the_maximum_staleness(place: Path, eyes: Observer) -> None:
    high, low = grow(place / "high", TREE), grow(place / "low", {b"Z": {}})
    os.link(high / "A/one/1", place / "outside")
    with mounted(place / "view", high, low, depth=2, options=["--refresh=1"]) as view:
        crawled(view)
        assert eyes.read(view.mountpoint / "A/one/1") == b"track"
        (place / "outside").write_bytes(b"by another name")
        shows(lambda: eyes.holds(view.mountpoint / "A/one/1", b"by another name"), "what was written")


def test_a_write_through_a_mapping_shows_after_munmap(place: Path, eyes: Observer) -> None:
    high, low = grow(place / "high", TREE), grow(place / "low", {b"Z": {}})
    with mounted(place / "view", high, low, depth=2, options=[HOURLY]) as view:
        crawled(view)
        assert eyes.read(view.mountpoint / "A/one/sub/2") == b"track"
        with open(high / "A/one/sub/2", "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
            mapped[:] = b"mmap!"
            mapped.flush()
        shows(lambda: eyes.holds(view.mountpoint / "A/one/sub/2", b"mmap!"), "what was written")


@needs_root
def test_changes_through_another_mount_of_the_filesystem_show_at_once(place: Path, eyes: Observer) -> None:
    """By a bind mount, and by one in another mount namespace, as in a container."""
    high, low, bound = grow(place / "high", TREE), grow(place / "low", {b"Z": {}}), place / "bound"
    bound.mkdir()
    with mounted(place / "view", high, low, depth=2, options=[HOURLY]) as view, namespace(place) as inside:
        crawled(view)
        assert not eyes.differences(view.mountpoint, [high, low], 2)
        inside.output_of("mount", "--bind", high / "A", bound)
        inside.output_of(
            "sh", "-ec", f"echo from there > {bound}/one/new; mkdir {bound}/three; mv {bound}/two {bound}/2"
        )
        becomes(eyes, view.mountpoint, [high, low], 2, "what a container did")
        output_of("mount", "--bind", high, bound)
        try:
            (bound / "A/one/sub/2").write_bytes(b"bound")
            (bound / "B").mkdir()
            becomes(eyes, view.mountpoint, [high, low], 2, "what was done through the bind mount")
        finally:
            output_of("umount", bound)


@needs_root
def test_a_directory_bind_mounted_inside_its_source_is_current_in_both_places(place: Path, eyes: Observer) -> None:
    high, low = grow(place / "high", {**TREE, b"B": {b"twice": {}}}), grow(place / "low", {b"Z": {}})
    output_of("mount", "--bind", high / "A/one", high / "B/twice")
    try:
        with mounted(place / "view", high, low, depth=2, options=[HOURLY]) as view:
            crawled(view)
            assert not eyes.differences(view.mountpoint, [high, low], 2)
            (high / "A/one/new").write_bytes(b"new")
            (high / "B/twice/sub/2").write_bytes(b"other")
            becomes(eyes, view.mountpoint, [high, low], 2, "the changes in both places")
    finally:
        output_of("umount", "-l", high / "B/twice")


@needs_root
@pytest.mark.parametrize("path", ["A/one/1", "A/loose"])
def test_a_file_mounted_over_a_file_is_polled(place: Path, eyes: Observer, path: str) -> None:
    """Its changes cause events in the directory of the file that is mounted."""
    high, low = (
        grow(place / "high", {**TREE, b"A": {b"one": {b"1": b"1"}, b"loose": b"1"}}),
        grow(place / "low", {b"Z": {}}),
    )
    (place / "outside").write_bytes(b"outside")
    with mounted(place / "view", high, low, depth=2, options=["--refresh=1"]) as view:
        crawled(view)
        assert eyes.read(view.mountpoint / path) == b"1"
        output_of("mount", "--bind", place / "outside", high / path)
        try:
            shows(lambda: eyes.holds(view.mountpoint / path, b"outside"), "the file that was mounted")
            crawled(view)
            for _ in range(3):
                with open(place / "outside", "ab") as file:
                    file.write(b" and more")
                size, seen = os.stat(place / "outside").st_size, view.mountpoint / path
                shows(lambda size=size, seen=seen: eyes.stat(seen).st_size == size, "its size")  # type: ignore[misc]
        finally:
            output_of("umount", high / path)
        shows(lambda: eyes.holds(view.mountpoint / path, b"1"), "the file below")


def test_changes_in_nested_sources_show_in_both_of_two_views(place: Path, eyes: Observer) -> None:
    outer = grow(place / "outer", {**TREE, b"inner": {b"C": {b"three": {b"1": b"three"}}}})
    order = [outer, outer / "inner"]
    with (
        mounted(place / "view", *order, depth=2, options=[HOURLY]) as first,
        mounted(place / "other", *order[::-1], prefer="low", depth=2, options=[HOURLY]) as second,
    ):
        for view in (first, second):
            crawled(view)
            assert not eyes.differences(view.mountpoint, order, 2)
        (outer / "inner/C/three/1").write_bytes(b"edited")
        (outer / "inner/A").mkdir()
        (outer / "A/one/sub").rename(outer / "inner/C/sub")
        for view in (first, second):
            becomes(eyes, view.mountpoint, order, 2, "a change in both sources")


def test_a_tree_moved_out_changed_and_moved_back_shows_its_changes(place: Path, eyes: Observer) -> None:
    """It is changed while it is outside, right after it is moved back, and later."""
    high, low, away = grow(place / "high", TREE), grow(place / "low", {b"Z": {}}), place / "away"
    with mounted(place / "view", high, low, depth=2, options=[HOURLY]) as view:
        crawled(view)
        for number, top in enumerate(("A/one", "A", "A/one/sub")):
            assert not eyes.differences(view.mountpoint, [high, low], 2)
            (high / top).rename(away)
            (away / "meanwhile").write_bytes(b"%d" % number)
            (high / top).mkdir()
            becomes(eyes, view.mountpoint, [high, low], 2, f"{top} away")
            (away / "further").mkdir()
            (high / top).rmdir()
            away.rename(high / top)
            (high / top / "further/more").write_bytes(b"more")
            becomes(eyes, view.mountpoint, [high, low], 2, f"{top} back")
