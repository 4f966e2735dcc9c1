"""Views of one GlusterFS volume on two hosts: they agree, and recover from failures of the volume or a host."""

import contextlib
import errno
import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.gluster import PROGRAMS, SLOW, Volume, volume
from tests.support.hosts import MOVING, Side, hosts, shown
from tests.support.nfs import Network, needs_ganesha
from tests.support.polling import poll
from tests.support.samba import shared
from tests.support.trees import Link, Tree
from tests.support.users import needs_root

pytestmark = [
    pytest.mark.waits,
    pytest.mark.mount(seconds=120),
    needs_root,
    pytest.mark.skipif(
        not all(map(shutil.which, PROGRAMS)),
        reason="GlusterFS is needed: apt install glusterfs-server glusterfs-client iproute2",
    ),
]

HIGH: Tree = {
    b"Ann": {
        b"Both": {
            b"1.flac": b"high" * 50_000,
            b"empty": b"",
            b"disc 2": {b"1.flac": b"deep"},
            b"link": Link(b"1.flac"),
        },
        "Ærlig ☃".encode(): {b"\xff\n": b"odd"},
    },
    b"loose": b"loose",
}
LOW: Tree = {b"Ann": {b"Both": {b"1.mp3": b"low"}, b"Low": {b"1.mp3": b"low"}}, b"Bob": {b"Solo": {b"1.mp3": b"solo"}}}


@pytest.fixture(scope="module")
def music() -> Iterator[Volume]:
    with hosts() as made, volume(made) as music:
        yield music


@contextlib.contextmanager
def both(music: Volume, options: tuple[str, ...] = (), look: bool = True) -> Iterator[tuple[Side, Side]]:
    """The volume with new trees, and a view of them on each host; all is read once unless ``look`` is false."""
    clients, order = music.hosts.clients, (music.where / "flac", music.where / "mp3")
    for path, tree in zip(order, (HIGH, LOW), strict=True):
        clients[0].output_of("rm", "--recursive", "--force", path)
        clients[0].plant(path, tree)
    with contextlib.ExitStack() as stack:
        one, two = (stack.enter_context(shown(client, order, options)) for client in clients)
        if look:
            become((one, two), lambda side: not side.differences(), "equal to the model")
        yield one, two


def become(sides: Iterable[Side], condition: Callable[[Side], object], what: str) -> None:
    """Wait until the condition holds on each host."""
    for side in sides:
        poll(partial(condition, side), f"{what}, on {side.host.name}", SLOW)


def are_numbered_alike(sides: tuple[Side, Side]) -> bool:
    """Whether both have the same inode numbers."""
    return sides[0].numbers() == sides[1].numbers()


def test_both_views_equal_the_model_and_have_the_same_inode_numbers(music: Volume, place: Path) -> None:
    with both(music) as (one, two):
        assert one.differences() == two.differences() == []
        assert len(one.numbers()) == 15
        assert are_numbered_alike((one, two))


@pytest.mark.parametrize("turn", [0, 1])
def test_a_change_on_either_host_shows_on_both(music: Volume, place: Path, turn: int) -> None:
    with both(music) as sides:
        side, other = sides[turn], sides[1 - turn]
        high, low = side.order
        change = f"""
            cd {high}; printf edited | dd of=Ann/Both/1.flac conv=notrunc status=none; rm Ann/Both/empty
            mkdir Ann/New; echo new >Ann/New/1.flac; mv Ann/Both/disc\\ 2 Ann/Both/disc\\ 3; touch -d @1000000000 loose
            cd {low}; mv Bob Cid; mkdir Ann/Both/1.mp3.d; echo more >>Ann/Low/1.mp3
        """
        side.host.output_of("sh", "-ec", change)
        become((other, side), lambda side: not side.differences(), "the change")
        assert other.eyes.names(other.path("")) == ["Ann", "Cid", "loose"]
        assert are_numbered_alike(sides)


@needs_ganesha
def test_an_nfs_client_keeps_its_handles_when_it_moves_to_the_other_host(music: Volume, place: Path) -> None:
    """The other host, which it never used, resolves them by its crawl."""
    with both(music, ("--crawl=all",), look=False) as (one, two), contextlib.ExitStack() as stack:
        for side in (one, two):
            where = place / side.host.name
            stack.enter_context(side.host.network().exported(where, side.view.mountpoint))
        music.hosts.move(one.host)
        client = Network(music.hosts.server.pid)
        paths = {"Ann/Both/disc 2/1.flac": b"deep", "Ann/Low/1.mp3": b"low", "loose": b"loose"}
        kept = {path: stack.enter_context(client.kept(one.view.mountpoint, f"/{path}", MOVING)) for path in paths}
        for host in (one.host, two.host, one.host):
            music.hosts.move(host)
            assert {path: file.read() for path, file in kept.items()} == paths


