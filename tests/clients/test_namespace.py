"""A container with a bind mount of a host directory: which views mounted or remounted later it sees."""

import errno
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support.container import container, shared_directory
from tests.support.mounts import View, daemon_of, kill, mounted
from tests.support.running import background
from tests.support.trees import grow
from tests.support.users import needs_root

pytestmark = [pytest.mark.mount, needs_root]

SHOWN = {"high": b"high", "low": b"low"}


@pytest.fixture
def host(place: Path) -> Iterator[Path]:
    """The host directory that views are mounted in."""
    for name, content in SHOWN.items():
        grow(place / name, {name.encode(): {b"1": content}})
    with shared_directory(place / "host") as where:
        yield where


def view_in(host: Path) -> AbstractContextManager[View]:
    """A view in that directory, on an empty mountpoint."""
    return mounted(host / "view", host.parent / "high", host.parent / "low")


def seen(where: Path) -> dict[str, bytes]:
    """The content of a view."""
    return {name: (where / name / "1").read_bytes() for name in os.listdir(where)}


def test_a_container_with_slave_propagation_sees_a_view_mounted_later(place: Path, host: Path) -> None:
    with container(place, host, "slave") as inside, view_in(host):
        assert seen(inside / "view") == SHOWN


def test_a_container_with_private_propagation_does_not_see_a_view_mounted_later(place: Path, host: Path) -> None:
    with container(place, host, "private") as inside, view_in(host) as view:
        assert seen(view.mountpoint) == SHOWN
        assert seen(inside / "view") == {}


@pytest.mark.parametrize(("bound", "path"), [("host", "view"), ("host/view", ".")])
@pytest.mark.parametrize("propagation", ["slave", "private"])
def test_after_a_crash_only_a_slave_of_the_parent_directory_sees_the_new_view(
    place: Path, host: Path, bound: str, path: str, propagation: str
) -> None:
    (host / "view").mkdir()
    with background(place, "high", "low", host / "view"):
        pid = daemon_of(os.fsencode(host / "view"))
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
