"""Invalidation: a change that the daemon finds while serving another request reaches the kernel's caches."""

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.fresh import Observer, observer, shows, trees
from tests.support.held import crawled, status
from tests.support.mounts import View, mounted
from tests.support.trees import Tree
from tests.support.users import needs_root

pytestmark = needs_root

FILES: Tree = dict.fromkeys((b"edited", b"replaced", b"removed", b"other mode", b"file"), b"old!")
HIGH: Tree = {b"A": {b"X": {**FILES, b"sub": {b"1": b"1"}}}}
LOW: Tree = {b"A": {b"X": {**FILES}, b"Y": {**FILES}}}


@pytest.fixture
def cached(place: Path) -> Iterator[tuple[View, Path, Observer]]:
    """A view with long kernel timeouts, its high folder, and an observer that has read everything."""
    high, low, where = trees(place, HIGH, LOW)
    with mounted(where, high, low, depth=2, options=["--refresh=900"]) as view, observer() as eyes:
        crawled(view)
        for above, _, files in os.walk(where):
            for name in files:
                assert eyes.stat(Path(above, name))
                assert eyes.read(Path(above, name))
        yield view, high / "A/X", eyes


def replace(path: Path) -> None:
    """Replace a file by one of the same size and mtime."""
    times = os.stat(path)
    new = path.parent.parent.parent / "new"
    new.write_bytes(b"new!")
    os.utime(new, ns=(times.st_atime_ns, times.st_mtime_ns))
    new.rename(path)


def edit(path: Path) -> None:
    """Edit a file in place, keeping size and mtime."""
    times = os.stat(path)
    path.write_bytes(b"new!")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def retype(path: Path) -> None:
    """Replace a file by a directory."""
    path.unlink()
    path.mkdir()


CHANGES: dict[str, tuple[Callable[[Path], object], Callable[[Observer, Path], object]]] = {
    "edited": (edit, lambda eyes, path: eyes.holds(path, b"new!")),
    "replaced": (replace, lambda eyes, path: eyes.holds(path, b"new!")),
    "removed": (Path.unlink, lambda eyes, path: not eyes.exists(path)),
    "other mode": (lambda path: path.chmod(0o600), lambda eyes, path: eyes.stat(path).st_mode & 0o777 == 0o600),
    "file": (retype, lambda eyes, path: eyes.stat(path).st_mode & 0o170000 == 0o040000),
}


def test_a_change_found_by_another_request_is_reported_to_the_kernel(cached: tuple[View, Path, Observer]) -> None:
    """A new name in the folder is looked up; the kernel still caches the old attributes of the changed one."""
    view, folder, eyes = cached
    for name, (change, shown) in CHANGES.items():
        change(folder / name)
        (folder / f"new, {name}").touch()
        before = status(view)["last_refresh"]
        view.send(signal.SIGHUP)
        shows(lambda before=before: status(view)["last_refresh"] > before, "a scan")  # type: ignore[misc]
        new = view.mountpoint / f"A/X/new, {name}"
        shows(partial(os.path.exists, new), "the new name, which the kernel has to look up")
        shows(partial(shown, eyes, view.mountpoint / "A/X" / name), f"what is {name}")
