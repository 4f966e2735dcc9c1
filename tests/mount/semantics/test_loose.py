"""Loose and manual pairing of real-life names on a mount, in both views and after a refresh."""

import errno
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.mounts import COMMAND, mounted
from tests.support.polling import poll
from tests.support.trees import folders, grow

PAIRS = (
    ("The Beatles/[1969] Abbey Road", "Beatles, The/Abbey Road (1969)"),
    ("Björk/Debut", "Bjork/Debut"),
    ("AC_DC/Back in Black", "AC-DC/Back In Black"),
    ("Air/Moon Safari [FLAC]", "Air/Moon Safari"),
    ("Sigur Rós/( )", "Sigur Rós/()"),
    ("Motörhead/Ace of Spades {WEB}", "MOTORHEAD/1980 - Ace Of Spades (V0)"),
)


def _grown(root: Path, paths: list[str], whose: str) -> Path:
    for path in paths:
        artist, _, album = path.partition("/")
        grow(root, {artist.encode(): folders(whose, album)})
    return root


def _albums(mountpoint: Path) -> dict[str, str]:
    """Every album of a view, and the letter of its source."""
    return {
        f"{artist}/{album}": (mountpoint / artist / album / "track").read_text()[0]
        for artist in os.listdir(mountpoint)
        for album in os.listdir(mountpoint / artist)
    }


def _shadowed(path: Path) -> str:
    """The path that a folder shadows; empty where there is none."""
    try:
        return os.getxattr(path, "user.mmirrorfs.shadowed").decode()
    except OSError as error:
        if error.errno == errno.ENODATA:
            return ""
        raise


def test_albums_with_two_spellings_are_shown_once_in_both_views(place: Path) -> None:
    ours = _grown(place / "flac", [own for own, _ in PAIRS] + ["Weezer/Weezer (Blue Album)", "Björk/Post (Live)"], "f")
    theirs = _grown(place / "mp3", [own for _, own in PAIRS] + ["Weezer/Weezer (Green Album)", "Bjork/Post"], "m")
    apart = {
        "Weezer/Weezer (Blue Album)": "f",
        "Weezer/Weezer (Green Album)": "m",
        "Björk/Post (Live)": "f",
        "Björk/Post": "m",
    }
    for prefer, whose in (("high", "f"), ("low", "m")):
        with mounted(place / prefer, ours, theirs, prefer=prefer, depth=2, options=["--match=loose"]) as view:
            assert _albums(view.mountpoint) == {own: whose for own, _ in PAIRS} | apart
            assert _shadowed(view.mountpoint / PAIRS[0][0]) == str(
                (theirs / PAIRS[0][1]) if prefer == "high" else (ours / PAIRS[0][0])
            )


def test_a_pair_is_split_by_a_second_year_and_restored_when_that_is_removed(place: Path) -> None:
    high = grow(place / "high", folders("h", "Peter Gabriel", "Other"))
    low = grow(place / "low", folders("l", "[1977] Peter Gabriel"))
    with mounted(place / "view", high, low, options=["--match=loose", "--refresh=1"]) as view:
        assert os.listdir(view.mountpoint) == ["Other", "Peter Gabriel"]
        grow(low, folders("l", "[1978] Peter Gabriel"))
        three = ["Other", "Peter Gabriel", "[1977] Peter Gabriel", "[1978] Peter Gabriel"]
        poll(lambda: os.listdir(view.mountpoint) == three, "all three apart")
        shutil.rmtree(low / "[1978] Peter Gabriel")
        poll(lambda: os.listdir(view.mountpoint) == ["Other", "Peter Gabriel"], "the only year")


SETTLED = """
match = "loose"
refresh = 0
watch = "off"

[[same]]
names = ["The Fab Four", "Beatles"]

[[same]]
names = ["White Album", "The Beatles (White Album)"]
in = "Beatles"

[[apart]]
names = ["Abbey Road", "[1969] Abbey Road"]
in = "The Fab Four"
"""


@pytest.mark.parametrize("prefer", ["high", "low"])
def test_manual_pairs_apply_in_a_view_and_after_a_refresh(place: Path, prefer: str) -> None:
    (place / "views.toml").write_text(SETTLED)
    high = grow(
        place / "high", {b"Beatles": folders("h", "White Album", "Abbey Road"), b"Other": folders("h", "White Album")}
    )
    low = grow(place / "low", {b"The Fab Four": folders("l", "[1969] Abbey Road")})
    grow(low, {b"Other": folders("l", "The Beatles (White Album)")})
    with mounted(
        place / "view", high, low, prefer=prefer, depth=2, options=["--config", str(place / "views.toml")]
    ) as view:
        view.expect(r"\[\[same\]\] 2: no source has The Beatles \(White Album\) in Beatles$")
        both = {"Beatles/Abbey Road": "h", "Beatles/[1969] Abbey Road": "l"}
        both |= {"Other/White Album": "h", "Other/The Beatles (White Album)": "l"}
        assert _albums(view.mountpoint) == both | {"Beatles/White Album": "h"}
        grow(low, {b"The Fab Four": folders("l", "The Beatles (White Album)")})
        view.send(signal.SIGHUP)
        shown, hidden = high / "Beatles/White Album", low / "The Fab Four/The Beatles (White Album)"
        if prefer == "low":
            shown, hidden = hidden, shown
        poll(lambda: _shadowed(view.mountpoint / "Beatles/White Album") == str(hidden), "the shadowed path")
        assert _albums(view.mountpoint) == both | {"Beatles/White Album": prefer[0]}


def test_a_simulation_remarks_on_configured_names_that_no_source_has(place: Path) -> None:
    high, low = grow(place / "high", folders("h", "a", "b")), grow(place / "low", folders("l", "c"))
    (place / "x.toml").write_text('[[same]]\nnames = ["a", "c"]\n[[apart]]\nnames = ["b", "d\\u001b"]\n')
    words = [*COMMAND, "--simulate", str(high), str(low), "--config", str(place / "x.toml")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert done.stdout.splitlines() == ["folder\thigh\tlow\ta", "folder\thigh\thigh\tb"]
    assert r"[[apart]] 1: no source has d\x1b" in done.stderr
    assert "[[same]]" not in done.stderr
