"""A source on another machine, mounted by sshfs or rclone: what changes there shows, and it may be out of reach."""

import errno
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.hosts import Host, Hosts, Side, hosts, shown
from tests.support.polling import poll
from tests.support.remote import KINDS, PROGRAMS, SLOW, serve
from tests.support.trees import Tree, grow
from tests.support.users import needs_root, output_of

pytestmark = [
    pytest.mark.mount(seconds=120),
    needs_root,
    pytest.mark.skipif(
        not all(map(shutil.which, PROGRAMS)),
        reason="sshfs, sshd and rclone are needed: apt install sshfs openssh-server rclone iproute2",
    ),
]

LIBRARY: Tree = {
    b"flac": {
        b"Ann": {
            b"Both": {b"1.flac": b"h" * 200_000, b"disc 2": {b"1.flac": b"deep"}},
            "Ærlig ☃".encode(): {b"1": b"odd"},
        },
        b"loose": b"loose",
    },
    b"mp3": {b"Ann": {b"Both": {b"1.mp3": b"low"}, b"Low": {b"1.mp3": b"low"}}, b"Bob": {b"Solo": {b"1.mp3": b"solo"}}},
}
OPTIONS = ("--timeout=3",)
"""rclone tries a file for most of a minute."""


@dataclass(frozen=True)
class Remote:
    """The library on the server, and how a client mounts it."""

    hosts: Hosts
    library: Path
    mounts: dict[str, Callable[[Host, Path], None]]


@pytest.fixture(scope="module")
def remote() -> Iterator[Remote]:
    with hosts() as made:
        library = grow(made.place / "library", {})
        yield Remote(made, library, serve(made, library))


@pytest.fixture(params=KINDS)
def side(request: pytest.FixtureRequest, remote: Remote, place: Path) -> Iterator[Side]:
    """A client with the library and a view of it; all of it read once. ``place`` is the test's, for its time limit."""
    client, where = remote.hosts.clients[0], remote.hosts.place / request.param
    output_of("find", remote.library, "-mindepth", "1", "-delete")
    grow(remote.library, LIBRARY)
    where.mkdir(exist_ok=True)
    remote.mounts[request.param](client, where)
    with shown(client, [where / "flac", where / "mp3"], OPTIONS) as side:
        poll(lambda: not side.differences(), "the model's", SLOW)
        yield side
    client.output_of("umount", where)


def test_what_changes_on_the_server_shows_at_every_level(remote: Remote, side: Side) -> None:
    high, low = remote.library / "flac", remote.library / "mp3"
    for number in range(2):
        grow(high, {b"Ann": {b"New%d" % number: {b"1.flac": b"new"}}, b"Cid%d" % number: {b"New": {b"1.flac": b"new"}}})
        (high / f"Ann/Both/new{number}").write_bytes(b"new")
        (high / "Ann/Both/1.flac").write_bytes(b"edited" * (number + 1))
        (low / f"Ann/Low/{number + 1}.mp3").rename(low / f"Ann/Low/{number + 2}.mp3")
        track = side.path(f"Ann/Both/new{number}")
        poll(lambda: track.name in side.eyes.names(track.parent), "a new track", SLOW)  # noqa: B023
        poll(lambda: not side.differences(), "the model's", SLOW)
    shutil.rmtree(high / "Ann/Both")
    (low / "Bob").rename(low / "Dan")
    poll(lambda: side.eyes.names(side.path("Ann/Both")) == ["1.mp3"], "what the other source has", SLOW)
    poll(lambda: not side.differences(), "the model's", SLOW)


def test_where_the_server_cannot_be_reached_all_is_kept_but_bytes_and_it_heals(remote: Remote, side: Side) -> None:
    client = side.host
    names, numbers = side.eyes.names(side.path("Ann/Both")), side.numbers()
    fd = side.eyes.open(side.path("Ann/Both/1.flac"))
    side.expect_loss()
    remote.hosts.cut(client)
    while side.losses < len(side.order):
        assert side.eyes.names(side.path("Ann/Both")) == names
        assert side.eyes.stat(side.path("Bob/Solo/1.mp3")).st_size == 4
    assert [side.error_of(path) for path in ("Ann/Both/disc 2/1.flac", "loose", "Bob/Solo/1.mp3")] == [errno.EIO] * 3
    assert (side.numbers(), side.eyes.fstat(fd).st_size) == (numbers, 200_000)
    grow(remote.library, {b"mp3": {b"Bob": {b"New": {b"1.mp3": b"new"}}}})
    remote.hosts.mend(client)
    poll(lambda: side.losses == 0, "the good news", SLOW)
    poll(lambda: not side.differences(), "the model's again", SLOW)
    assert side.eyes.read(side.path("Bob/New/1.mp3")) == b"new"
