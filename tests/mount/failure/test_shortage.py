"""The daemon survives running out of descriptors, threads or readable bytes: requests fail with an errno.

Rule 1: its own shortage never changes the view: no name disappears, and no source is marked lost.
Rule 2: it recovers when the shortage ends: everything can be read, and the view is kept current, as before.
"""

import contextlib
import errno
import os
import re
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fresh import REFRESH, observer, shows, stays
from tests.support.hanging import hanging
from tests.support.held import at_rest, descriptors, status
from tests.support.mounts import View, mounted
from tests.support.readers import readers
from tests.support.trees import folders, grow
from tests.support.users import need, needs_root

pytestmark = [pytest.mark.waits, needs_root]

NAMES = [f"{number:02}" for number in range(40)]
MODES = ("keep", "fallback")
LIMIT = 32
"""RLIMIT_NOFILE of the daemon."""


@pytest.fixture
def sources(place: Path) -> list[Path]:
    """Two sources with forty folders each and no common name."""
    return [grow(place / "high", folders("h", *NAMES)), grow(place / "low", folders("l", *[f"l{n}" for n in NAMES]))]


def names(view: View) -> list[str]:
    """The names in the root of a view."""
    return os.listdir(view.mountpoint)


def lost(view: View) -> list[str]:
    """The reason of each source that is lost."""
    return [source["lost"] for source in status(view)["sources"] if source["lost"]]


def open_until_failure(view: View, files: contextlib.ExitStack) -> int:
    """Open files and keep them open until an open fails; returns its errno."""
    for name in NAMES:
        try:
            files.callback(os.close, os.open(view.mountpoint / name / "track", os.O_RDONLY))
        except OSError as error:
            return error.errno or 0
    return 0


def listing_fails(view: View, files: contextlib.ExitStack, uncached: Iterator[str]) -> bool:
    """Use up the descriptors that are left; returns whether listing an uncached folder fails with EMFILE.

    A request in flight holds a descriptor for a moment: where that was the last one, the listing may still succeed.
    """
    with contextlib.suppress(OSError):
        files.callback(os.close, os.open(view.mountpoint / NAMES[0] / "track", os.O_RDONLY))
    if descriptors(view) < LIMIT:
        return False
    try:
        os.listdir(view.mountpoint / next(uncached))
    except OSError as error:
        return error.errno == errno.EMFILE
    return False


def await_warnings(view: View) -> None:
    """Request a rescan, which fails; wait for a warning for each source."""
    view.send(signal.SIGHUP)
    warnings = [rf"source {source['name']} \(.*\) could not be scanned: " for source in status(view)["sources"]]
    shows(lambda: all(re.search(warning, view.text()) for warning in warnings), "a warning for each source")
    for warning in warnings:
        view.expect(warning)


@pytest.mark.parametrize("mode", MODES)
def test_without_descriptors_opens_fail_and_the_view_stays(place: Path, sources: list[Path], mode: str) -> None:
    prefix = [need("prlimit"), f"--nofile={LIMIT}:{LIMIT}"]
    options = [REFRESH, "--crawl=off", "--watch=off", f"--on-missing={mode}"]
    with mounted(place / "view", *sources, prefix=prefix, options=options) as view:
        before, held = names(view), descriptors(view)
        with contextlib.ExitStack() as files:
            assert open_until_failure(view, files) == errno.EMFILE
            uncached = reversed(NAMES)
            shows(lambda: listing_fails(view, files, uncached), "no descriptor left")
            for source in sources:
                grow(source / f"new in {source.name}", {b"track": b"new"})
            await_warnings(view)
            stays(lambda: names(view) == before, "the names in the view")
            assert lost(view) == []
        shows(lambda: len(names(view)) == len(before) + 2, "the folders added meanwhile")
        assert [(view.mountpoint / name / "track").read_text() for name in NAMES] == [f"h{name}" for name in NAMES]
        shows(lambda: descriptors(view) == held, "as few descriptors as before")


STACK = 1 << 30
"""Bytes of address space that each thread's stack reserves."""


