"""Lost events and lost marks: every change shows after a rescan.

The queue limits of the kernel are lowered while the daemon starts; the sources are on a filesystem of their own.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.disks import disk
from tests.support.fresh import Observer, becomes, observer
from tests.support.held import crawled
from tests.support.mounts import mounted
from tests.support.plugs import plugged
from tests.support.polling import poll
from tests.support.trees import Tree, grow
from tests.support.users import needs_root, output_of
from tests.support.watched import HOURLY, OVERLAY, source

pytestmark = [pytest.mark.mount(seconds=90), needs_root]

ALBUMS: Tree = {b"%02d" % album: {b"1": b"track", b"sub": {b"2": b"track"}} for album in range(30)}
HIGH: Tree = {b"%02d" % artist: ALBUMS for artist in range(10)}
LOW: Tree = {b"Other": ALBUMS}
MISSING = ("05/07/new", "05/07/sub/new", "05/new", "new", "05/31")
QUEUE = 64
"""Events that an event queue holds."""


@contextlib.contextmanager
def short_queues() -> Iterator[None]:
    """Event queues created in the block hold QUEUE events."""
    limits = [Path(f"/proc/sys/fs/{kind}/max_queued_events") for kind in ("fanotify", "inotify")]
    before = [limit.read_text() for limit in limits]
    try:
        for limit in limits:
            limit.write_text(str(QUEUE))
        yield
    finally:
        for limit, value in zip(limits, before, strict=True):
            limit.write_text(value)


def change(high: Path) -> None:
    """Make more changes than a queue holds, then create the MISSING names."""
    for number in range(20 * QUEUE):
        track = high / f"{number % 10:02}/{number // 10 % 30:02}" / ("sub/2" if number % 2 else "1")
        track.write_bytes(b"edit%d" % (number % 10))
    for name in ("05/07/new", "05/07/sub/new", "05/new", "new"):
        (high / name).write_bytes(b"new")
    (high / "05/31").mkdir()
    (high / "05/31/track").write_bytes(b"new")
    (high / "02/02").rename(high / "02/renamed")


def miss(eyes: Observer, view: Path) -> None:
    """Look up the names that are created later."""
    for name in MISSING:
        assert not eyes.exists(view / name)


@pytest.mark.alone
@pytest.mark.parametrize("kind", ["tmpfs", OVERLAY])
def test_changes_lost_in_a_queue_overflow_show_after_a_rescan(place: Path, kind: str) -> None:
    """One is watched by fanotify, the other by inotify."""
    with (
        source(place / "high", kind, HIGH) as high,
        source(place / "low", "tmpfs", LOW) as low,
        observer() as eyes,
        contextlib.ExitStack() as stack,
    ):
        with short_queues():
            view = stack.enter_context(mounted(place / "view", high, low, depth=2, options=[HOURLY]))
            view.expect("source .*: reports were lost; everything in it is scanned again")
            crawled(view)
        assert not eyes.differences(view.mountpoint, [high, low], 2)
        miss(eyes, view.mountpoint)
        view.send(signal.SIGSTOP)
        try:
            change(high)
        finally:
            view.send(signal.SIGCONT)
        becomes(eyes, view.mountpoint, [high, low], 2, "what changed while it was stopped")
        (high / "03/03/after").write_bytes(b"reported as before")
        becomes(eyes, view.mountpoint, [high, low], 2, "what changed since")


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_changes_made_to_an_unplugged_disk_show_when_it_is_back(place: Path, kind: str) -> None:
    """Once before the loss is noticed and once after it; the disk is watched again each time."""
    low, elsewhere = grow(place / "low", LOW), place / "elsewhere"
    elsewhere.mkdir()
    with (
        disk(place / "high", HIGH, kind) as high,
        mounted(place / "view", high.where, low, depth=2, options=[HOURLY]) as view,
        observer() as eyes,
    ):
        view.expected += ["is lost", "is back"]
        crawled(view)
        assert not eyes.differences(view.mountpoint, [high.where, low], 2)
        miss(eyes, view.mountpoint)
        for number in range(2):
            high.unplug()
            if number:
                poll(lambda: "is lost" in view.text(), "the loss")
            with mounted_elsewhere(high.where.with_suffix(".img"), elsewhere):
                track = elsewhere / "05/07/1"
                times = track.stat()
                track.write_bytes(b"else%d" % number)
                os.utime(track, ns=(times.st_atime_ns, times.st_mtime_ns))
                (elsewhere / f"05/new {number}").write_bytes(b"new")
                (elsewhere / f"05/07/sub/new {number}").write_bytes(b"new")
            high.plug()
            becomes(eyes, view.mountpoint, [high.where, low], 2, "what was changed elsewhere")
            (high.where / f"03/03/after {number}").write_bytes(b"reported again")
            becomes(eyes, view.mountpoint, [high.where, low], 2, "what changed since")


@pytest.mark.alone
@pytest.mark.parametrize("place_of", ["the root", "inside"])
def test_a_disk_replugged_while_the_daemon_was_stopped_is_rescanned(place: Path, place_of: str) -> None:
    """The mount table has the same lines as before, with the same ids."""
    low, elsewhere = grow(place / "low", LOW), place / "elsewhere"
    high = place / "high" if place_of == "the root" else grow(place / "high", {b"B": ALBUMS})
    elsewhere.mkdir()
    with (
        disk(high if place_of == "the root" else high / "A", HIGH if place_of == "the root" else ALBUMS, "ext4") as own,
        mounted(place / "view", high, low, depth=2, options=[HOURLY]) as view,
        observer() as eyes,
    ):
        crawled(view)
        assert not eyes.differences(view.mountpoint, [high, low], 2)
        before = table()
        view.send(signal.SIGSTOP)
        try:
            own.unplug()
            with mounted_elsewhere(own.where.with_suffix(".img"), elsewhere):
                track = next(path for path in sorted(elsewhere.rglob("*")) if path.is_file())
                track.write_bytes(b"elsewhere")
                (track.parent / "new").write_bytes(b"new")
            own.plug()
        finally:
            view.send(signal.SIGCONT)
        assert table() == before
        becomes(eyes, view.mountpoint, [high, low], 2, "what was changed elsewhere")
        (own.where / track.relative_to(elsewhere)).write_bytes(b"reported again")
        becomes(eyes, view.mountpoint, [high, low], 2, "what changed since")


def table() -> list[str]:
    """The mount table."""
    return sorted(Path("/proc/self/mountinfo").read_text().splitlines())


@contextlib.contextmanager
def mounted_elsewhere(image: Path, where: Path) -> Iterator[None]:
    """Mount a disk at another path."""
    output_of("mount", *(("--bind",) if image.is_dir() else ("-o", "loop")), image, where)
    try:
        yield
    finally:
        output_of("umount", where)


def test_a_disk_mounted_inside_a_source_appears_and_disappears(place: Path) -> None:
    high, low = grow(place / "high", {b"Inner": {}, b"A": ALBUMS}), grow(place / "low", LOW)
    with (
        plugged(place / "other", "tmpfs", {b"album": {b"1": b"inner"}}) as other,
        mounted(place / "view", high, low, depth=2, options=[HOURLY]) as view,
        observer() as eyes,
    ):
        crawled(view)
        assert not eyes.differences(view.mountpoint, [high, low], 2)
        output_of("mount", "--bind", other.where, high / "Inner")
        try:
            becomes(eyes, view.mountpoint, [high, low], 2, "what was mounted inside")
            (high / "Inner/album/2").write_bytes(b"new")
            becomes(eyes, view.mountpoint, [high, low], 2, "a change in it")
        finally:
            output_of("umount", "-l", high / "Inner")
        becomes(eyes, view.mountpoint, [high, low], 2, "what was below it")
