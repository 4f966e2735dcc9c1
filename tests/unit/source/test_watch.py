"""The watch of one source: its budget of inotify watches."""

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmirrorfs.source import watch as module
from mmirrorfs.source.marker import Way
from mmirrorfs.source.watch import Watch
from tests.support.changes import All, opened
from tests.support.trees import grow

LEFT = 24
"""inotify watches that the user may still add."""


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """An open one, without fanotify."""

    def refused() -> None:
        raise OSError(errno.EPERM, "refused")

    monkeypatch.setattr(module, "FilesystemMarks", refused)
    monkeypatch.setattr(module, "free_watches", lambda: (LEFT, 100))
    made = Watch()
    made.open(grow(tmp_path, {b"1": {}, b"2": {}}).as_posix().encode(), 4)
    try:
        yield made
    finally:
        made.close()


def mark(watch: Watch, path: Path) -> bytes:
    """Mark a directory."""
    with opened(path) as fd:
        return watch.mark(fd)


def test_the_budget_is_a_share_of_the_free_watches(watch: Watch) -> None:
    assert (watch.budget, watch.part) == (LEFT // 4, LEFT // 8)


def test_a_watch_that_ended_is_returned_to_the_budget(watch: Watch, tmp_path: Path) -> None:
    assert mark(watch, tmp_path / "1")
    assert mark(watch, tmp_path / "2")
    assert watch.budget == LEFT // 4 - 2
    shutil.rmtree(tmp_path / "1")
    watch.events(All(), set())
    assert watch.budget == LEFT // 4 - 1


def test_a_crawl_report_is_subtracted_from_the_budget_and_adopted(watch: Watch, tmp_path: Path) -> None:
    mark(watch, tmp_path / "1")
    (way,) = watch.ways
    other = Way("polled", "nfs is not a local filesystem", mount=7)
    watch.learn([(tmp_path.stat().st_dev, way.how, way.why, True, way.mount), (1, *other[:3], 7)], 3)
    assert watch.budget == LEFT // 4 - 4
    assert watch.ways == [way._replace(short=True), other]
    assert watch.part == 1


def test_a_closed_watch_marks_and_learns_nothing(watch: Watch, tmp_path: Path) -> None:
    watch.close()
    watch.learn([(1, "polled", "", False, 7)], 3)
    assert (watch.ways, watch.budget, watch.part, mark(watch, tmp_path)) == ([], 0, 0, b"")