@contextlib.contextmanager
def without_threads(view: View) -> Iterator[None]:
    """Limit the daemon's address space so that it can start no thread."""
    with open(f"/proc/{view.pid}/status") as file:
        size = next(int(line.split()[1]) for line in file if line.startswith("VmSize:")) << 10
    before = resource.prlimit(view.pid, resource.RLIMIT_AS, (size + STACK // 2, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(view.pid, resource.RLIMIT_AS, before)


@pytest.mark.parametrize("mode", MODES)
def test_without_threads_some_reads_fail_and_the_view_stays(place: Path, sources: list[Path], mode: str) -> None:
    prefix, options = [need("prlimit"), f"--stack={STACK}"], [REFRESH, f"--on-missing={mode}"]
    with (
        hanging(sources[0], place / "slow", hang="reads") as slow,
        mounted(place / "view", slow.mountpoint, sources[1], prefix=prefix, options=options) as view,
        observer() as eyes,
    ):
        before = names(view)
        with (
            readers([view.mountpoint / name / "track" for name in NAMES], place / "answers") as reading,
            without_threads(view),
        ):
            slow.hang()
            reading.start()
            shows(lambda: reading.done > 0, "an error, at once")
            grow(sources[1] / "new", {b"track": b"new"})
            await_warnings(view)
            stays(lambda: set(before) <= set(names(view)), "the names in the view")
            assert lost(view) == []
            slow.go_on()
            answers = reading.answers(20)
        assert {answer for answer in answers if isinstance(answer, int)} == {errno.ENOMEM}
        shows(lambda: not eyes.differences(view.mountpoint, [sources[0], sources[1]], 1), "everything")


def error_of(path: Path) -> int:
    """The errno of reading a file; 0 where it succeeds."""
    try:
        path.read_bytes()
    except OSError as error:
        return error.errno or -1
    return 0


def test_a_source_whose_reads_fail_is_not_lost(place: Path, sources: list[Path]) -> None:
    with (
        hanging(sources[0], place / "bad", hang="reads") as bad,
        mounted(place / "view", bad.mountpoint, sources[1], options=[REFRESH, "--watch=off"]) as view,
    ):
        before = names(view)
        held = at_rest(view).descriptors
        paths = [view.mountpoint / name / "track" for name in NAMES]
        bad.fail()
        assert [error_of(path) for path in paths] == [errno.EIO] * len(paths)
        assert [(view.mountpoint / name / "track").read_text() for name in ("l00", "l39")] == ["ll00", "ll39"]
        stays(lambda: names(view) == before and not lost(view), "the view")
        assert os.listdir(view.mountpoint / NAMES[0]) == ["track"]
        bad.go_on()
        assert [path.read_text() for path in paths] == [f"h{name}" for name in NAMES]
        shows(lambda: descriptors(view) == held, "as few descriptors as before")


@pytest.mark.parametrize("mode", MODES)
def test_a_source_whose_requests_fail_is_lost_until_they_succeed(place: Path, sources: list[Path], mode: str) -> None:
    with (
        hanging(sources[0], place / "bad") as bad,
        mounted(place / "view", bad.mountpoint, sources[1], options=[REFRESH, f"--on-missing={mode}"]) as view,
    ):
        view.expect(r"source bad \(.*\) is lost: Input/output error")
        view.expect(r"source bad \(.*\) is back")
        before = names(view)
        paths = [view.mountpoint / name / "track" for name in NAMES]
        bad.fail()
        shows(lambda: lost(view) == [os.strerror(errno.EIO)], "the loss")
        code = errno.EIO if mode == "keep" else errno.ENOENT
        shows(lambda: {error_of(path) for path in paths} == {code}, "the errors")
        assert names(view) == (before if mode == "keep" else before[-len(NAMES) :])
        assert [(view.mountpoint / name / "track").read_text() for name in ("l00", "l39")] == ["ll00", "ll39"]
        bad.go_on()
        shows(lambda: lost(view) == [] and names(view) == before, "the source back")
        shows(lambda: {error_of(path) for path in paths} == {0}, "all files")
