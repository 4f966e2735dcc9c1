"""mutagen and beets on a view: tags are the winner's, writes are refused, and a beets library loses nothing."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.disks import disk
from tests.support.fresh import REFRESH, shows
from tests.support.losing import LOST
from tests.support.mounts import mounted
from tests.support.songs import library, looked_again, songs, winners
from tests.support.trees import stamps
from tests.support.users import need, needs_root, output_of, run

pytestmark = pytest.mark.mount

READ = """
import json, mutagen, sys
files = [mutagen.File(path, easy=True) for path in sys.argv[1:]]
print(json.dumps([[dict(file.tags), file.info.length, type(file).__name__] for file in files]))
"""
REFUSED = "Read-only file system"
REFUSED_FLAC = "ERROR: writing FLAC file, status = .*STATUS_(ERROR_OPENING_FILE|OK)"
"""metaflac 1.4, and 1.5, which reports the wrong status."""
REFUSED_BEETS = f"{REFUSED}|error writing <super: "
"""beets 1.6, and 2.2, which reports no more than this."""


def tags(paths: Sequence[Path]) -> list[object]:
    """The tags that mutagen, of the system's Python, reads from each file."""
    need("mutagen-inspect")
    read: list[object] = json.loads(output_of("/usr/bin/python3", "-c", READ, *paths))
    return read


class Beets:
    """A library of beets, with a configuration of its own."""

    def __init__(self, place: Path) -> None:
        self._place = place
        (place / "music").mkdir(parents=True)
        lines = f"directory: {place}/music\nlibrary: {place}/library.db\nui:\n  color: no\n"
        (place / "config.yaml").write_text(lines)

    def beet(self, *words: str | Path) -> tuple[str, str]:
        """stdout and stderr of a command, which must succeed."""
        done = run("beet", *words, environment={"BEETSDIR": str(self._place), "HOME": str(self._place)})
        assert done.returncode == 0, f"{words} ended with {done.returncode}: {done.stderr!r}"
        return done.stdout.decode(), done.stderr.decode()

    def add(self, view: Path) -> None:
        """Import everything in place, unchanged."""
        self.beet("import", "--quiet", "-A", "-C", view)

    def reads(self) -> int:
        """Update without changes; returns how many files were read."""
        output, log = self.beet("-v", "update")
        assert output == "", "nothing has changed"
        return len(self.beet("ls")[0].splitlines()) - log.count("because mtime is up to date")

    def files(self, view: Path) -> list[str]:
        """The files in the library, by their path in the view."""
        return sorted(self.beet("ls", "-f", "$path")[0].replace(f"{view}/", "").splitlines())


def test_mutagen_reads_the_winners_tags_from_every_file(place: Path) -> None:
    sources = library(place)
    for prefer in ("high", "low"):
        with mounted(place / prefer[:1], *sources, prefer=prefer, depth=2) as view:
            won = winners(*(sources if prefer == "high" else sources[::-1]))
            shown = tags([view.mountpoint / path for path in won])
            assert len(shown) == 5
            assert shown == tags(list(won.values()))


@pytest.mark.parametrize(
    ("command", "path", "says"),
    [
        (("mid3v2", "-t", "New title"), "Ann/Low/1.mp3", REFUSED),
        (("metaflac", "--set-tag=TITLE=New title"), "Ann/High/1.flac", REFUSED_FLAC),
        (("sh", "-c", 'echo x >>"$0"'), "Ann/High/1.flac", REFUSED),
    ],
    ids=["mid3v2", "metaflac", "a shell"],
)
def test_a_write_of_tags_is_refused(place: Path, command: tuple[str, ...], path: str, says: str) -> None:
    sources = library(place)
    before = [stamps(source) for source in sources]
    with mounted(place / "mnt", *sources, depth=2) as view:
        done = run(*command, view.mountpoint / path)
        assert done.returncode != 0
        assert re.search(says, done.stderr.decode())
    assert [stamps(source) for source in sources] == before


def test_beets_imports_a_view_and_rereads_nothing_after_a_refresh_and_a_remount(place: Path) -> None:
    sources, beets = library(place), Beets(place / "beets")
    with mounted(place / "mnt", *sources, depth=2, options=[REFRESH]) as view:
        beets.add(view.mountpoint)
        assert beets.files(view.mountpoint) == list(winners(*sources))
        assert beets.reads() == 0
        looked_again(view)
        assert beets.reads() == 0
    with mounted(place / "mnt", *sources, depth=2) as view:
        assert beets.reads() == 0
        assert beets.files(view.mountpoint) == list(winners(*sources))


def test_beets_follows_an_album_that_another_source_took_over(place: Path) -> None:
    (high, low), beets = library(place), Beets(place / "beets")
    with mounted(place / "mnt", high, low, depth=2, options=[REFRESH]) as view:
        beets.add(view.mountpoint)
        songs(high / "Ann/Low/1.flac")
        shows(lambda: (view.mountpoint / "Ann/Low/1.flac").exists(), "the takeover")
        shows(lambda: not (view.mountpoint / "Ann/Low/1.mp3").exists(), "the takeover")
        assert beets.beet("update") == ("Ann - Low - 1 of low\n  deleted\n", "")
        beets.add(view.mountpoint / "Ann/Low")
        assert beets.files(view.mountpoint) == list(winners(high, low))


def test_beets_cannot_write_and_the_sources_stay_unchanged(place: Path) -> None:
    sources, beets = library(place), Beets(place / "beets")
    before = [stamps(source) for source in sources]
    with mounted(place / "mnt", *sources, depth=2) as view:
        beets.add(view.mountpoint)
        errors = beets.beet("modify", "--yes", "title=New")[1].splitlines()
        assert [bool(re.search(REFUSED_BEETS, line)) for line in errors] == [True] * 5
    assert [stamps(source) for source in sources] == before


@needs_root
def test_an_update_while_a_source_is_lost_removes_no_song(place: Path) -> None:
    beets = Beets(place / "beets")
    with disk(place / "high", {}) as high:
        sources = library(place)
        with mounted(place / "mnt", *sources, depth=2, options=[REFRESH]) as view:
            view.expect(LOST)
            beets.add(view.mountpoint)
            known = list(winners(*sources))
            high.unplug()
            shows(lambda: "is lost" in view.text(), "the loss logged")
            assert beets.reads() == 0
            assert beets.files(view.mountpoint) == known
