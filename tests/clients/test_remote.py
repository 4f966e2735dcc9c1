"""Sources on another machine, mounted by sshfs and by rclone: changes there show, and an unreachable server is a loss.

Both kinds of mount are tested side by side, each on a client of its own.
"""

import contextlib
import errno
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.support.hosts import Host, Hosts, Side, hosts, shown
from tests.support.polling import poll
from tests.support.remote import KINDS, PROGRAMS, SLOW, serve
from tests.support.trees import Tree, grow
from tests.support.users import needs_root, output_of

pytestmark = [
    pytest.mark.waits,
    pytest.mark.mount(seconds=240),
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
"""rclone retries a file for most of a minute."""


@dataclass(frozen=True)
class Remote:
    """The library on the server, and by each kind how a client mounts it."""

    hosts: Hosts
    library: Path
    mounts: dict[str, Callable[[Host, Path], None]]


@pytest.fixture(scope="module")
def remote() -> Iterator[Remote]:
    with hosts() as made:
        library = grow(made.place / "library", {})
        yield Remote(made, library, serve(made, library))


@pytest.fixture
def sides(remote: Remote, place: Path) -> Iterator[dict[str, Side]]:
    """By each kind of mount a client with the library and a view of it, all read once. ``place`` is for the limit."""
    output_of("find", remote.library, "-mindepth", "1", "-delete")
    grow(remote.library, LIBRARY)
    with contextlib.ExitStack() as stack:
        found = {}
        for kind, client in zip(KINDS, remote.hosts.clients, strict=True):
            where = remote.hosts.place / kind
            where.mkdir(exist_ok=True)
            remote.mounts[kind](client, where)
            stack.callback(client.output_of, "umount", where)
            found[kind] = stack.enter_context(shown(client, [where / "flac", where / "mp3"], OPTIONS))
        become(found, lambda side: not side.differences(), "equal to the model")
        yield found


def become(sides: dict[str, Side], condition: Callable[[Side], object], what: str) -> None:
    """Wait until the condition holds for each view."""
    for kind, side in sides.items():
        poll(partial(condition, side), f"{kind}: {what}", SLOW)


def on_each(sides: dict[str, Side], check: Callable[[Side], None]) -> None:
    """Run a check on all views at once."""
    with ThreadPoolExecutor(len(sides)) as pool:
        running = {kind: pool.submit(check, side) for kind, side in sides.items()}
    assert {kind: repr(error) for kind, future in running.items() if (error := future.exception())} == {}


def test_changes_on_the_server_show_at_every_level(remote: Remote, sides: dict[str, Side]) -> None:
    high, low = remote.library / "flac", remote.library / "mp3"
    for number in range(2):
        grow(high, {b"Ann": {b"New%d" % number: {b"1.flac": b"new"}}, b"Cid%d" % number: {b"New": {b"1.flac": b"new"}}})
        (high / f"Ann/Both/new{number}").write_bytes(b"new")
        (high / "Ann/Both/1.flac").write_bytes(b"edited" * (number + 1))
        (low / f"Ann/Low/{number + 1}.mp3").rename(low / f"Ann/Low/{number + 2}.mp3")
        new = f"new{number}"
        become(sides, lambda side, new=new: new in side.eyes.names(side.path("Ann/Both")), "a new track")  # type: ignore[misc]
        become(sides, lambda side: not side.differences(), "equal to the model")
    shutil.rmtree(high / "Ann/Both")
    (low / "Bob").rename(low / "Dan")
    become(sides, lambda side: side.eyes.names(side.path("Ann/Both")) == ["1.mp3"], "the other source's album")
    become(sides, lambda side: not side.differences(), "equal to the model")


def test_while_the_server_is_unreachable_only_reads_fail_and_the_view_recovers(
    remote: Remote, sides: dict[str, Side]
) -> None:
    numbers = {kind: side.numbers() for kind, side in sides.items()}
    opened = {kind: side.eyes.open(side.path("Ann/Both/1.flac")) for kind, side in sides.items()}

    def check_cut_off(side: Side) -> None:
        names = side.eyes.names(side.path("Ann/Both"))
        side.expect_loss()
        remote.hosts.cut(side.host)

        def is_lost() -> bool:
            assert side.eyes.names(side.path("Ann/Both")) == names
            assert side.eyes.stat(side.path("Bob/Solo/1.mp3")).st_size == 4
            return side.losses == len(side.order)

        poll(is_lost, "the loss of both sources", 4 * SLOW)
        paths = ("Ann/Both/disc 2/1.flac", "loose", "Bob/Solo/1.mp3")
        assert [side.error_of(path) for path in paths] == [errno.EIO] * 3

    on_each(sides, check_cut_off)
    for kind, side in sides.items():
        assert (side.numbers(), side.eyes.fstat(opened[kind]).st_size) == (numbers[kind], 200_000), kind
    grow(remote.library, {b"mp3": {b"Bob": {b"New": {b"1.mp3": b"new"}}}})
    for side in sides.values():
        remote.hosts.mend(side.host)
    become(sides, lambda side: side.losses == 0, "the recovery logged")
    become(sides, lambda side: not side.differences(), "equal to the model again")
    assert [side.eyes.read(side.path("Bob/New/1.mp3")) for side in sides.values()] == [b"new"] * len(sides)
