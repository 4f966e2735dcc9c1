"""Events of inotify watches on several kinds of filesystem, at unmounting, and at the limits."""

import errno
import sys
from pathlib import Path

import pytest

from mmirrorfs.source.events import CREATE, IGNORED, ONDIR, OVERFLOW, UNMOUNT, Event
from mmirrorfs.source.inotify import Watches
from tests.support.changes import (
    make_subvolume,
    said,
    setting,
    watch,
)
from tests.support.marking import check, instance
from tests.support.plugs import plugged
from tests.support.trees import grow
from tests.support.users import needs_root, output_of, run

KINDS = ("ext4", "xfs", "btrfs", "tmpfs", "overlay")


@needs_root
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_change_is_reported_with_its_directory(place: Path, kind: str) -> None:
    with plugged(place / "disk", kind, {}) as disk:
        check(disk.where)


@needs_root
def test_every_kind_of_change_is_reported_on_a_subvolume(place: Path) -> None:
    with plugged(place / "disk", "btrfs", {}) as disk:
        make_subvolume(disk.where / "sub")
        check(disk.where / "sub")


@needs_root
def test_a_watch_does_not_block_unmounting_and_reports_it(place: Path) -> None:
    with plugged(place / "disk", "ext4", {}) as disk, instance() as watches:
        (key,) = watch(disk.where, watches.add, [""])
        output_of("umount", disk.where)
        assert [(mask & ~ONDIR, of) for mask, of, _ in watches.events(())] == [(UNMOUNT, key), (IGNORED, key)]
        disk.plug()
        assert key not in watch(disk.where, watches.add, [""])


@pytest.mark.alone
@needs_root
def test_a_full_queue_reports_one_overflow_and_goes_on(place: Path) -> None:
    with setting("fs/inotify/max_queued_events", 10):
        watches = Watches()
    try:
        names = watch(place, watches.add, [""])
        for number in range(50):
            (place / str(number)).mkdir()
        assert watches.events(()) == [Event(OVERFLOW, b"", b"")]
        (place / "later").mkdir()
        assert said(watches.events(names), names) == {("", "later"): CREATE | ONDIR}
    finally:
        watches.close()


@needs_root
def test_at_the_limit_of_watches_adding_fails(place: Path) -> None:
    script = (
        "import errno, os, sys; from mmirrorfs.source.inotify import Watches\n"
        "watches = Watches()\n"
        "for path in sys.argv[1:]:\n"
        "    try: watches.add(os.open(path, os.O_RDONLY)); print('added')\n"
        "    except OSError as error: print(errno.errorcode[error.errno])"
    )
    grow(place, {b"1": {}, b"2": {}, b"3": {}})
    limited = 'echo 2 > /proc/sys/user/max_inotify_watches; exec "$@"'
    names = [place / name for name in "123"]
    command = ("unshare", "--user", "--map-root-user", "sh", "-ec", limited, "sh", sys.executable, "-c", script)
    done = run(*command, *names)
    if b"unshare" in done.stderr:
        pytest.skip(f"a user namespace cannot be made here: {done.stderr.decode().strip()}")
    assert done.stdout.decode().split() == ["added", "added", errno.errorcode[errno.ENOSPC]], done.stderr
