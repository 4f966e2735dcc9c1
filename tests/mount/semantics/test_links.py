"""Symlinks in the sources, followed and not: what is shown, what can be reached, and that walks terminate."""

import contextlib
import os
import stat
from pathlib import Path

import pytest

from tests.support import following
from tests.support.model import Shown, predict, walk
from tests.support.mounts import View, mounted
from tests.support.polling import poll
from tests.support.trees import Link, Tree, folders, grow
from tests.support.users import run

FOLLOW = ("--follow-symlinks", "--refresh=1")


def _library(place: Path) -> tuple[Path, Path]:
    """Two sources with symlinks of every kind above, at and below the depth (2), and a folder outside them."""
    here = os.fsencode(place)
    grow(place / "outside", {b"album": {b"1": b"outside", b"sub": {b"deep": b"outside"}}, b"file": b"outside"})
    at_depth: Tree = {
        b"to a folder": Link(b"Album"),
        b"to outside": Link(here + b"/outside/album"),
        b"to outside, relative": Link(b"../../outside/album"),
        b"to the artist": Link(b"."),
        b"to the source": Link(b".."),
        b"to nothing": Link(b"nowhere"),
        b"to a file": Link(b"Album/1"),
        b"to a link": Link(b"to outside"),
        b"round": Link(b"round again"),
        b"round again": Link(b"round"),
        b"to the view": Link(here + b"/view"),
        b"to another view": Link(here + b"/other"),
        b"into another view": Link(here + b"/other/B/Solo"),
    }
    below: Tree = {
        b"1": b"flac",
        b"sub": {b"2": b"flac"},
        b"to sub": Link(b"sub"),
        b"to 1": Link(b"1"),
        b"to B": Link(b"../../B"),
        b"to outside": Link(here + b"/outside"),
        b"to itself": Link(b"."),
        b"to the artist": Link(b".."),
        b"to nothing": Link(b"nowhere"),
        b"to a link": Link(b"to outside"),
        b"into another view": Link(here + b"/other/B"),
    }
    flac: Tree = {b"A": {**at_depth, b"Album": below}, b"B": {b"Solo": {b"1": b"flac", b"to A": Link(b"../../A")}}}
    above: Tree = {
        b"to B": Link(b"B"),
        b"to outside": Link(b"../outside"),
        b"to itself": Link(b"."),
        b"x": Link(b"nowhere"),
    }
    mp3: Tree = {
        b"A": {b"to a folder": {b"1": b"mp3"}, b"to nothing": {b"1": b"mp3"}, b"to a file": {b"1": b"mp3"}},
        b"to B": {b"More": {b"1": b"mp3"}, b"Solo": {b"1": b"mp3"}},
        b"x": {b"only": {b"1": b"mp3"}},
    }
    return grow(place / "flac", {**flac, **above}), grow(place / "mp3", mp3)


def knows_itself(view: View) -> bool:
    """Whether the symlink into the view is hidden: it still led to an empty directory when it was scanned."""
    with contextlib.suppress(OSError):
        return b"A/to the view" not in walk(view.where)
    return False


@pytest.mark.parametrize("prefer", ["high", "low"])
def test_links_not_followed_are_hidden_down_to_the_depth_and_shown_below_it(place: Path, prefer: str) -> None:
    flac, mp3 = _library(place)
    order = [os.fsencode(source) for source in ((flac, mp3) if prefer == "high" else (mp3, flac))]
    with mounted(place / "view", flac, mp3, prefer=prefer, depth=2) as view:
        seen = walk(view.where)
        assert seen == {path: what.shown for path, what in predict(order, 2).items()}
        upper = [path for path in seen if path.count(b"/") < 2]
        assert not any(seen[path].kind == stat.S_IFLNK for path in upper)
        assert not any(shown.content == b"outside" for shown in seen.values())
        for name in ("to outside", "to outside/album", "A/to outside/1", "A/to a link/1"):
            assert not os.path.lexists(view.mountpoint / name), name


@pytest.mark.parametrize("prefer", ["high", "low"])
def test_followed_links_are_shown_as_their_targets(place: Path, prefer: str) -> None:
    flac, mp3 = _library(place)
    order = [os.fsencode(source) for source in ((flac, mp3) if prefer == "high" else (mp3, flac))]
    views = [os.fsencode(place / name) for name in ("view", "other")]
    plain = [grow(place / name, folders(name, "B")) for name in ("c", "d")]
    with (
        mounted(place / "other", *plain),
        mounted(place / "view", flac, mp3, prefer=prefer, depth=2, options=FOLLOW) as view,
    ):
        expected = following.predict(order, 2, views)
        poll(lambda: knows_itself(view), "the symlink into the view hidden")
        seen = walk(view.where)
        assert seen == expected
        assert seen[b"A/to outside/sub/deep"] == Shown(stat.S_IFREG, b"outside")
        assert (view.mountpoint / "A/to a link/1").read_bytes() == b"outside"
        assert seen[b"A/to a file"].kind == stat.S_IFDIR, "a directory beats the file that a link points to"
        assert b"A/round" not in seen