def test_samba_shares_the_same_on_both_hosts(music: Volume, place: Path) -> None:
    if not all(map(shutil.which, ("smbd", "smbclient"))):
        pytest.skip("Samba is needed: apt install samba smbclient")
    found = []
    with both(music, ("-o", "allow_other")) as sides:
        for side in sides:
            prefix = side.host.beside()
            with shared(place / side.host.name, side.view.mountpoint, "read only = yes", prefix=prefix) as share:
                found.append(share.tree())
                assert share.say(f"get Ann/Low/1.mp3 {place}/copy-{side.host.name}")[0] == 0
    assert found[0] == found[1]
    assert found[0]["Ann/Both/1.flac"] == 200_000
    assert {path.read_bytes() for path in place.glob("copy-*")} == {b"low"}


def test_views_stay_current_while_a_brick_is_killed_and_healed(music: Volume, place: Path) -> None:
    with both(music) as sides:
        for number, side in enumerate(sides):
            music.kill(music.bricks[number])
            new = f"New/{number}/1.flac"
            side.host.plant(side.order[0] / f"New/{number}", {b"1.flac": b"new"})
            become(sides, lambda side: side.eyes.holds(side.path(new), b"new"), "the new album")  # noqa: B023
            become(sides, lambda side: not side.differences(), "equal to the model, from the other brick")
            music.start()
            music.await_healed()
            assert (music.bricks[number] / "flac" / new).read_bytes() == b"new"


def test_a_host_cut_off_keeps_its_cached_metadata_and_recovers(music: Volume, place: Path) -> None:
    with both(music) as sides:
        one, two = sides
        two.expect_loss()
        before, numbers = two.eyes.names(two.path("Ann/Both")), two.numbers()
        music.hosts.cut(two.host)
        assert two.eyes.names(two.path("Ann/Both")) == before, "it hangs and is not lost yet"
        assert two.eyes.stat(two.path("Ann/Both/1.flac")).st_size == 200_000
        become([two], lambda side: side.losses == 2, "the loss")
        one.host.plant(one.order[0] / "Ann/New", {b"1.flac": b"new"})
        become([one], lambda side: side.eyes.exists(side.path("Ann/New/1.flac")), "a change on the other host")
        assert (two.eyes.names(two.path("Ann/Both")), two.numbers()) == (before, numbers)
        assert [two.error_of(path) for path in ("Ann/Both/1.flac", "Ann/Low/1.mp3", "loose")] == [errno.EIO] * 3
        music.hosts.mend(two.host)
        become(sides, lambda side: not side.differences(), "equal to the model again")
        become([two], lambda side: side.losses == 0, "the recovery logged")
        assert are_numbered_alike(sides)


def test_a_stopped_volume_keeps_its_cached_metadata_on_both_hosts_and_recovers(music: Volume, place: Path) -> None:
    """Renamed directories are cached still, though nobody has listed them by their new names."""
    paths = ("", "Zoe", "Zoe/Both/disc 2", "Cid/New", "Bob/Solo")
    names = [["Ann", "Bob", "Cid", "Zoe", "loose"], ["Both", "Ærlig ☃"], ["1.flac"], ["1.flac"], ["1.mp3"]]
    with both(music) as sides:
        high = sides[0].order[0]
        sides[0].host.plant(high / "Cid/New", {b"1.flac": b"new"})
        sides[1].host.output_of("mv", high / "Ann", high / "Zoe")
        become(sides, lambda side: side.eyes.names(side.path("")) == names[0], "the new names")
        become(sides, lambda side: side.eyes.names(side.path("Cid/New")) == ["1.flac"], "the new album")
        opened = [side.eyes.open(side.path("Zoe/Both/1.flac")) for side in sides]
        for side in sides:
            side.expect_loss()
        music.stop()
        become(sides, lambda side: side.losses == 2, "the loss")
        for side, fd in zip(sides, opened, strict=True):
            assert [side.eyes.names(side.path(path)) for path in paths] == names
            assert side.eyes.stat(side.path("Zoe/Both/1.flac")).st_size == side.eyes.fstat(fd).st_size == 200_000
            assert [side.error_of(path) for path in ("Cid/New/1.flac", "Bob/Solo/1.mp3")] == [errno.EIO] * 2
            side.eyes.close(fd)
        music.start()
        become(sides, lambda side: not side.differences(), "equal to the model again")
        become(sides, lambda side: side.losses == 0, "the recovery logged")
        assert are_numbered_alike(sides)
