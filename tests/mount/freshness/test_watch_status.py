"""How each source is watched, and why, in ``--status`` and the log; and ``--recheck``."""

import json
import mmap
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.disks import disk
from tests.support.mounts import View, mounted
from tests.support.namespace import namespace
from tests.support.plain import plain_view
from tests.support.plugs import PASSING, plugged
from tests.support.polling import holds, poll
from tests.support.running import called
from tests.support.trees import Tree, folders, grow
from tests.support.users import needs_root

pytestmark = needs_root

SOON = 10.0
"""Seconds for what happens at once, on a busy machine."""
UNSEEN = 3.0
"""Seconds for which a change must not show: three times the recheck interval."""
LONG = "--refresh=3600"
"""Longer than any test: nothing shows because of the timer."""
FILES = ("loose", "High/track")
NOT_PERMITTED = {"how": "inotify", "why": "fanotify: not permitted"}


@contextmanager
def viewing(place: Path, high: Path, *options: str) -> Iterator[View]:
    """A view of ``high`` and a source ``low`` in ``place``."""
    low = grow(place / "low", folders("l", "Low"))
    with mounted(place / "view", high, low, options=options) as view:
        yield view


def status(view: View) -> dict[str, Any]:
    """The JSON of ``--status``."""
    found: dict[str, Any] = json.loads(called(view.mountpoint.parent, "--status", "--json", view.mountpoint).stdout)
    return found


def watch_of(state: dict[str, Any], rank: int = 0) -> dict[str, str]:
    """The ``watch`` entry of a source."""
    found: dict[str, str] = state["sources"][rank]["watch"]
    return found


def becomes(view: View, expected: dict[str, str]) -> None:
    """Wait until the first source is watched as expected."""
    assert holds(lambda: watch_of(status(view)) == expected, SOON), watch_of(status(view))


def lines_of(text: str, *words: str) -> list[str]:
    """The lines of a log that contain all these words."""
    return [line for line in text.splitlines() if all(word in line for word in words)]


def logged(view: View, line: str) -> None:
    """Wait for a line in the log, and check that it is the only one on how ``high`` is watched."""
    poll(lambda: line in view.text(), line, SOON)
    assert len(re.findall("source high(?! scanned| was read)", view.text())) == 1, view.text()


def in_words(view: View) -> list[str]:
    """The lines of ``--status``."""
    return called(view.mountpoint.parent, "--status", "view").stdout.decode().splitlines()


@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
def test_sources_of_root_are_watched_by_fanotify(place: Path, kind: str) -> None:
    with disk(place / "high", folders("h", "High"), kind), viewing(place, place / "high", LONG) as view:
        becomes(view, {"how": "fanotify", "why": ""})
        logged(view, "source high: changes are reported by fanotify\n")
        assert in_words(view)[2] == "    changes are reported by fanotify"


def test_an_overlay_is_watched_by_inotify(place: Path) -> None:
    why = "fanotify: not possible on overlay"
    with plugged(place / "high", "overlay", folders("h", "High")), viewing(place, place / "high", LONG) as view:
        becomes(view, {"how": "inotify", "why": why})
        logged(view, f"source high: changes are reported by inotify ({why})")
        assert in_words(view)[2] == f"    changes are reported by inotify ({why})"


def test_a_fuse_source_is_polled(place: Path) -> None:
    why = "fuse.hanging is not a local filesystem"
    with plugged(place / "high", PASSING, folders("h", "High")), viewing(place, place / "high") as view:
        becomes(view, {"how": "polled", "why": f"its changes cannot be reported: {why}"})
        logged(view, f"source high is polled: {why}")
        assert in_words(view)[2] == f"    polled: its changes cannot be reported: {why}"


def test_status_names_each_filesystem_in_a_source(place: Path) -> None:
    grow(place / "high", {b"High": {}})
    inner = place / "high/High/inner"
    with plugged(inner, "overlay", {b"x": b""}), viewing(place, place / "high", LONG) as view:
        poll(lambda: watch_of(status(view))["how"] == "mixed", "both met", SOON)
        parts = watch_of(status(view))["why"].split("; ")
        assert f"{inner}: inotify (fanotify: not possible on overlay)" in parts
        assert any(part.endswith(": fanotify") for part in parts)


def test_watch_off_polls_without_watches(place: Path) -> None:
    high = grow(place / "high", folders("h", "High"))
    with viewing(place, high, "--watch=off", "--refresh=1") as view:
        assert watch_of(status(view)) == {"how": "polled", "why": "--watch=off"}
        logged(view, "source high is polled: --watch=off")
        assert in_words(view)[2] == "    polled: --watch=off"
        assert not lines_of(descriptors(view.pid), "notify")
        (high / "New").mkdir()
        poll(lambda: "New" in os.listdir(view.mountpoint), "the new folder", SOON)


