"""Memory of a cached entry in bytes, by tracemalloc. The figures are printed (``pytest -rP``)."""

import tracemalloc
from collections.abc import Callable

import pytest

from mmirrorfs.attributes import FILE, Attributes
from mmirrorfs.listing import Listing, pack
from mmirrorfs.source.cache_limit import CacheLimit
from mmirrorfs.source.known import Known
from mmirrorfs.tree import EMPTY_DIRECTORY

FOLDERS, FILES = 5_000, 10
LARGE = 1 << 40
"""A limit that is not reached here."""


def path_of(folder: int) -> bytes:
    """A path as long as that of an album."""
    return b"The Artist %d/Album number %d" % (folder // 10, folder)


def name_of(file: int) -> bytes:
    """A name of 20 bytes."""
    return b"%02d - The Track.flac" % file


def attributes_of(number: int) -> Attributes:
    """Attributes that share only mode, owner and device with others."""
    time = (1_700_000_000 << 30) + number * 1_000_003
    return Attributes(
        FILE | 0o644, 1, 1000, 1000, 0, number * 30_011, number * 61, time, time + 1, time + 2, 66, number
    )


def apply(known: Known) -> None:
    """Cache whole directories."""
    for folder in range(FOLDERS):
        listed = [(name_of(file), attributes_of(folder * FILES + file)) for file in range(FILES)]
        known.apply(path_of(folder), Listing(pack((66, folder, folder, folder), True, listed), float(folder)))


def watch(known: Known) -> None:
    """Cache whole watched directories: the file handles of ext4 have 8 bytes."""
    for folder in range(FOLDERS):
        listed = [(name_of(file), attributes_of(folder * FILES + file)) for file in range(FILES)]
        key = b"%020d" % folder
        known.apply(path_of(folder), Listing(pack((66, folder, folder, folder), True, listed), float(folder), key=key))


def amend(known: Known) -> None:
    """Cache single files."""
    for number in range(FOLDERS * FILES):
        known.amend(path_of(number // FILES), name_of(number % FILES), attributes_of(number), float(number))


@pytest.mark.parametrize(
    ("fill", "most"), [(apply, 120), (watch, 120), (amend, 600)], ids=["in its directory", "watched", "by itself"]
)
def test_a_cached_entry_costs_a_bounded_number_of_bytes(fill: Callable[[Known], None], most: int) -> None:
    known = Known(EMPTY_DIRECTORY, CacheLimit(LARGE))
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        fill(known)
        each = (tracemalloc.get_traced_memory()[0] - before) / (FOLDERS * FILES)
    finally:
        tracemalloc.stop()
    print(f"{each:.0f} bytes an entry")
    assert each <= most
    assert each <= 120 * known.used / (FOLDERS * FILES), "the used room corresponds to the memory"
