"""Watches on directories, the keys that events carry, and checks that all of a tree is watched."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from mmirrorfs.source.events import CREATE, ONDIR, Event
from mmirrorfs.source.fanotify import FilesystemMarks
from mmirrorfs.source.handles import handle_of
from mmirrorfs.source.inotify import Watches
from mmirrorfs.source.marker import Marker, Way
from tests.support.changes import (
    CASES,
    TREE,
    All,
    comes,
    opened,
    said,
    watch,
)
from tests.support.trees import grow


@contextlib.contextmanager
def instance() -> Iterator[Watches]:
    made = Watches()
    try:
        yield made
    finally:
        made.close()


ENOUGH = 1000


class Watching:
    """A marker, and the watches that it adds."""

    def __init__(self, stack: contextlib.ExitStack, fanotify: bool, inotify: bool, budget: int) -> None:
        self.marks = FilesystemMarks() if fanotify else None
        self.watches = Watches() if inotify else None
        self.marker = Marker(
            self.marks.descriptor if self.marks is not None else None,
            self.watches.descriptor if self.watches is not None else None,
            budget,
        )
        for one in (self.marker, self.marks, self.watches):
            if one is not None:
                stack.callback(one.close)

    def mark(self, path: Path) -> bytes:
        with opened(path) as fd:
            return self.marker.mark(fd)

    def way(self, path: Path) -> Way:
        self.mark(path)
        return self.marker.ways[path.stat().st_dev]

    def events(self) -> list[Event]:
        return [event for of in (self.marks, self.watches) if of is not None for event in of.events(All())]

    def hears(self, path: Path) -> bool:
        """Whether changes in a directory are reported under its key."""
        key = self.mark(path)
        (path / "new").mkdir()
        found = [event for event in self.events() if event.key == key]
        (path / "new").rmdir()
        self.events()
        return bool(key) and said(found, {key: ""}) == {("", "new"): CREATE | ONDIR}


@contextlib.contextmanager
def watching(fanotify: bool = True, inotify: bool = True, budget: int = ENOUGH) -> Iterator[Watching]:
    with contextlib.ExitStack() as stack:
        yield Watching(stack, fanotify, inotify, budget)


def key_of(path: Path) -> bytes:
    with opened(path) as fd:
        return handle_of(fd)


def check(where: Path) -> None:
    """Assert that every directory of the table is watched."""
    found, expected = {}, {}
    for case, change in CASES.items():
        top = grow(where / case / "top", TREE)
        with instance() as watches:
            names = watch(top, watches.add)
            change.do(top)
            expected[case] = change.said_by_inotify
            found[case] = comes(watches.events, names, change.said_by_inotify)
    assert found == expected
