"""Announcements: a process that watches a view with inotify(7) gets the events of changes in the sources.

The watcher is a process of its own that has listed the whole view before. The sources report their changes, so
``--refresh`` plays no part.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.fresh import REFRESH, becomes, observer
from tests.support.hanging import freed, hanging
from tests.support.held import crawled, status
from tests.support.mounts import View, mounted
from tests.support.mutator import Mutator
from tests.support.polling import holds, poll
from tests.support.trees import Tree, grow
from tests.support.users import needs_root
from tests.support.waiting import Asked
from tests.support.watched import HOURLY
from tests.support.watcher import Event, Watcher, below, watcher

pytestmark = [pytest.mark.waits, pytest.mark.mount(seconds=90), needs_root]

HIGH: Tree = {
    b"Ann": {b"Both": {b"1": b"high", b"sub": {b"2": b"high"}}, b"High": {b"1": b"high"}, b"loose": b"loose"},
    b"Bob": {b"Album": {b"1": b"high"}},
}
LOW: Tree = {
    b"Ann": {b"Both": {b"1": b"low"}, b"Low": {b"1": b"low"}},
    b"Cid": {b"Album": {b"1": b"low"}},
}
ORDER = (("high", HIGH), ("low", LOW))


@dataclass
class Watched:
    """A view with a watcher on it, and its sources."""

    high: Path
    low: Path
    view: View
    watcher: Watcher


@pytest.fixture
def watched(place: Path) -> Iterator[Watched]:
    high, low = grow(place / "high", HIGH), grow(place / "low", LOW)
    with mounted(place / "view", high, low, depth=2, options=[HOURLY]) as view:
        crawled(view)
        with watcher(view.mountpoint) as heard:
            yield Watched(high, low, view, heard)


def edit(path: Path, text: bytes) -> None:
    """Edit a file in place, as a tagger does."""
    with open(path, "r+b") as file:
        file.write(text)


def replace(path: Path, text: bytes) -> None:
    """Replace a file by rename, as most editors do."""
    new = path.with_name(".new")
    new.write_bytes(text)
    new.rename(path)


def move_out(path: Path) -> Path:
    """Move a path out of its source; returns the new path."""
    top = next(above for above in path.parents if above.name in ("high", "low"))
    return path.rename(top.parent / "-".join(path.relative_to(top.parent).parts))


def move_in(path: Path, tree: Tree | bytes) -> Path:
    """Make a tree or a file beside its source, and move it in, so that it is never seen in part."""
    top = next(above for above in path.parents if above.name in ("high", "low"))
    new = top.parent / "-".join(("new", *path.relative_to(top.parent).parts))
    if isinstance(tree, bytes):
        new.write_bytes(tree)
    else:
        grow(new, tree)
    return new.rename(path)


Change = Callable[[Path, Path], object]
"""A change to the two sources."""

CHANGES: dict[str, tuple[Change, list[Event]]] = {
    "a new artist": (lambda high, low: move_in(low / "Dan", {b"New": {b"1": b"n"}}), [("MOVED_TO,ISDIR", "Dan")]),
    "a new album": (lambda high, low: move_in(low / "Ann/New", {b"1": b"n"}), [("MOVED_TO,ISDIR", "Ann/New")]),
    "a new loose file": (lambda high, low: move_in(low / "Ann/new", b"n"), [("MOVED_TO", "Ann/new")]),
    "a new track": (lambda high, low: move_in(high / "Ann/Both/3", b"n"), [("MOVED_TO", "Ann/Both/3")]),
    "a new track, further down": (
        lambda high, low: move_in(high / "Ann/Both/sub/4", b"n"),
        [("MOVED_TO", "Ann/Both/sub/4")],
    ),
    "a new directory in an album": (
        lambda high, low: grow(high / "Ann/Both/more", {}),
        [("MOVED_TO,ISDIR", "Ann/Both/more")],
    ),
    "an edit": (
        lambda high, low: edit(high / "Ann/Both/1", b"longer than before"),
        [("MODIFY", "Ann/Both/1"), ("CLOSE_WRITE", "Ann/Both/1")],
    ),
    "an edit of the same size": (
        lambda high, low: edit(high / "Ann/Both/sub/2", b"HIGH"),
        [("MODIFY", "Ann/Both/sub/2"), ("CLOSE_WRITE", "Ann/Both/sub/2")],
    ),
    "an edit of a loose file": (
        lambda high, low: edit(high / "Ann/loose", b"LOOSE"),
        [("MODIFY", "Ann/loose"), ("CLOSE_WRITE", "Ann/loose")],
    ),
    "an edit to nothing": (
        lambda high, low: os.truncate(high / "Ann/Both/1", 0),
        [("MODIFY", "Ann/Both/1"), ("CLOSE_WRITE", "Ann/Both/1")],
    ),
    "a track that another file replaces": (
        lambda high, low: replace(high / "Ann/Both/1", b"other"),
        [("MOVED_TO", "Ann/Both/1"), ("MODIFY", "Ann/Both/1"), ("CLOSE_WRITE", "Ann/Both/1")],
    ),
    "another mode": (lambda high, low: (high / "Ann/Both/1").chmod(0o600), [("ATTRIB", "Ann/Both/1")]),
    "another mode of an album": (lambda high, low: (high / "Ann/Both").chmod(0o750), [("ATTRIB,ISDIR", "Ann/Both")]),
    "another mode of an artist": (lambda high, low: (high / "Ann").chmod(0o750), [("ATTRIB,ISDIR", "Ann")]),
    "another owner": (lambda high, low: os.chown(high / "Ann/loose", 1, 1), [("ATTRIB", "Ann/loose")]),
    "a track that is renamed": (
        lambda high, low: (high / "Ann/Both/1").rename(high / "Ann/Both/9"),
        [("DELETE", "Ann/Both/1"), ("MOVED_TO", "Ann/Both/9")],
    ),
    "an album that is renamed": (
        lambda high, low: (high / "Ann/High").rename(high / "Ann/Renamed"),
        [("DELETE,ISDIR", "Ann/High"), ("MOVED_TO,ISDIR", "Ann/Renamed")],
    ),
    "an artist who is renamed": (
        lambda high, low: (high / "Bob").rename(high / "Rob"),
        [("DELETE,ISDIR", "Bob"), ("MOVED_TO,ISDIR", "Rob")],
    ),
    "a track that is removed": (lambda high, low: (high / "Ann/Both/1").unlink(), [("DELETE", "Ann/Both/1")]),
    "a directory that is removed": (
        lambda high, low: shutil.rmtree(high / "Ann/Both/sub"),
        [("DELETE,ISDIR", "Ann/Both/sub")],
    ),
    "an album that is removed": (lambda high, low: shutil.rmtree(low / "Ann/Low"), [("DELETE,ISDIR", "Ann/Low")]),
    "an artist who is removed": (lambda high, low: shutil.rmtree(low / "Cid"), [("DELETE,ISDIR", "Cid")]),
    "an album that is moved out": (lambda high, low: move_out(low / "Ann/Low"), [("DELETE,ISDIR", "Ann/Low")]),
    "an artist who is moved out": (lambda high, low: move_out(low / "Cid"), [("DELETE,ISDIR", "Cid")]),
    "a takeover": (
        lambda high, low: move_in(high / "Ann/Low", {b"1": b"high"}),
        [("DELETE,ISDIR", "Ann/Low"), ("MOVED_TO,ISDIR", "Ann/Low")],
    ),
    "a fall-back": (
        lambda high, low: move_out(high / "Ann/Both"),
        [("DELETE,ISDIR", "Ann/Both"), ("MOVED_TO,ISDIR", "Ann/Both")],
    ),
    "an album that a file replaces": (
        lambda high, low: (move_out(low / "Ann/Low"), (low / "Ann/Low").write_bytes(b"file")),
        [("DELETE,ISDIR", "Ann/Low"), ("MOVED_TO", "Ann/Low")],
    ),
    "a track of a source that does not win": (lambda high, low: grow(low / "Ann/Both", {b"3": b"n"}), []),
    "an album that goes from a source that does not win": (lambda high, low: shutil.rmtree(low / "Ann/Both"), []),
}
"""Each change with the events that a watcher gets. docs/behaviour.md has this table."""
PASSING = {"MODIFY", "CLOSE_WRITE", "ATTRIB"}
"""Events that may come in addition for the same path, which is seen while it is being written."""
PIECEMEAL = {"a directory that is removed", "an album that is removed", "an artist who is removed"}
"""Changes that remove one entry after the other: what is in a directory may be seen to go before the directory."""


AT_THE_TOP = (
    "a new artist",
    "another mode of an artist",
    "an artist who is renamed",
    "an artist who is removed",
    "an artist who is moved out",
)
"""Changes that are tried at the top of the sources too."""


def test_every_change_is_announced_as_its_kind_of_event(place: Path) -> None:
    """Each change has its own subtree of one view."""
    parts = {name: f"{number:02}" for number, name in enumerate(CHANGES)}
    high, low = (grow(place / name, dict.fromkeys(map(os.fsencode, parts.values()), tree)) for name, tree in ORDER)
    with mounted(place / "view", high, low, depth=3, options=[HOURLY]) as view:
        crawled(view)
        with watcher(view.mountpoint) as heard:
            for name, part in parts.items():
                check_announced(name, Watched(high / part, low / part, view, heard), f"{part}/")


@pytest.mark.parametrize("change", AT_THE_TOP)
def test_a_change_at_the_top_is_announced_as_its_kind_of_event(watched: Watched, change: str) -> None:
    check_announced(change, watched)


def check_announced(change: str, watched: Watched, part: str = "") -> None:
    """Make a change and then a marker change; check the events between the two in that subtree."""
    act, announced = CHANGES[change]
    expected = [(names, part + path) for names, path in announced]
    act(watched.high, watched.low)
    watched.watcher.hears(*expected)
    grow(watched.high, {b"Bob2": {}, b"Ann": {b"last": b"l", b"Both": {b"last": b"l"}}})
    watched.watcher.hears(("MOVED_TO,ISDIR", f"{part}Bob2"), ("MOVED_TO", f"{part}Ann/last"))
    last = {part + path for path in ("Bob2", "Ann/last", "Ann/Both", "Ann/Both/last")}
    events = [event for event in watched.watcher.events() if event[1].startswith(part)]
    found = [(names, path) for names, path in events if path not in last or (names, path) in expected]
    if change in PIECEMEAL:
        above = tuple(f"{path}/" for _, path in expected)
        found = [(names, path) for names, path in found if not (names.startswith("DELETE") and path.startswith(above))]
    besides = [event for event in found if event not in expected]
    assert [event for event in besides if event[0] not in PASSING] == [], change
    assert {path for _, path in besides} <= {path for _, path in expected}, change
    assert len([event for event in found if event in expected]) <= 2 * len(expected), change


def test_an_announced_change_is_visible_in_the_view(watched: Watched) -> None:
    """By the time of its event, any process sees the change."""
    for number in range(20):
        grow(watched.low / f"Ann/New{number}", {b"1": b"n"})
        watched.watcher.hears(("MOVED_TO,ISDIR", f"Ann/New{number}"))
        assert os.listdir(watched.view.mountpoint / f"Ann/New{number}") == ["1"]
        shutil.rmtree(watched.low / f"Ann/New{number}")
        watched.watcher.hears(("DELETE,ISDIR", f"Ann/New{number}"))
        assert not (watched.view.mountpoint / f"Ann/New{number}").exists()


def test_the_mount_is_read_only_and_status_says_that_changes_are_announced(watched: Watched) -> None:
    line = next(line for line in Path("/proc/self/mounts").read_text().splitlines() if "fuse.mmirrorfs" in line)
    assert line.split()[3].startswith("ro,nosuid,nodev")
    assert status(watched.view)["announce"] == {"on": True, "why": "", "left_out": 0}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_tree_kept_from_events_alone_equals_the_view_after_each_burst(place: Path, seed: int) -> None:
    """The watcher builds a set of paths from events only; after random changes it converges to the view."""
    order = [place / "high", place / "low"]
    for source in order:
        source.mkdir()
    mutator = Mutator([os.fsencode(source) for source in order], seed)
    for _ in range(300):
        mutator.step()
    with (
        mounted(place / "view", *order, depth=2, options=[HOURLY]) as view,
        watcher(view.mountpoint) as heard,
        observer() as eyes,
    ):
        crawled(view)
        for _ in range(25):
            steps = [mutator.step() for _ in range(4)]
            becomes(eyes, view.mountpoint, order, 2, "when the sources rest")
            names = below(view.where)
            assert holds(lambda: heard.picture() == names, 10), f"{heard.picture() ^ names} after {steps}"  # noqa: B023
        assert not [event for event in heard.events() if "OVERFLOW" in event[0]]


def test_a_hanging_source_does_not_delay_events_of_another(place: Path) -> None:
    under, low = grow(place / "under", {b"Net": {b"Album": {b"1": b"n"}}}), grow(place / "low", LOW)
    with (
        hanging(under, place / "net") as net,
        mounted(place / "view", place / "net", low, depth=2, options=[REFRESH]) as view,
        freed(net),
        watcher(view.mountpoint) as heard,
    ):
        net.hang()
        asked = Asked(lambda: (view.mountpoint / "Net/Album/1").read_bytes())
        poll(lambda: asked.is_waiting, "somebody who waits for it")
        grow(low / "Ann/New", {b"1": b"n"})
        heard.hears(("MOVED_TO,ISDIR", "Ann/New"))
        grow(low / "Ann/Low", {b"2": b"n"})
        heard.hears(("MOVED_TO", "Ann/Low/2"))
        net.go_on()
        assert asked.answer(20) == b"n"


def test_announce_off_sends_no_events(place: Path) -> None:
    high, low = grow(place / "high", HIGH), grow(place / "low", LOW)
    with mounted(place / "view", high, low, depth=2, options=[HOURLY, "--announce=off"]) as view:
        crawled(view)
        assert status(view)["announce"] == {"on": False, "why": "--announce=off", "left_out": 0}
        with watcher(view.mountpoint) as heard:
            grow(low / "Ann/New", {b"1": b"n"})
            poll(lambda: (view.mountpoint / "Ann/New").exists(), "the change")
            edit(high / "Ann/Both/1", b"longer than before")
            poll(lambda: (view.mountpoint / "Ann/Both/1").read_bytes() == b"longer than before", "the edit")
            assert heard.events() == []
