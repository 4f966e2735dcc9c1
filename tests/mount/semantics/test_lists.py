"""Access control lists (acl(5)) are cached like other metadata: for lost sources, and without new requests."""

import errno
import os
from pathlib import Path

import pytest

from tests.support.acls import ACCESS, DEFAULT, Lists, access_list, allowed, give, lists_of
from tests.support.disks import disk
from tests.support.fresh import REFRESH, shows, trees
from tests.support.held import crawled
from tests.support.mounts import View, mounted
from tests.support.polling import poll
from tests.support.tracing import traced
from tests.support.trees import Tree, grow
from tests.support.users import needs_root, output_of

pytestmark = [pytest.mark.waits, pytest.mark.mount(seconds=90), needs_root]

LASTING = "--refresh=6000"
ALL = ("-o", "allow_other")
TRACKS: Tree = {b"%02d" % n: b"track" for n in range(4)}
HIGH: Tree = {
    b"A": {b"one": {**TRACKS, b"sub": {b"deep": {b"file": b"f", b"\xff\xfe": b"n"}}}, b"two": {**TRACKS}},
    b"B": {b"closed": {**TRACKS}, b"open": {**TRACKS}},
    b"loose": b"l",
}
LOW: Tree = {b"A": {b"three": {**TRACKS}}, b"C": {b"four": {**TRACKS}}}


def restrict(top: Path) -> None:
    """Set modes that deny all others, and ACLs at all levels that allow some."""
    for path in inside(top):
        (top / path).chmod(0o750 if (top / path).is_dir() else 0o640)
    for name, rights in (("", 5), ("A", 5), ("A/one", 5), ("A/one/sub", 5), ("A/one/sub/deep", 1), ("B", 1)):
        give(top / name, rights)
    for name, rights in (("A/one/00", 4), ("A/one/01", 0), ("A/one/sub/deep/file", 4), ("B/open", 5), ("loose", 4)):
        give(top / name, rights)
    for name in ("A", "A/two", "A/one/sub/deep"):
        give(top / name, 7, 1234, DEFAULT)


def inside(top: Path) -> list[str]:
    """All paths in a tree, including its top."""
    found = [os.path.join(above, name) for above, below, files in os.walk(top) for name in (*below, *files)]
    return sorted(os.path.relpath(path, top) for path in [os.fspath(top), *found])


def await_crawls(view: View) -> None:
    """Wait until the crawls have sent the ACLs too: their processes end then."""
    crawled(view)
    children = Path(f"/proc/{view.pid}/task/{view.pid}/children")
    poll(lambda: not children.read_text().split(), "the end of the crawls", 60)


def lists_in(top: Path, paths: list[str]) -> dict[str, Lists]:
    return {path: lists_of(top / path) for path in paths}


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
@pytest.mark.parametrize("options", [(), ("--followsymlinks",)], ids=["plain", "links followed"])
def test_a_lost_source_keeps_its_acls_at_every_level(place: Path, kind: str, options: tuple[str, ...]) -> None:
    low, view = grow(place / "low", LOW), place / "view"
    with disk(place / "high", HIGH, kind) as high:
        restrict(high.where)
        with mounted(view, high.where, low, depth=2, options=[REFRESH, *ALL, *options]) as mount:
            mount.expect(r"source high \(.*\) is lost")
            await_crawls(mount)
            paths = inside(high.where)
            expected = lists_in(high.where, paths)
            let_in = allowed([high.where / path for path in paths])
            high.unplug()
            poll(lambda: "is lost" in mount.text(), "the warning")
            assert allowed([view / path for path in paths]) == let_in
            assert lists_in(view, paths) == expected
            assert {"", "r", "x", "rx"} == set(let_in)


@pytest.mark.alone
def test_after_the_crawl_acls_are_read_without_any_system_call(place: Path) -> None:
    high, low = grow(place / "sources/high", HIGH), grow(place / "sources/low", LOW)
    restrict(high)
    with mounted(place / "view", high, low, depth=2, options=[LASTING]) as view:
        await_crawls(view)
        paths, expected = inside(view.mountpoint), lists_in(high, inside(high))
        with traced(view.pid, view.mountpoint, place / "sources") as trace:
            trace.costs(lambda: os.stat(view.mountpoint))
            found: dict[str, Lists] = {}
            costs = trace.costs(lambda: found.update(lists_in(view.mountpoint, paths)))
        assert costs.calls == {}
        assert costs.requests["GETXATTR"] > len(paths)
        assert {path: found[path] for path in expected} == expected


@pytest.mark.parametrize("crawl", ["local", "off"])
def test_an_acl_set_changed_and_removed_shows_within_the_maximum_staleness(place: Path, crawl: str) -> None:
    high, low, where = trees(place, HIGH, LOW)
    none: Lists = {ACCESS: errno.ENODATA, DEFAULT: errno.ENODATA}
    with mounted(where, high, low, depth=2, options=[REFRESH, f"--crawl={crawl}"]) as view:
        if crawl != "off":
            await_crawls(view)
        names = (".", "A", "A/one", "A/one/00", "A/one/sub/deep", "A/one/sub/deep/file", "loose")
        assert lists_in(where, [*names]) == dict.fromkeys(names, none)
        for rights in (4, 6):
            wanted = {**none, ACCESS: access_list(rights)}
            for name in names:
                give(high / name, rights)
            for name in names:
                shows(lambda: lists_of(where / name) == wanted, f"the ACL of {name} with {rights}")  # noqa: B023
        for name in names:
            os.removexattr(high / name, ACCESS)
        for name in names:
            shows(lambda: lists_of(where / name) == none, f"the ACL of {name} removed")  # noqa: B023


def test_acls_in_a_folder_added_after_the_crawl_are_cached_once_it_was_listed(place: Path) -> None:
    low, view = grow(place / "low", LOW), place / "view"
    with disk(place / "high", HIGH) as high, mounted(view, high.where, low, depth=2, options=[REFRESH]) as mount:
        mount.expect(r"source high \(.*\) is lost")
        await_crawls(mount)
        new = grow(place / "new", {b"five": {**TRACKS}})
        give(new / "five/00", 4)
        give(new / "five", 5)
        output_of("cp", "-a", new, high.where / "Z")
        shows(lambda: os.path.isdir(view / "Z/five"), "the new folder")
        assert sorted(os.listdir(view / "Z/five")) == ["00", "01", "02", "03"]
        expected = lists_in(high.where / "Z", inside(high.where / "Z"))
        high.unplug()
        poll(lambda: "is lost" in mount.text(), "the warning")
        assert lists_in(view / "Z", list(expected)) == expected


def test_a_source_without_acl_support_has_none_and_its_modes_apply(place: Path) -> None:
    top, low = place / "high", grow(place / "low", LOW)
    top.mkdir()
    output_of("mount", "-t", "ramfs", "none", top)
    try:
        grow(top, HIGH)
        for path in inside(top):
            (top / path).chmod(0o755 if (top / path).is_dir() else 0o644)
        (top / "A/one/00").chmod(0o640)
        (top / "B/closed").chmod(0o750)
        for options in ([], ["--crawl=off"]):
            with mounted(place / "view", top, low, depth=2, options=[REFRESH, *ALL, *options]) as view:
                if not options:
                    await_crawls(view)
                paths = inside(top)
                let_in = allowed([top / path for path in paths])
                assert allowed([view.mountpoint / path for path in paths]) == let_in
                found = lists_in(view.mountpoint, paths)
                assert {value for lists in found.values() for value in lists.values()} == {errno.ENODATA}
    finally:
        output_of("umount", top)
