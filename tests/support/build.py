"""Fixtures of tests without a mount: sources on disk, views of them, and clocks that a test sets."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from mmirrorfs.attributes import Attributes
from mmirrorfs.merge.index import merge, without
from mmirrorfs.merge.inodes import ROOT
from mmirrorfs.source import list_directory, scan
from mmirrorfs.source.freshness import Freshness
from mmirrorfs.source.source import Source
from mmirrorfs.tree import Rank
from mmirrorfs.view.directories import Directories
from mmirrorfs.view.nodes import FileNode, Node
from mmirrorfs.view.state import State
from mmirrorfs.view.view import View


@contextmanager
def deep(where: Path, levels: int, name: str) -> Iterator[str]:
    """Nested directories, longer than PATH_MAX allows for one path, with a file and a link to it in the innermost.

    They are removed when the block ends: pytest removes temporary directories recursively, which fails on them.
    """
    fd = os.open(where, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=fd)
        inner = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    with open(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=fd), "wb") as file:
        file.write(b"deep")
    os.symlink("file", "link", dir_fd=fd)
    os.close(fd)
    try:
        yield "/".join([name] * levels)
    finally:
        subprocess.run(["rm", "-rf", str(where / name)], check=True)


_moments = count(1_600_000_000)


def move(path: Path) -> None:
    """Give a path an mtime that it never had, however coarse the timestamps of the filesystem are."""
    moment = next(_moments) * 10**9
    os.utime(path, ns=(moment, moment), follow_symlinks=False)


class Clock:
    """A monotonic clock in seconds that a test advances. Scans and listings of sources use it too."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.monotonic()
        for module in (list_directory, scan):
            monkeypatch.setattr(module, "time", self)

    def monotonic(self) -> float:
        return self.now

    def time_ns(self) -> int:
        return time.time_ns()

    def __call__(self) -> float:
        return self.now


def sources(*roots: Path, depth: int = 1, local: bool = True) -> list[Source]:
    """The sources at these roots, the highest first, named after them."""
    return [Source(Rank(rank), root.name, os.fsencode(root), depth, local=local) for rank, root in enumerate(roots)]


@dataclass
class Heard:
    """Records what a view reports, and removes missing paths from its index, as the refresher does."""

    state: State
    losses: list[Source] = field(default_factory=list)
    gone: list[bytes] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)

    def lost(self, source: Source) -> None:
        self.losses.append(source)

    def missing(self, source: Source, paths: list[bytes]) -> None:
        self.gone += paths
        known = self.state.known[source.rank]
        known.install(without(known.tree, paths))
        self.merge_pending()

    def merge_pending(self) -> bool:
        inodes = self.state.inodes
        if all(known.tree is tree for known, tree in zip(self.state.known, inodes.index.inputs, strict=True)):
            return False
        inodes.install(merge(tuple(known.tree for known in self.state.known), inodes.order, before=inodes.index))
        return True

    def contents(self, node: FileNode) -> None:
        self.changed.append(node.ino)


ASKED = ("stat", "stat_several", "open_directory", "open_content", "readlink", "getxattr")
"""The methods of Reader that access a source, except the listing of a directory that is open."""


def asked(source: Source, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Record the calls of a source's reader from now on, as (method, path)."""
    calls: list[tuple[str, str]] = []

    def counting(name: str, call: Callable[..., object]) -> Callable[..., object]:
        def counted(path: bytes, *args: object) -> object:
            calls.append((name, os.fsdecode(path)))
            return call(path, *args)

        return counted

    for name in ASKED:
        monkeypatch.setattr(source.reader, name, counting(name, getattr(source.reader, name)))
    return calls


KEEP = 10.0
"""Seconds for which the views of these tests cache what they found."""


def lasting(clock: Callable[[], float]) -> Freshness:
    """A maximum staleness of 20 s, by that clock."""
    return Freshness(keep=KEEP, kernel=10.0, period=20.0, clock=clock)


def rescan(view: View, now_ns: int = 0) -> None:
    """Scan every source and install a new index, as the refresher does."""
    for source, known in zip(view.sources, view.known, strict=True):
        known.install(source.scan(known.tree))
    inodes = view.inodes
    inodes.install(merge(tuple(known.tree for known in view.known), inodes.order, before=inodes.index, now_ns=now_ns))


def state_of(
    sources: Sequence[Source], order: Sequence[int] | None = None, freshness: Freshness | None = None
) -> State:
    """The state of a view of the sources as they are now. The first source wins unless ``order`` says otherwise."""
    ranks = tuple(Rank(rank) for rank in (range(len(sources)) if order is None else order))
    index = merge(tuple(source.scan(None) for source in sources), ranks)
    return State.of(sources, ranks, index, freshness or lasting(time.monotonic))


def view_of(
    sources: Sequence[Source],
    order: Sequence[int] | None = None,
    clock: Clock | None = None,
    freshness: Freshness | None = None,
) -> View:
    """A view of that state whose reports are recorded (``heard``)."""
    state = state_of(sources, order, freshness or lasting(clock or time.monotonic))
    return View(state, Heard(state))


def heard(view: View) -> Heard:
    """The reports of a view that ``view_of`` made."""
    reports = view._reports
    assert isinstance(reports, Heard)
    return reports


async def find(view: View, path: str) -> Node:
    """Look up each name of a path in turn, with a lookup count each, as the kernel does."""
    node = view.inodes.node(ROOT)
    for name in path.split("/") if path else ():
        node = await view.lookup(node.ino, os.fsencode(name))
        view.inodes.held.count(node)
    return node


async def seen(view: View, path: str) -> Attributes:
    """The attributes that stat(2) of a path returns."""
    return view.answer(await find(view, path))[0]


async def listed(directories: Directories, node: Node) -> dict[str, tuple[Node, Attributes]]:
    """The entries of a directory: opendir, readdir to the end, releasedir."""
    handle = await directories.open(node.ino)
    try:
        return {
            os.fsdecode(name): (node, attr)
            for name, node, attr, _ in await directories.entries(handle, 0)
            if attr is not None
        }
    finally:
        directories.release(handle)
