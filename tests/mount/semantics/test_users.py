"""A view grants each user what the source grants; set-user-ID programs and devices have no effect in it."""

import itertools
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.kernel import view_at
from tests.support.mounts import mounted
from tests.support.trees import grow
from tests.support.users import NOBODY, as_nobody, need, needs_root, output_of, run

pytestmark = needs_root

ALL = ("-o", "allow_other")
DAEMON, WWW = 1, 33
USERS = (NOBODY, DAEMON, WWW)
MODES = (0o000, 0o400, 0o040, 0o004, 0o750, 0o711, 0o705, 0o777)
OWNERS = ((0, 0), (NOBODY, DAEMON), (DAEMON, NOBODY))
ACLS = ("", f"u:{NOBODY}:-", f"u:{WWW}:rwx", f"g:{DAEMON}:rx", f"u:{DAEMON}:rx,m::r", f"g:{WWW}:-,u:{NOBODY}:rx")

_PROBE = 'for p; do { true < "$p"; } 2>/dev/null && echo yes || echo no; done'


def may(user: int, paths: Sequence[Path | str]) -> list[str]:
    """Whether the user may open each path for reading."""
    identity = (f"--reuid={user}", f"--regid={user}", "--clear-groups")
    return output_of("setpriv", *identity, "sh", "-c", _PROBE, "sh", *paths).decode().split()


def protect(path: Path, mode: int, owner: tuple[int, int], acl: str) -> None:
    """Set owner, mode and ACL of a path."""
    os.chown(path, *owner)
    path.chmod(mode)
    if acl and run("setfacl", "-m", acl, path).returncode:
        pytest.skip(f"the filesystem of {path} has no POSIX ACLs")


def protected(high: Path) -> Iterator[str]:
    """For each combination make a merged directory, a folder, and a directory and a file in one; yield their paths."""
    for number, (mode, owner, acl) in enumerate(itertools.product(MODES, OWNERS, ACLS)):
        merged, folder, inner = f"merged-{number}", f"Folders/{number}", f"In/folder/{number}"
        for where in (f"{merged}/folder", folder, inner):
            grow(high / where, {b"track": b"t"})
        file = f"In/folder/file-{number}"
        (high / file).write_bytes(b"t")
        for path in (merged, folder, inner, file):
            protect(high / path, mode, owner, acl)
        yield from (path for above in (merged, folder, inner) for path in (above, f"{above}/track"))
        yield from (file, f"{merged}/folder/track")


@pytest.mark.slow
def test_every_user_has_the_same_access_to_the_view_as_to_the_source(place: Path) -> None:
    need("setfacl")
    need("setpriv")
    high, low = grow(place / "high", {}), grow(place / "low", {b"Other": {b"One": {b"track": b"o"}}})
    paths = list(protected(high))
    with mounted(place / "view", high, low, depth=2, options=ALL) as view:
        for user in USERS:
            allowed = may(user, [f"{high}/{path}" for path in paths])
            shown = may(user, [f"{view.mountpoint}/{path}" for path in paths])
            wrong = [what for what in zip(paths, allowed, shown, strict=True) if what[1] != what[2]]
            assert not wrong, f"to user {user}: (path, in the source, in the view): {wrong}"
            assert {"yes", "no"} == set(allowed)


def test_a_set_user_id_program_grants_no_privilege(place: Path) -> None:
    high, low = grow(place / "high", {b"bin": {}}), grow(place / "low", {b"Other": {}})
    program = Path(shutil.copy(need("id"), high / "bin/id"))
    program.chmod(0o6755)
    if as_nobody(program, "-u").stdout != b"0\n":
        pytest.skip(f"set-user-ID programs have no effect under {place} already")
    with mounted(place / "view", high, low, options=ALL) as view:
        for mode in (0o6755, 0o4755):
            assert stat.S_IMODE((view.mountpoint / "bin/id").stat().st_mode) == 0o6755, "the mode is shown unchanged"
            assert as_nobody(view.mountpoint / "bin/id", "-u").stdout == b"%d\n" % NOBODY, f"{mode:o}"
            assert as_nobody(view.mountpoint / "bin/id", "-g").stdout == b"%d\n" % NOBODY, f"{mode:o}"


@pytest.mark.parametrize("options", [ALL, ("-o", "allow_other,suid,dev"), ("-o", "rw,exec")], ids=" ".join)
def test_devices_cannot_be_opened_whatever_the_mount_options(place: Path, options: tuple[str, ...]) -> None:
    high, low = grow(place / "high", {b"dev": {}}), grow(place / "low", {b"Other": {}})
    for path, device in ((high / "dev/null", os.makedev(1, 3)), (high / "zero", os.makedev(1, 5))):
        os.mknod(path, stat.S_IFCHR | 0o666, device)
        path.chmod(0o666)
        path.read_bytes() if path.name == "null" else None
    with mounted(place / "view", high, low, options=options) as view:
        for name in ("dev/null", "zero"):
            st = (view.mountpoint / name).stat()
            assert (stat.S_ISCHR(st.st_mode), st.st_rdev) == (True, (high / name).stat().st_rdev)
            with pytest.raises(PermissionError):
                os.open(view.mountpoint / name, os.O_RDONLY)
        found = view_at(view.where)
        assert found is not None
        assert found.options >= {"ro", "nosuid", "nodev"}


@pytest.mark.parametrize("options", [ALL, ()], ids=["for all", "for root"])
def test_a_private_directory_above_a_source_is_warned_of_with_allow_other(
    place: Path, options: tuple[str, ...]
) -> None:
    high, low = grow(place / "closed/high", {b"A": {b"track": b"h"}}), grow(place / "low", {b"B": {b"track": b"l"}})
    high.parent.chmod(0o700)
    with mounted(place / "view", high, low, options=options) as view:
        if options:
            view.expect(f"{high.parent} is closed to other users, .* {high} becomes readable for them")
        seen = as_nobody("cat", view.mountpoint / "A/track").stdout
        assert seen == (b"h" if options else b"")
