"""Fixtures and limits of all tests: the directory and the time limit of a test that mounts, and what it may leave.

A test marked ``mount`` works in ``place`` and may take LIMIT seconds, or ``mount(seconds=N)``, even if it hangs in the
kernel. Fixtures, and tests without that mark, have the ``timeout`` of pyproject.toml. Where FUSE cannot be used, tests
that mount are skipped. Where CI is set, hypothesis generates the same examples each time.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.kernel import abort_under, end_processes_of, processes_of, views_under
from tests.support.limit import limit
from tests.support.polling import holds

LIMIT = 60.0
"""Default time limit of a test that mounts, in seconds."""

ENDING = 5.0
"""Seconds that a process may take to exit after its view was unmounted: umount(8) does not wait for it."""


def pytest_configure() -> None:
    """Restore SIGINT and SIGQUIT for the programs that tests start: a shell ignores both in background jobs."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGQUIT) == signal.SIG_IGN:
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)


# No deadline: a busy machine may take any time for an example.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


def _reason_to_skip() -> str | None:
    """Why nothing can be mounted here, or None."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return f"/dev/fuse cannot be opened: {error.strerror}"
    if os.geteuid() != 0 and shutil.which("fusermount3") is None:
        return "fusermount3, which a plain user mounts with, is not installed"
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests that mount where nothing can be mounted."""
    if item.get_closest_marker("mount") is not None and (reason := _reason_to_skip()) is not None:
        pytest.skip(reason)


def _seconds(marker: pytest.Mark) -> float:
    """The time limit that a ``mount`` mark sets."""
    return float(marker.kwargs.get("seconds", LIMIT))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the time for its fixtures to pytest-timeout's limit of each test that mounts."""
    for item in items:
        marker = item.get_closest_marker("mount")
        if marker is not None and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_seconds(marker) + float(config.getini("timeout"))))


@pytest.fixture
def place() -> Iterator[Path]:
    """An empty directory that everybody may enter. The test fails if it leaves a mount or a process in it."""
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


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """An empty directory on a tmpfs: 100,000 files are created and removed in a second there, on a disk in minutes."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK):
        pytest.skip(f"{shared} cannot be written to")
    where = tempfile.mkdtemp(dir=shared)
    try:
        yield Path(where)
    finally:
        subprocess.run(["rm", "-rf", where], check=True)  # several times as fast as shutil.rmtree


@pytest.fixture(autouse=True)
def _limited(request: pytest.FixtureRequest) -> Iterator[None]:
    """The time limit of a test that mounts; when it is exceeded, shared mounts are aborted too."""
    marker = request.node.get_closest_marker("mount")
    if marker is None:
        yield
        return
    names = [name for name in ("shared_place", "place") if name == "place" or name in request.fixturenames]
    with contextlib.ExitStack() as limits:
        for name in names:
            limits.enter_context(limit(_seconds(marker), os.fsencode(request.getfixturevalue(name))))
        yield
