"""What it costs to remember an entry: bytes, by tracemalloc. The figures are printed (``pytest -rP``)."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from mmirrorfs.view.memory import Listing, Memory

from mmirrorfs.attributes import FILE, Attributes
from mmirrorfs.source.source import Source
from mmirrorfs.view.nodes import FileNode
from tests.build import sources

FOLDERS, FILES = 200, 12
"""An album has a dozen files."""
LARGE = 1 << 40
"""Larger than any limit that is reached here."""


def name_of(file: int) -> bytes:
    """A name as long as those of music files are, with 30 bytes."""
    return b"%02d - The Name of the Track.flac" % file


def attributes_of(number: int) -> Attributes:
    """Attributes that share no numbers with others."""
    time = (1_700_000_000 << 30) + number * 1_000_003
    return Attributes(
        FILE | 0o644, 1, 1000, 1000, 0, number * 30_011, number * 61, time, time + 1, time + 2, 66, number
    )


def listing(source: Source, folder: int) -> Listing:
    """A listing of nodes, as one that was just taken."""
    inner, entries = b"Artist/Album %d/" % folder, list[tuple[bytes, FileNode]]()
    for file in range(FILES):
        name = name_of(file)
        node = FileNode(source, inner + name, inner + name, FILE, False)
        node.attr = attributes_of(folder * FILES + file)
        entries.append((name, node))
    return Listing([*entries], 0.0, (1, 2, 3, folder))


def keep(memory: Memory, source: Source) -> None:
    """Remember listings."""
    for folder in range(FOLDERS):
        memory.keep((0, b"Artist/Album %d" % folder), listing(source, folder))


def see(memory: Memory, source: Source) -> None:
    """Remember files by themselves."""
    for number in range(FOLDERS * FILES):
        memory.see(0, b"Artist/Album %d/" % (number // FILES) + name_of(number % FILES), attributes_of(number))


@pytest.mark.parametrize(
    ("hot", "fill", "most"),
    [(0, keep, 300), (LARGE, keep, 1500), (0, see, 500)],
    ids=["packed", "as handed out", "by itself"],
)
def test_an_entry_that_is_remembered_costs_little(
    tmp_path: Path, hot: int, fill: Callable[[Memory, Source], None], most: int
) -> None:
    source, memory = sources(tmp_path)[0], Memory(LARGE, hot)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        fill(memory, source)
        each = (tracemalloc.get_traced_memory()[0] - before) / len(memory)
    finally:
        tracemalloc.stop()
    print(f"{each:.0f} bytes an entry")
    assert len(memory) == FOLDERS * FILES
    assert each < most
