"""NFS-Ganesha exporting a view: file handles stay valid, also after a remount of the view."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.disks import disk
from tests.support.fresh import REFRESH, shows
from tests.support.mounts import mounted
from tests.support.nfs import Network, needs_ganesha, network
from tests.support.songs import winners
from tests.support.trees import Tree, grow, stamps
from tests.support.users import needs_root

pytestmark = [pytest.mark.mount, needs_root, needs_ganesha]

HIGH: Tree = {
    b"Ann": {
        b"Both": {b"1.flac": b"high one", b"disc 2": {b"1.flac": b"deep"}},
        "Ærlig ☃ 🎵".encode(): {b'Is it: "this"?.flac': b"odd"},
    },
    b"loose": b"loose",
}
LOW: Tree = {
    b"Ann": {b"Both": {b"1.mp3": b"low one"}, b"Low": {b"1.mp3": b"low"}},
    b"Bob": {b"Solo": {b"1.mp3": b"solo"}, b"Empty": {}},
}
VERSIONS = {3: "{view}", 4: "/music"}
LINE = re.compile(rb"^([-d])\S+ +\d+ +\d+ +\d+ +(\d+) (.+)$", re.MULTILINE)


def sources(place: Path) -> tuple[Path, Path]:
    """The high source and the low one."""
    return grow(place / "high", HIGH), grow(place / "low", LOW)


def url(view: Path, version: int, path: str = "") -> str:
    """The URL of a path in the export."""
    return f"nfs://127.0.0.1{VERSIONS[version].format(view=view)}{path}?version={version}"


def listed(net: Network, view: Path, version: int) -> dict[str, int | None]:
    """All exported paths with their sizes; None for a directory."""
    code, said = net.nfs("nfs-ls", url(view, version), "-R")
    assert code == 0, said
    return {path.decode(): None if kind == b"d" else int(size) for kind, size, path in LINE.findall(said)}


def tree(top: Path) -> dict[str, int | None]:
    """The same of a local directory."""
    return {str(path.relative_to(top)): None if path.is_dir() else path.stat().st_size for path in top.rglob("*")}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_lists_and_reads_the_whole_view(place: Path, version: int) -> None:
    high, low = sources(place)
    with (
        mounted(place / "mnt", high, low, depth=2) as view,
        network() as net,
        net.exported(place / "nfs", view.mountpoint),
    ):
        found = listed(net, view.mountpoint, version)
        assert found == tree(view.mountpoint)
        expected = {path: winner.read_bytes() for path, winner in winners(high, low).items()}
        assert {path for path, size in found.items() if size is not None} == expected.keys()
        for path in ("Ann/Both/1.flac", "Ann/Both/disc 2/1.flac", "Bob/Solo/1.mp3", "loose"):
            assert net.nfs("nfs-cat", url(view.mountpoint, version, f"/{path}")) == (0, expected[path])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("access", ["RO", "RW"])
def test_writes_fail_even_where_the_export_allows_them(place: Path, version: int, access: str) -> None:
    trees = sources(place)
    before = [stamps(source) for source in trees]
    (place / "new").write_text("new")
    with (
        mounted(place / "mnt", *trees, depth=2) as view,
        network() as net,
        net.exported(place / "nfs", view.mountpoint, access),
    ):
        code, said = net.nfs("nfs-cp", url(view.mountpoint, version, "/Ann/Low/new"), place / "new")
        assert code != 0
        assert b"ROFS" in said
        assert listed(net, view.mountpoint, version) == tree(view.mountpoint)
    assert [stamps(source) for source in trees] == before


def test_a_client_sees_an_album_that_another_source_took_over(place: Path) -> None:
    high, low = sources(place)
    with (
        mounted(place / "mnt", high, low, depth=2, options=[REFRESH]) as view,
        network() as net,
        net.exported(place / "nfs", view.mountpoint),
    ):
        assert listed(net, view.mountpoint, 3)["Ann/Low/1.mp3"] == 3
        grow(high / "Ann/Low", {b"1.flac": b"taken over"})
        shows(lambda: "Ann/Low/1.flac" in listed(net, view.mountpoint, 3), "the album, taken over")
        assert "Ann/Low/1.mp3" not in listed(net, view.mountpoint, 3)
        found = net.nfs("nfs-cat", url(view.mountpoint, 3, "/Ann/Low/1.flac"))
        assert found == (0, b"taken over")


@contextlib.contextmanager
def taken(place: Path, device: int) -> Iterator[None]:
    """Occupy a device number, so that no later mount gets it."""
    with contextlib.ExitStack() as disks:
        for number in range(50):
            where = place / f"taken{number}"
            disks.enter_context(disk(where, {}))
            if where.stat().st_dev >= device:
                break
        yield


@pytest.mark.alone
def test_a_clients_handle_is_valid_after_a_remount_on_another_device(place: Path) -> None:
    """The server keeps the view busy, so it is restarted: for the client it was rebooted."""
    high, low = sources(place)
    with network() as net, contextlib.ExitStack() as clients:
        with mounted(place / "mnt", high, low, depth=2) as view, net.exported(place / "nfs", view.mountpoint):
            one = clients.enter_context(net.kept(view.mountpoint, "/Ann/Both/1.flac"))
            two = clients.enter_context(net.kept(view.mountpoint, "/Ann/Both/disc 2/1.flac"))
            assert (one.read(), two.read()) == (b"high one", b"deep")
            device = view.mountpoint.stat().st_dev
        (high / "Ann/Both/disc 2/1.flac").unlink()
        with (
            taken(place, device),
            mounted(place / "mnt", high, low, depth=2) as view,
            net.exported(place / "nfs", view.mountpoint),
        ):
            assert view.mountpoint.stat().st_dev != device
            assert one.read() == b"high one"
            assert two.read().startswith(b"[Errno"), "of a removed file"
            assert one.read() == b"high one"