def test_programs_that_follow_links_terminate_and_list_the_expected_paths(place: Path) -> None:
    flac, mp3 = _library(place)
    order = [os.fsencode(source) for source in (flac, mp3)]
    (place / "other").mkdir()
    with mounted(place / "view", flac, mp3, depth=2, options=FOLLOW) as view:
        poll(lambda: knows_itself(view), "the symlink into the view hidden")
        expected = set(following.predict(order, 2, [view.where]))
        listed = run("env", "-C", view.mountpoint, "find", ".", "-mindepth", "1", "-printf", "%P\\0")
        assert (set(listed.stdout.split(b"\0")[:-1]), listed.stderr) == (expected, b"")
        followed = run("env", "-C", view.mountpoint, "find", "-L", "A", "-printf", "%p\\0")
        names = set(followed.stdout.split(b"\0")[:-1])
        assert names <= expected
        assert {b"A/Album/to B/Solo/1", b"A/to a link/sub/deep"} <= names
        assert all(b"loop" in line or b"Too many levels" in line for line in followed.stderr.splitlines())
        listing = run("env", "-C", view.mountpoint, "ls", "-lR", ".")
        assert (listing.returncode, listing.stderr) == (0, b"")
        assert listing.stdout.count(b"\ntotal ") == sum(stat.S_ISDIR(_mode(view.where, p)) for p in expected) + 1


def _mode(view: bytes, path: bytes) -> int:
    """The mode of a path in a view."""
    return os.lstat(view + b"/" + path).st_mode


def test_walks_terminate_though_a_link_leads_above_the_sources(place: Path) -> None:
    """Everything next to the sources is included; the view itself and the source again are not."""
    flac = grow(place / "flac", {b"A": {b"1": b"flac", b"up": Link(b"../..")}, b"up": Link(b"..")})
    mp3 = grow(place / "mp3", {b"B": {b"1": b"mp3"}})
    with mounted(place / "view", flac, mp3, depth=1, options=FOLLOW) as view:
        listed = run("find", "-L", view.mountpoint, "-printf", "%P\\0")
        names = set(listed.stdout.split(b"\0"))
        assert {b"A/up/mp3/B/1", b"up/mp3/B/1"} <= names
        assert not any(name.startswith((b"up/view/", b"A/up/view/", b"up/flac/", b"A/up/flac/")) for name in names)
        assert run("ls", "-lR", view.mountpoint).stdout.count(b"\ntotal ") < 20


def _reads(path: Path, text: str) -> bool:
    """Whether the file has that text; it may be missing for a moment during a takeover."""
    try:
        return path.read_text() == text
    except FileNotFoundError:
        return False


def test_a_view_follows_the_target_of_a_link_that_is_added_and_removed(place: Path) -> None:
    high = grow(place / "high", {b"A": {b"1": b"high", b"in": Link(b"../../late/B/1")}, b"B": Link(b"../late/B")})
    low = grow(place / "low", {b"B": {b"1": b"low"}})
    with mounted(place / "view", high, low, options=FOLLOW) as view:
        top = view.mountpoint
        assert ((top / "B/1").read_text(), os.readlink(top / "A/in")) == ("low", "../../late/B/1")
        grow(place / "late", {b"B": {b"1": b"late"}})
        poll(lambda: _reads(top / "B/1", "late"), "the folder taken over through the link")
        poll(lambda: not (top / "A/in").is_symlink() and _reads(top / "A/in", "late"), "the file")
        os.rename(place / "late", place / "gone")
        poll(lambda: _reads(top / "B/1", "low"), "the folder given back")
        poll((top / "A/in").is_symlink, "the link shown as a link again")


def test_a_view_mounted_later_on_the_target_of_a_link_is_not_entered(place: Path) -> None:
    high = grow(place / "high", {b"A": {b"1": b"high", b"in": Link(b"../../other")}, b"B": Link(b"../other")})
    low = grow(place / "low", folders("l", "C"))
    grow(place / "other", {b"before": b""})
    with mounted(place / "view", high, low, options=FOLLOW) as view:
        assert os.listdir(view.mountpoint / "B") == ["before"]
        with mounted(place / "other", high, low, options=("--nonempty", *FOLLOW)) as other:
            poll(lambda: os.listdir(view.mountpoint) == ["A", "C"], "the link hidden")
            poll((view.mountpoint / "A/in").is_symlink, "the link shown as a link")
            poll((other.mountpoint / "A/in").is_symlink, "the same in the other view")
        poll(lambda: os.listdir(view.mountpoint) == ["A", "B", "C"], "the link followed again")
