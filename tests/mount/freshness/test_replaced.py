"""A file that is changed under readers: every open returns the bytes of one version.

The daemon may have seen the change before, in a listing or a lookup of a neighbour, while the kernel still has the old
attributes.
"""

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.fresh import trees
from tests.support.hanging import hanging
from tests.support.mounts import mounted
from tests.support.polling import poll
from tests.support.trees import Tree
from tests.support.users import needs_root

pytestmark = [pytest.mark.waits, needs_root]

SIZE = 1 << 20
OLD, NEW = b"o" * SIZE, b"n" * SIZE
FILES: Tree = {b"track": OLD, b"neighbour": b"n", b"another": b"a"}
HIGH: Tree = {b"A": FILES, b"track": OLD}


def replace(path: Path, data: bytes = NEW) -> None:
    """Replace a file by rename."""
    new = path.with_name(path.name + ".new")
    new.write_bytes(data)
    new.rename(path)


def edit(path: Path, data: bytes = NEW) -> None:
    """Overwrite a file in place."""
    with open(path, "r+b") as file:
        file.write(data)
        file.truncate()


def open_only(directory: Path) -> None:
    """Open a directory without reading it: the daemon lists it, and the kernel gets no attributes."""
    os.close(os.open(directory, os.O_RDONLY | os.O_DIRECTORY))


WAYS = {"replaced": replace, "edited": edit}
SEEN: dict[str, Callable[[Path], object]] = {
    "an opened directory": lambda folder: open_only(folder),
    "a lookup of a name that is not there": lambda folder: (folder / "absent").exists(),
    "a lookup of a neighbour": lambda folder: (folder / "neighbour").exists(),
    "a listing": lambda folder: os.listdir(folder),
    "nothing": lambda folder: None,
}


@pytest.mark.parametrize("kind", ["local", "pass-through"])
def test_a_changed_file_never_mixes_old_and_new_bytes(place: Path, kind: str) -> None:
    cases = {f"{way}, {seen}": (way, seen) for way in WAYS for seen in SEEN}
    high, low, view = trees(place, {os.fsencode(folder): FILES for folder in cases}, {b"B": {}})
    with ExitStack() as stack:
        source = high if kind == "local" else stack.enter_context(hanging(high, place / "passing")).mountpoint
        stack.enter_context(mounted(view, source, low, options=["--refresh=600"]))
        for folder, (way, seen) in cases.items():
            assert (view / folder / "track").read_bytes() == OLD
            WAYS[way](high / folder / "track")
            SEEN[seen](view / folder)
            assert (view / folder / "track").read_bytes() == NEW, folder


def test_a_file_whose_size_changed_is_read_to_its_new_end(place: Path) -> None:
    cases = {f"{way}, {size}": (way, size) for way in WAYS for size in (SIZE // 2, SIZE - 1, 2 * SIZE)}
    high, low, view = trees(place, {os.fsencode(folder): FILES for folder in cases}, {b"B": {}})
    with mounted(view, high, low, options=["--refresh=600"]):
        for folder, (way, size) in cases.items():
            assert (view / folder / "track").read_bytes() == OLD
            WAYS[way](high / folder / "track", b"x" * size)
            open_only(view / folder)
            assert (view / folder / "track").read_bytes() == b"x" * size, folder
            assert (view / folder / "track").stat().st_size == size, folder


def test_a_listing_renewed_for_a_neighbour_does_not_count_as_told_to_the_kernel(place: Path) -> None:
    """The listing is older than the attributes that the kernel caches of the track; a lookup renews it."""
    high, low, view = trees(place, HIGH, {b"B": {}})
    with mounted(view, high, low, options=["--refresh=4"]):
        started = time.monotonic()
        os.listdir(view / "A")
        poll(lambda: time.monotonic() - started > 1.5, "most of the time that a listing is kept")
        assert (view / "A/track").read_bytes() == OLD
        replace(high / "A/track")
        poll(lambda: time.monotonic() - started > 2, "all of that time")
        assert (view / "A/neighbour").read_bytes() == b"n"
        assert (view / "A/another").read_bytes() == b"a"
        assert (view / "A/track").read_bytes() == NEW


@pytest.mark.parametrize("way", WAYS)
def test_a_changed_loose_file_never_mixes_old_and_new_bytes(place: Path, way: str) -> None:
    high, low, view = trees(place, HIGH, {b"B": {}})
    with mounted(view, high, low, options=["--refresh=600"]):
        assert (view / "track").read_bytes() == OLD
        WAYS[way](high / "track")
        open_only(view)
        assert (view / "track").read_bytes() == NEW


def test_one_descriptor_never_returns_new_bytes_after_old_ones(place: Path) -> None:
    """The first quarter was cached before; what is opened afterwards has new bytes only."""
    high, low, view = trees(place, HIGH, {b"B": {}})
    with mounted(view, high, low, options=["--refresh=600"]):
        with open(view / "A/track", "rb", buffering=0) as file:
            assert file.read(SIZE // 4) == OLD[: SIZE // 4]
        for turn in range(1, 6):
            data = bytes([turn]) * SIZE
            replace(high / "A/track", data)
            open_only(view / "A")
            with open(view / "A/track", "rb", buffering=0) as file:
                got = file.read(SIZE // 4) + os.pread(file.fileno(), SIZE, SIZE // 4)
            assert set(got) == {turn}, "old and new bytes"
