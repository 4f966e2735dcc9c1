"""minidlna with a view as its media directory: what players find, and that rescans keep it."""

import shutil
from pathlib import Path

import pytest

from tests.support.disks import disk
from tests.support.dlna import Server, scanned
from tests.support.fresh import REFRESH
from tests.support.losing import BACK, LOST
from tests.support.mounts import mounted
from tests.support.polling import poll
from tests.support.songs import WAIT, library, looked_again, songs, winners
from tests.support.users import needs_root

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(
        not all(map(shutil.which, ("minidlnad", "ffmpeg"))),
        reason="minidlnad and ffmpeg are needed: apt install minidlna ffmpeg",
    ),
]


def expected(*order: Path) -> dict[str, bytes]:
    """The content that a player has to find, by album and title."""
    found = {}
    for path, winner in winners(*order).items():
        title = f"{winner.stem} of {winner.parts[-4]}"
        found[f"{Path(path).parent}/{title}"] = winner.read_bytes()
    return found


def fetched(server: Server) -> dict[str, bytes]:
    """The content that a player gets, by album and title."""
    return {name: thing.fetch() for name, thing in server.objects().items()}


@pytest.mark.parametrize("prefer", ["high", "low"])
def test_a_player_finds_each_album_once_and_gets_the_winners_bytes(place: Path, prefer: str) -> None:
    high, low = library(place)
    order = (high, low) if prefer == "high" else (low, high)
    with (
        mounted(place / "mnt", high, low, prefer=prefer, depth=2) as view,
        scanned(place / "dlna", view.mountpoint) as server,
    ):
        assert fetched(server) == expected(*order)
        thing = server.objects()[f"Ann/Both/1 of {prefer}"]
        assert thing.fetch((1000, 4999)) == thing.fetch()[1000:5000]


def test_a_rescan_finds_changes_and_keeps_everything_else(place: Path) -> None:
    high, low = library(place)
    with mounted(place / "mnt", high, low, depth=2, options=[REFRESH]) as view:
        with scanned(place / "dlna", view.mountpoint) as server:
            before = server.objects()
        with scanned(place / "dlna", view.mountpoint, again=True) as server:
            assert {name: thing.id for name, thing in server.objects().items()} == {
                name: thing.id for name, thing in before.items()
            }
        songs(high / "Ann/Low/1.flac", low / "Bob/New/1.mp3")
        looked_again(view)
        with scanned(place / "dlna", view.mountpoint, again=True) as server:
            assert fetched(server) == expected(high, low)
            assert {"Ann/Low/1 of high", "Bob/New/1 of low"} <= server.objects().keys()


@needs_root
def test_a_rescan_while_a_source_is_lost_removes_no_album(place: Path) -> None:
    with disk(place / "high", {}) as high:
        sources = library(place)
        with mounted(place / "mnt", *sources, depth=2, options=[REFRESH]) as view:
            with scanned(place / "dlna", view.mountpoint) as server:
                before = server.objects().keys()
            high.unplug()
            poll(lambda: "is lost" in view.text(), "the loss logged", WAIT)
            with scanned(place / "dlna", view.mountpoint, again=True) as server:
                assert server.objects().keys() == before
                assert server.objects()["Bob/Solo/1 of low"].fetch() == (place / "low/Bob/Solo/1.mp3").read_bytes()
            high.plug()
            poll(lambda: "is back" in view.text(), "the recovery logged", WAIT)
            with scanned(place / "dlna", view.mountpoint, again=True) as server:
                assert fetched(server) == expected(*sources)
            view.expect(LOST)
            view.expect(BACK)
