"""What holds for every test that mounts: where it happens, how long it may take, and that nothing is left of it.

A test marked ``mount`` is skipped where FUSE cannot be used. It works in ``place``, and has LIMIT seconds, or
``mount(seconds=N)``, even if it hangs in the kernel; what prepares it, and any other test, has ``timeout`` in
pyproject.toml. Hypothesis finds the same examples every time where CI is set.
"""

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.kernel import abort_under, end_processes_of, processes_of, views_under
from tests.support.limit import limit
from tests.support.polling import holds

LIMIT = 60.0
"""Seconds that a test with a mount may take."""

ENDING = 5.0
"""Seconds that a process may take to end after its view was unmounted, which umount(8) does not wait for."""


def pytest_configure() -> None:
    """Let SIGINT and SIGQUIT end what the tests start: a shell ignores both in what it starts with ``&``."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGQUIT) == signal.SIG_IGN:
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)


settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


def _why_not() -> str | None:
    """Why nothing can be mounted here; None where it can."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return f"/dev/fuse cannot be opened: {error.strerror}"
    if os.geteuid() != 0 and shutil.which("fusermount3") is None:
        return "fusermount3, which a plain user mounts with, is not installed"
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what mounts where nothing can be mounted, and say why."""
    if item.get_closest_marker("mount") is not None and (reason := _why_not()) is not None:
        pytest.skip(reason)


def _seconds(marker: pytest.Mark) -> float:
    """How long a test with that mark may take."""
    return float(marker.kwargs.get("seconds", LIMIT))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave a test that mounts its time besides what it takes to prepare it."""
    for item in items:
        marker = item.get_closest_marker("mount")
        if marker is not None and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_seconds(marker) + float(config.getini("timeout"))))


@pytest.fixture
def place() -> Iterator[Path]:
    """An empty directory that everybody may enter. Nothing may be mounted or running in it in the end."""
    with _empty_directory() as path:
        yield path


@pytest.fixture(scope="module")
def shared_place() -> Iterator[Path]:
    """The same for a whole module: for mounts that several tests share."""
    with _empty_directory() as path:
        yield path


@contextlib.contextmanager
def _empty_directory() -> Iterator[Path]:
    path = Path(os.path.realpath(tempfile.mkdtemp(prefix="mmirrorfs-test-")))
    path.chmod(0o755)
    try:
        yield path
        holds(lambda: not processes_of(os.fsencode(path)), ENDING)
        left = [view.where for view in views_under(os.fsencode(path))]
        assert not left, f"the test left these mounted: {left}"
    finally:
        abort_under(os.fsencode(path))
        killed = end_processes_of(os.fsencode(path))
        shutil.rmtree(path)
    assert not killed, f"the test left these processes: {killed}"


@pytest.fixture(autouse=True)
def _limited(request: pytest.FixtureRequest) -> Iterator[None]:
    """The time limit of a test that mounts; at its end the mounts that the test shares are aborted too."""
    marker = request.node.get_closest_marker("mount")
    if marker is None:
        yield
        return
    names = [name for name in ("shared_place", "place") if name == "place" or name in request.fixturenames]
    with contextlib.ExitStack() as limits:
        for name in names:
            limits.enter_context(limit(_seconds(marker), os.fsencode(request.getfixturevalue(name))))
        yield
