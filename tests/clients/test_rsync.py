"""rsync from a view to a player's card: unchanged files are not copied, and files of a lost source are not deleted."""

import os
from pathlib import Path

import pytest

from tests.support.disks import disk
from tests.support.fresh import REFRESH, shows
from tests.support.losing import BACK, LOST
from tests.support.mounts import View, mounted
from tests.support.songs import library, looked_again, songs
from tests.support.users import needs_root, output_of, run

pytestmark = pytest.mark.mount

PARTIAL = 23
"""rsync's exit code when some files could not be read."""
KEEP, FAT = ("-a",), ("-rt", "--modify-window=1")
"""For a card that keeps all attributes, and for one that keeps times to two seconds only."""


def sync(view: View, card: Path, *options: str) -> list[str]:
    """Copy a view to a card; returns the itemized changes."""
    done = output_of("rsync", *(options or KEEP), "-i", "--delete", f"{view.mountpoint}/", f"{card}/")
    return sorted(done.decode().splitlines())


def copied(items: list[str]) -> list[str]:
    """The names of the files that were copied."""
    return [item.split(maxsplit=1)[1] for item in items if item.startswith(">f")]


def truncate_times(card: Path) -> None:
    """Truncate all times to two seconds, as FAT does."""
    for path in [card, *card.rglob("*")]:
        os.utime(path, ns=(0, path.stat().st_mtime_ns // (2 * 10**9) * 2 * 10**9))


def same(view: View, card: Path, *options: str) -> bool:
    """Whether rsync, comparing checksums, finds no difference."""
    return output_of("rsync", *(options or KEEP), "-nci", "--delete", f"{view.mountpoint}/", f"{card}/") == b""


def test_a_second_sync_copies_nothing_after_a_refresh_and_a_remount(place: Path) -> None:
    sources, card = library(place), place / "card"
    with mounted(place / "mnt", *sources, prefer="low", depth=2, options=[REFRESH]) as view:
        first = copied(sync(view, card))
        assert first == ["Ann/Both/1.mp3", "Ann/Both/2.mp3", "Ann/High/1.flac", "Ann/Low/1.mp3", "Bob/Solo/1.mp3"]
        assert same(view, card)
        assert sync(view, card) == []
        looked_again(view)
        assert sync(view, card) == []
    with mounted(place / "mnt", *sources, prefer="low", depth=2) as view:
        assert sync(view, card) == []


def test_a_card_with_two_second_times_is_up_to_date_with_a_modify_window(place: Path) -> None:
    sources, card = library(place), place / "card"
    for source in sources:
        for path in source.rglob("*"):
            os.utime(path, ns=(0, 1_700_000_001_900_000_000))
    with mounted(place / "mnt", *sources, prefer="low", depth=2, options=[REFRESH]) as view:
        assert len(copied(sync(view, card, *FAT))) == 5
        truncate_times(card)
        assert sync(view, card, *FAT) == []
        assert len(sync(view, card)) > 5, "without the window they differ"


@pytest.mark.parametrize("options", [KEEP, FAT], ids=" ".join)
def test_only_changes_are_copied(place: Path, options: tuple[str, ...]) -> None:
    (high, low), card = library(place), place / "card"
    with mounted(place / "mnt", high, low, prefer="low", depth=2, options=[REFRESH]) as view:
        sync(view, card, *options)
        songs(low / "Bob/New/1.mp3", low / "Ann/High/1.mp3")
        (low / "Ann/Both/2.mp3").unlink()
        here = view.mountpoint
        shows(lambda: (here / "Bob/New").exists() and (here / "Ann/High/1.mp3").exists(), "the new folders")
        shows(lambda: not (here / "Ann/Both/2.mp3").exists(), "the removal")
        items = sync(view, card, *options)
        assert [item for item in items if not item.startswith(".d..t......")] == [
            "*deleting   Ann/Both/2.mp3",
            "*deleting   Ann/High/1.flac",
            ">f+++++++++ Ann/High/1.mp3",
            ">f+++++++++ Bob/New/1.mp3",
            "cd+++++++++ Bob/New/",
        ]
        assert same(view, card, *options)
        assert sync(view, card, *options) == []
    with mounted(place / "mnt", high, low, prefer="low", depth=2) as view:
        assert copied(sync(view, card, *options)) == [], "also with a new daemon, after a takeover"


def test_an_edit_of_tags_that_keeps_the_size_copies_that_file(place: Path) -> None:
    (high, low), card = library(place), place / "card"
    edited = high / "Ann/High/1.flac"
    os.utime(edited, (0, 0))  # well outside the modify window
    size = edited.stat().st_size
    with mounted(place / "mnt", high, low, prefer="low", depth=2, options=[REFRESH]) as view:
        sync(view, card, *FAT)
        output_of("metaflac", "--set-tag=COMMENT=edited", edited)
        assert edited.stat().st_size == size, "the padding for tags was enough"
        shows(lambda: (view.mountpoint / "Ann/High/1.flac").stat().st_mtime > 0, "the edit")
        assert copied(sync(view, card, *FAT)) == ["Ann/High/1.flac"]
        assert (card / "Ann/High/1.flac").read_bytes() == edited.read_bytes()


@needs_root
def test_a_sync_while_a_source_is_lost_deletes_nothing(place: Path) -> None:
    card = place / "card"
    with disk(place / "high", {}) as high:
        sources = library(place)
        with mounted(place / "mnt", *sources, depth=2, options=[REFRESH]) as view:
            view.expect(LOST)
            view.expect(BACK)
            sync(view, card)
            before = output_of("find", card, "-type", "f")
            high.unplug()
            shows(lambda: "is lost" in view.text(), "the loss logged")
            assert sync(view, card) == [], "files on the card need not be read"
            (card / "Ann/High/1.flac").unlink()
            done = run("rsync", "-a", "--delete", f"{view.mountpoint}/", f"{card}/")
            assert (done.returncode, b"Input/output error" in done.stderr) == (PARTIAL, True)
            assert before.replace(os.fsencode(card / "Ann/High/1.flac\n"), b"") == output_of("find", card, "-type", "f")
            high.plug()
            shows(lambda: "is back" in view.text(), "the recovery logged")
            assert copied(sync(view, card)) == ["Ann/High/1.flac"]
            assert same(view, card)


@needs_root
def test_a_sync_with_an_unreadable_folder_deletes_nothing(place: Path) -> None:
    card = place / "card"
    with disk(place / "high", {}) as high:
        sources = library(place)
        with mounted(place / "mnt", *sources, depth=2) as view:
            sync(view, card)
        kept = sorted(card.rglob("*"))
        with mounted(place / "mnt", *sources, depth=2, options=[REFRESH]) as view:
            view.expect(LOST)
            high.unplug()
            shows(lambda: "is lost" in view.text(), "the loss logged")
            (sources[1] / "Bob/Solo/1.mp3").unlink()
            shows(lambda: not (view.mountpoint / "Bob/Solo/1.mp3").exists(), "a removal in the other source")
            done = run("rsync", "-a", "--delete", f"{view.mountpoint}/", f"{card}/")
            assert (done.returncode, b"Input/output error" in done.stderr) == (PARTIAL, True)
            assert b"skipping file deletion" in done.stdout
            assert sorted(card.rglob("*")) == kept
