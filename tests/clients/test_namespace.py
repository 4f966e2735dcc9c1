"""A container that has a directory of the host: which mounts it sees that are made, or made anew, after it started."""

import errno
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support.container import container, shared_directory
from tests.support.kernel import processes_of
from tests.support.mounts import View, kill, mounted
from tests.support.running import background
from tests.support.trees import grow
from tests.support.users import needs_root

pytestmark = [pytest.mark.mount, needs_root]

SHOWN = {"high": b"high", "low": b"low"}


@pytest.fixture
def host(place: Path) -> Iterator[Path]:
    """The directory of the host that views are mounted in."""
    for name, content in SHOWN.items():
        grow(place / name, {name.encode(): {b"1": content}})
    with shared_directory(place / "host") as where:
        yield where


def view_in(host: Path) -> AbstractContextManager[View]:
    """A view in that directory. What is below it when it is not mounted is empty."""
    return mounted(host / "view", host.parent / "high", host.parent / "low")


def seen(where: Path) -> dict[str, bytes]:
    """What is seen of a view."""
    return {name: (where / name / "1").read_bytes() for name in os.listdir(where)}


def test_a_view_that_is_mounted_later_is_seen_by_a_slave(place: Path, host: Path) -> None:
    with container(place, host, "slave") as inside, view_in(host):
        assert seen(inside / "view") == SHOWN


def test_a_view_that_is_mounted_later_is_not_seen_by_a_private_one(place: Path, host: Path) -> None:
    with container(place, host, "private") as inside, view_in(host) as view:
        assert seen(view.mountpoint) == SHOWN
        assert seen(inside / "view") == {}


@pytest.mark.parametrize(("bound", "path"), [("host", "view"), ("host/view", ".")])
@pytest.mark.parametrize("propagation", ["slave", "private"])
def test_after_a_crash_the_new_view_is_seen_by_a_slave_that_has_the_directory_above(
    place: Path, host: Path, bound: str, path: str, propagation: str
) -> None:
    (host / "view").mkdir()
    with background(place, "high", "low", host / "view"):
        (pid,) = processes_of(os.fsencode(host / "view"))
        with container(place, place / bound, propagation) as inside:
            assert seen(inside / path) == SHOWN
            kill(pid, host / "view")
            with pytest.raises(OSError, match=os.strerror(errno.ENOTCONN)):
                seen(inside / path)
            with view_in(host) as view:
                view.expect("a dead view was on")
                assert seen(view.mountpoint) == SHOWN
                if (bound, propagation) == ("host", "slave"):
                    assert seen(inside / path) == SHOWN
                else:
                    with pytest.raises(OSError, match=os.strerror(errno.ENOTCONN)):
                        seen(inside / path)
