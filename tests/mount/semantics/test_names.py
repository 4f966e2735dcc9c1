"""Pairing of similar names on a real mount: as requested, without hiding anything, the same in every view."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.model import walk
from tests.support.mounts import View, mounted
from tests.support.paired import Model, key_of
from tests.support.polling import poll
from tests.support.trees import Tree, folders, grow

NFC, NFD = "Björk", "Bjo\u0308rk"
SUFFIX = r" \[(FLAC|MP3)\]$"


def _tracks(view: View, *paths: str) -> list[str]:
    return [(view.mountpoint / path / "track").read_text() for path in paths]


@pytest.mark.parametrize("prefer", ["high", "low"])
def test_nfc_and_nfd_spellings_are_paired_with_match_nfc(place: Path, prefer: str) -> None:
    high = grow(place / "high", {NFC.encode(): folders("h", "Debut", "Post"), "BJÖRK".encode(): folders("h", "Big")})
    low = grow(place / "low", {NFD.encode(): folders("l", "Debut", "Vespertine")})
    options = ("--match=nfc",)
    with mounted(place / "view", high, low, prefer=prefer, depth=2, options=options) as view:
        assert os.listdir(view.mountpoint) == ["BJÖRK", NFC]
        assert os.listdir(view.mountpoint / NFC) == ["Debut", "Post", "Vespertine"]
        whose = ["hDebut" if prefer == "high" else "lDebut", "hPost", "lVespertine"]
        assert _tracks(view, f"{NFC}/Debut", f"{NFC}/Post", f"{NFC}/Vespertine") == whose
        assert not (view.mountpoint / NFD).exists(), "the other spelling is no name of the view"


def test_casefold_pairs_names_and_shows_the_spelling_of_the_highest_source(place: Path) -> None:
    high = grow(place / "high", folders("h", "Straße"))
    low = grow(place / "low", folders("l", "STRASSE", "ONLY"))
    for prefer, whose in (("high", "hStraße"), ("low", "lSTRASSE")):
        with mounted(place / f"view-{prefer}", high, low, prefer=prefer, options=("--match=casefold",)) as view:
            assert os.listdir(view.mountpoint) == ["ONLY", "Straße"]
            assert _tracks(view, "Straße") == [whose]


def test_ignored_suffixes_pair_names_and_collisions_hide_nothing(place: Path) -> None:
    high = grow(place / "high", folders("h", "Album [FLAC]", "Two", "Two [FLAC]"))
    low = grow(place / "low", folders("l", "Album [MP3]", "Two [MP3]"))
    with mounted(place / "view", high, low, prefer="low", options=("--ignore", SUFFIX)) as view:
        assert os.listdir(view.mountpoint) == ["Album [FLAC]", "Two", "Two [FLAC]"]
        assert _tracks(view, "Album [FLAC]", "Two", "Two [FLAC]") == ["lAlbum [MP3]", "lTwo [MP3]", "hTwo [FLAC]"]


def test_a_name_that_pairs_later_takes_over_until_it_is_removed(place: Path) -> None:
    high = grow(place / "high", folders("h", "other"))
    low = grow(place / "low", folders("l", NFD))
    with mounted(place / "view", high, low, options=("--match=nfc", "--refresh=1")) as view:
        assert os.listdir(view.mountpoint) == [NFD, "other"]
        grow(high, folders("h", NFC))
        poll(lambda: os.listdir(view.mountpoint) == [NFC, "other"], "the spelling of the highest source")
        assert _tracks(view, NFC) == [f"h{NFC}"]
        shutil.rmtree(high / NFC)
        poll(lambda: os.listdir(view.mountpoint) == [NFD, "other"], "the spelling that is left")
        assert _tracks(view, NFD) == [f"l{NFD}"]


NAMES = st.sampled_from(
    [
        b"a",
        b"A",
        NFC.encode(),
        NFD.encode(),
        "BJÖRK".encode(),
        b"a [FLAC]",
        b"A [MP3]",
        b" [MP3]",
        b"\xff",
        b"\xff [MP3]",
    ]
)


def _plans(levels: int) -> st.SearchStrategy[Tree]:
    below: list[st.SearchStrategy[Tree | bytes]] = [_plans(levels - 1)] * 3 if levels else []
    return st.dictionaries(NAMES, st.one_of([*below, st.just(b"")]), max_size=5 if levels > 1 else 3)


def _signed(tree: Tree, whose: bytes) -> Tree:
    """The same tree with each file's content its source and path."""
    return {
        name: _signed(what, whose + b"/" + name) if isinstance(what, dict) else whose + b"/" + name
        for name, what in tree.items()
    }


@pytest.mark.slow
@pytest.mark.mount(seconds=120)
@settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a mount is too slow to shrink with
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    plans=st.lists(_plans(3), min_size=2, max_size=5),
    depth=st.integers(1, 3),
    match=st.sampled_from(["exact", "nfc", "casefold", "loose"]),
    ignore=st.sampled_from(["", SUFFIX]),
    prefer=st.sampled_from(["high", "low", "s1"]),
)
def test_any_trees_under_any_match_equal_the_model(
    place: Path, plans: list[Tree], depth: int, match: str, ignore: str, prefer: str
) -> None:
    here = Path(tempfile.mkdtemp(dir=place))
    roots = [grow(here / f"s{n}", _signed(plan, b"s%d" % n)) for n, plan in enumerate(plans)]
    ranks = list(range(len(roots)))
    order = {"high": ranks, "low": ranks[::-1], "s1": [1, *[n for n in ranks if n != 1]]}[prefer]
    options = [f"--match={match}", *(["--ignore", ignore] if ignore else [])]
    with mounted(here / "view", *roots, prefer=prefer, depth=depth, options=options) as view:
        expected = Model([os.fsencode(root) for root in roots], order, depth, key_of(match, ignore)).predict()
        assert walk(view.where) == expected
        for root, plan in zip(roots, plans, strict=True):
            if not plan:
                view.expect(f"source {root.name} .* is empty")
    shutil.rmtree(here)
