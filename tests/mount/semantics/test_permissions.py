"""Modes, owners, POSIX ACLs and extended attributes of the sources apply in the view, for other users too."""

import errno
import os
from pathlib import Path

import pytest

from tests.support.mounts import mounted
from tests.support.trees import grow
from tests.support.users import NOBODY, as_nobody, need, needs_root, output_of, run

pytestmark = needs_root

OPEN_TO_ALL = ("-o", "allow_other")


def _sources(place: Path) -> tuple[Path, Path]:
    high = grow(place / "high", {b"private": {b"track": b"h"}, b"public": {b"track": b"h", b"secret": b"h"}})
    low = grow(place / "low", {b"private": {b"track": b"l"}, b"other": {b"track": b"l"}})
    (high / "private").chmod(0o700)
    (high / "public/secret").chmod(0o600)
    return high, low


def _acl(place: Path, what: str, path: Path) -> None:
    need("getfacl")
    done = run("setfacl", "-m", what, path)
    if b"Operation not supported" in done.stderr:
        pytest.skip(f"the filesystem under {place} has no POSIX ACLs")
    assert done.returncode == 0, done.stderr


def test_another_user_reads_exactly_what_the_modes_allow(place: Path) -> None:
    with mounted(place / "view", *_sources(place), options=OPEN_TO_ALL) as view:
        assert as_nobody("cat", view.mountpoint / "public/track").stdout == b"h"
        assert as_nobody("ls", view.mountpoint / "public").stdout == b"secret\ntrack\n"
        for refused in (("ls", "private"), ("cat", "private/track"), ("cat", "public/secret")):
            done = as_nobody(refused[0], view.mountpoint / refused[1])
            assert (done.stdout, b"Permission denied" in done.stderr) == (b"", True), refused


def test_a_merged_directory_has_the_mode_of_the_first_source_though_another_is_open(place: Path) -> None:
    with mounted(place / "view", *_sources(place), depth=2, options=OPEN_TO_ALL) as view:
        assert b"Permission denied" in as_nobody("ls", view.mountpoint / "private").stderr
        assert as_nobody("ls", view.mountpoint / "other").stdout == b"track\n"


def test_without_allow_other_another_user_is_denied(place: Path) -> None:
    with mounted(place / "view", *_sources(place)) as view:
        assert b"Permission denied" in as_nobody("ls", view.mountpoint).stderr
        assert os.listdir(view.mountpoint) == ["other", "private", "public"]


def test_an_acl_allows_a_user_what_the_mode_denies(place: Path) -> None:
    sources = _sources(place)
    _acl(place, f"u:{NOBODY}:r", sources[0] / "public/secret")
    with mounted(place / "view", *sources, options=OPEN_TO_ALL) as view:
        assert as_nobody("cat", view.mountpoint / "public/secret").stdout == b"h"


def test_an_acl_denies_a_user_what_the_mode_allows(place: Path) -> None:
    high, low = _sources(place)
    _acl(place, f"u:{NOBODY}:-", high / "public/track")
    _acl(place, f"u:{NOBODY}:-", low / "other")
    with mounted(place / "view", high, low, options=OPEN_TO_ALL) as view:
        assert b"Permission denied" in as_nobody("cat", view.mountpoint / "public/track").stderr
        assert b"Permission denied" in as_nobody("ls", view.mountpoint / "other").stderr
        assert (view.mountpoint / "public/track").read_text() == "h"


def test_the_mask_of_an_acl_is_not_taken_for_the_groups_mode(place: Path) -> None:
    high, low = _sources(place)
    os.chown(high / "public/secret", 0, NOBODY)
    _acl(place, "u:12345:r,g::-,m::r", high / "public/secret")
    assert (high / "public/secret").stat().st_mode & 0o070 == 0o040, "the mask shows as the group's mode bits"
    with mounted(place / "view", high, low, options=OPEN_TO_ALL) as view:
        assert b"Permission denied" in as_nobody("cat", view.mountpoint / "public/secret").stderr


@pytest.mark.parametrize("depth", [1, 2])
def test_getfacl_prints_the_same_for_the_view_and_the_winner(place: Path, depth: int) -> None:
    sources, paths = _sources(place), (".", "public", "public/track")
    for path in paths:
        _acl(place, f"u:{NOBODY}:rx,g:12345:r", sources[0] / path)
        if path != "public/track":
            _acl(place, "d:u:12345:rwx", sources[0] / path)
    with mounted(place / "view", *sources, depth=depth, options=OPEN_TO_ALL) as view:
        for path in paths:
            shown = output_of("getfacl", "-nc", "--absolute-names", view.mountpoint / path)
            assert shown == output_of("getfacl", "-nc", "--absolute-names", sources[0] / path), path


def _set(path: Path, name: str, value: bytes) -> None:
    try:
        os.setxattr(path, name, value)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        pytest.skip(f"the filesystem of {path} has no user attributes")


@pytest.mark.parametrize("depth", [1, 2])
def test_extended_attributes_are_the_winners_and_read_only(place: Path, depth: int) -> None:
    sources, paths = _sources(place), ("public", "public/track", "private")
    for path in paths:
        for name, value in (("user.mood", b"\0bright\xff"), ("user.empty", b""), ("user.long", b"x" * 2000)):
            _set(sources[0] / path, name, value)
    with mounted(place / "view", *sources, depth=depth) as view:
        for where in (view.mountpoint / path for path in paths):
            own = [name for name in os.listxattr(where) if name.startswith("user.") and "mmirrorfs" not in name]
            assert sorted(own) == ["user.empty", "user.long", "user.mood"]
            assert os.getxattr(where, "user.mood") == b"\0bright\xff"
            assert (os.getxattr(where, "user.empty"), os.getxattr(where, "user.long")) == (b"", b"x" * 2000)
            with pytest.raises(OSError, match="Read-only file system"):
                os.setxattr(where, "user.mood", b"dark")
            with pytest.raises(OSError, match="Read-only file system"):
                os.removexattr(where, "user.mood")


def test_an_attribute_that_is_not_set_fails_with_enodata(place: Path) -> None:
    with mounted(place / "view", *_sources(place)) as view:
        for path in (view.mountpoint, view.mountpoint / "public/track"):
            with pytest.raises(OSError, match="No data available"):
                os.getxattr(path, "user.nothing")