def test_a_lost_source_is_not_watched_until_it_is_back(place: Path) -> None:
    with disk(place / "high", folders("h", "High")) as high, viewing(place, place / "high", "--refresh=1") as view:
        view.expect("source high .* is lost")
        view.expect("source high .* is back")
        becomes(view, {"how": "fanotify", "why": ""})
        high.unplug()
        becomes(view, {"how": "polled", "why": "it is lost"})
        high.plug()
        becomes(view, {"how": "fanotify", "why": ""})
        poll(lambda: lines_of(view.text(), "source high", "reported by"), "a line in the log", SOON)
        assert len(lines_of(view.text(), "source high", "reported by")) == 1


def test_sources_of_a_plain_user_are_watched_by_inotify(place: Path) -> None:
    high, low = sources(place)
    with namespace(place) as inside, plain_view(inside, high, low, options=[LONG]) as view:
        poll(lambda: watch_of(view.status()) == NOT_PERMITTED, "watched", SOON)
        assert "source high: changes are reported by inotify (fanotify: not permitted)" in view.text()
        assert view.status()["announce"] == {"on": False, "why": "only root may", "left_out": 0}
        assert "who watches it is not told of changes: only root may" in view.text()
        (high / "New").mkdir()
        poll(lambda: "New" in view.names(), "the new folder", SOON)
        assert "max_user_watches" not in view.text()


def test_beyond_the_inotify_limit_the_rest_is_polled_and_the_log_names_the_limit(place: Path) -> None:
    high, low = sources(place, *map(str, range(40)))
    with namespace(place) as inside:
        (place / "limit").write_text("32\n")
        inside.output_of("mount", "--bind", place / "limit", "/proc/sys/fs/inotify/max_user_watches")
        with plain_view(inside, high, low, options=["--refresh=2"]) as view:
            poll(lambda: lines_of(view.text(), "source high", "max_user_watches"), "a line in the log", SOON)
            for name in map(str, range(40)):
                (high / name / "new").touch()
            poll(lambda: all(view.names(name) == ["new", "track"] for name in map(str, range(40))), "all new", SOON)
            found = watch_of(view.status())
            assert found["how"] == "mixed"
            assert found["why"].startswith("inotify, some polled (fanotify: not permitted; inotify: no more watches")
            assert len(lines_of(view.text(), "source high: too few inotify watches", "is polled")) == 1


UNREPORTED = {
    "by the crawler": ([LONG, "--recheck=1", "--crawl=local"], True),
    "without a crawl": ([LONG, "--recheck=1", "--crawl=off"], True),
    "not rechecked": ([LONG, "--recheck=0"], False),
}
"""Options, and whether an unreported change shows."""


def test_an_unreported_change_shows_within_the_recheck_interval_or_not_at_all(place: Path) -> None:
    """A write through a mapping changes mtime at once; the kernel reports it at munmap(2) only."""
    tree: Tree = {b"loose": b"before", b"High": {b"track": b"before"}}
    low = grow(place / "low", folders("l", "Low"))
    with disk(place / "high", tree, "ext4"), ExitStack() as stack:
        views: dict[str, Path] = {}
        for name, (options, _) in UNREPORTED.items():
            view = stack.enter_context(mounted(place / name, place / "high", low, options=options))
            poll(lambda view=view: watch_of(status(view))["how"] == "fanotify", "watched", SOON)  # type: ignore[misc]
            views[name] = view.mountpoint
        with writable([place / "high" / path for path in FILES]) as maps:
            before = {name: times(top) for name, top in views.items()}
            for name, top in views.items():
                poll(partial(are_current, top, place / "high"), f"{name}: the times as they are", SOON)
            for one in maps:
                one[:] = b"behind"
            changed = time.monotonic()
            for name, (_, shows) in UNREPORTED.items():
                assert not set(times(place / "high")) & set(before[name])
                if shows:
                    poll(partial(are_current, views[name], place / "high"), f"{name}: the change", SOON)
                else:
                    left = changed + UNSEEN - time.monotonic()
                    assert not holds(partial(are_current, views[name], place / "high"), left), name


def are_current(view: Path, source: Path) -> bool:
    """Whether the files have the mtimes that they have in the source."""
    return times(view) == times(source)


def times(top: Path) -> list[int]:
    """The mtimes of FILES."""
    return [os.stat(top / path).st_mtime_ns for path in FILES]


@contextmanager
def writable(paths: Sequence[Path]) -> Iterator[list[mmap.mmap]]:
    """Writable mappings of the files."""
    maps = []
    for path in paths:
        with open(path, "r+b") as file:
            maps.append(mmap.mmap(file.fileno(), 0))
    try:
        yield maps
    finally:
        for one in maps:
            one.close()


def sources(place: Path, *names: str) -> tuple[Path, Path]:
    """Two sources; ``names`` are the folders of the first."""
    return grow(place / "high", folders("h", *(names or ["High"]))), grow(place / "low", folders("l", "Low"))


def descriptors(pid: int) -> str:
    """The targets of a process's descriptors, one per line."""
    names = os.listdir(f"/proc/{pid}/fd")
    return "\n".join(os.readlink(f"/proc/{pid}/fd/{name}") for name in names)
