"""Samba sharing a view: what a guest sees and may do, and which system calls the server makes."""

import re
import shutil
from pathlib import Path

import pytest

from tests.support.fresh import REFRESH, shows
from tests.support.mounts import mounted
from tests.support.samba import shared
from tests.support.songs import library, songs, winners
from tests.support.trees import Tree, grow, stamps
from tests.support.users import needs_root, output_of

pytestmark = [
    pytest.mark.mount,
    needs_root,
    pytest.mark.skipif(
        not all(map(shutil.which, ("smbd", "smbclient", "ffmpeg"))),
        reason="smbd, smbclient and ffmpeg are needed: apt install samba smbclient ffmpeg",
    ),
]

OPEN = ("-o", "allow_other")
ODD: Tree = {
    "Björk & Söhne".encode(): {"Ærlig ☃ 🎵".encode(): {b"01 a, b; c.flac": b"umlauts"}},
    "Bjo\u0308rk".encode(): {b"It's (live) [1999] #1 100% $5": {b"~ + = ! @ ^ {x}.flac": b"decomposed"}},
    b"C": {b"empty": {}, b"upper": {b"A.flac": b"upper", b"a.flac": b"lower"}},
}
MANGLED: Tree = {
    b"AC": {
        b"Live: at last": {b"a:c.flac": b"one"},
        b"And so on...": {b"trailing .": b"two"},
        b"back\\slash": {b"1": b"three"},
    }
}
"""Names that SMB cannot represent."""
WILD: Tree = {
    b"AC": {b'"Live"?': {b"1.flac": b"one"}, b"<Live>": {b"2.flac": b"two"}, b"plain": {b"a*b|c.flac": b"three"}}
}
"""Names with SMB's wildcards."""
SHORT = r'[:"<>?*|]|\.$'
CATIA = (
    "vfs objects = catia",
    "catia:mappings = 0x22:0xa8,0x2a:0xa4,0x3a:0xf7,0x3c:0xab,0x3e:0xbb,0x3f:0xbf,0x5c:0xff,0x7c:0xa6",
)
"""The advice of the documentation: replacements for characters that SMB cannot represent."""


def samba() -> tuple[int, ...]:
    """The version of the server."""
    return tuple(map(int, re.findall(rb"\d+", output_of("smbd", "--version"))[:2]))


def tree(top: Path) -> dict[str, int | None]:
    """All paths with their sizes; None for a directory."""
    return {str(path.relative_to(top)): None if path.is_dir() else path.stat().st_size for path in top.rglob("*")}


def contents(top: Path) -> dict[str, bytes]:
    """The files and their bytes."""
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


@pytest.mark.parametrize("prefer", ["high", "low"])
def test_a_guest_lists_and_copies_the_whole_view(place: Path, prefer: str) -> None:
    high, low = library(place)
    grow(place / "high", ODD)
    with mounted(place / "mnt", high, low, prefer=prefer, depth=2, options=OPEN) as view:
        with shared(place / "smb", view.mountpoint, "read only = yes") as share:
            listed = share.tree()
            share.get(place / "copy")
        order = (high, low) if prefer == "high" else (low, high)
        expected = {path: winner.read_bytes() for path, winner in winners(*order).items()}
        assert f"Ann/Both/1.{'flac' if prefer == 'high' else 'mp3'}" in expected
        assert contents(place / "copy") == expected
        assert listed == tree(view.mountpoint) == tree(place / "copy")


def test_names_that_smb_cannot_represent_are_mangled_and_can_be_read(place: Path) -> None:
    sources = grow(place / "high", MANGLED), grow(place / "low", {})
    with mounted(place / "mnt", *sources, depth=2, options=OPEN) as view:
        view.expect("is empty")
        with shared(place / "smb", view.mountpoint, "read only = yes") as share:
            listed = share.tree()
            share.get(place / "copy")
    assert listed == tree(place / "copy")
    assert sorted(contents(place / "copy").values()) == [b"one", b"three", b"two"]
    assert [path for path in listed if re.search(SHORT, path)] == []


def test_names_with_wildcards_are_mangled_and_since_samba_4_22_unreadable(place: Path) -> None:
    sources = grow(place / "high", WILD), grow(place / "low", {})
    with mounted(place / "mnt", *sources, depth=2, options=OPEN) as view:
        view.expect("is empty")
        for number, top in enumerate((view.mountpoint, sources[0])):
            with shared(place / f"smb{number}", top, "read only = yes") as share:
                listed = share.tree()
                share.get(place / f"copy{number}")
            assert len(listed) == 7
            assert [path for path in listed if re.search(SHORT, path)] == []
            opened = [] if samba() >= (4, 22) else [b"one", b"three", b"two"]
            assert sorted(contents(place / f"copy{number}").values()) == opened, (
                "the same for a plain folder and a view"
            )


def test_with_catia_mappings_all_names_can_be_read(place: Path) -> None:
    if not list(Path("/usr/lib").glob("*/samba/vfs/catia.so")):
        pytest.skip("the module catia is not installed: apt install samba-vfs-modules")
    sources = grow(place / "high", MANGLED), grow(place / "low", WILD)
    with (
        mounted(place / "mnt", *sources, depth=2, options=OPEN) as view,
        shared(place / "smb", view.mountpoint, "read only = yes", *CATIA) as share,
    ):
        listed = share.tree()
        share.get(place / "copy")
    assert {"AC/¨Live¨¿/1.flac", "AC/«Live»/2.flac", "AC/plain/a¤b¦c.flac", "AC/Live÷ at last/a÷c.flac"} <= set(listed)
    assert sorted(contents(place / "copy").values()) == 2 * [b"one"] + 2 * [b"three"] + 2 * [b"two"]


@pytest.mark.parametrize("read_only", ["yes", "no"])
def test_writes_fail_even_where_the_share_allows_them(place: Path, read_only: str) -> None:
    sources = library(place)
    (place / "new").write_text("new")
    (place / "low/Bob/Empty").mkdir()
    for source in sources:
        for path in [source, *source.rglob("*")]:
            path.chmod(0o777)
    before = [stamps(source) for source in sources]
    commands = [f"put {place}/new new", "mkdir Ann/New", "del Ann/Both/1.flac", "rename Ann/High Ann/Gone"]
    commands += ["rmdir Bob/Empty", f"put {place}/new Ann/Both/1.flac"]
    with mounted(place / "mnt", *sources, depth=2, options=OPEN) as view:
        shown = tree(view.mountpoint)
        with shared(place / "smb", view.mountpoint, f"read only = {read_only}") as share:
            for command in commands:
                _, said = share.say(command)
                assert re.search("ACCESS_DENIED|MEDIA_WRITE_PROTECTED", said), f"{command}: {said}"
        assert tree(view.mountpoint) == shown
    assert [stamps(source) for source in sources] == before


def test_without_allow_other_a_guest_sees_nothing(place: Path) -> None:
    with mounted(place / "mnt", *library(place), depth=2) as view, shared(place / "smb", view.mountpoint) as share:
        code, said = share.say("ls")
        assert code != 0
        assert "NT_STATUS_ACCESS_DENIED" in said


def test_a_connected_client_sees_an_album_that_another_source_took_over(place: Path) -> None:
    high, low = library(place)
    with mounted(place / "mnt", high, low, depth=2, options=[*OPEN, REFRESH]) as view:
        with shared(place / "smb", view.mountpoint, "read only = yes") as share, share.connected() as client:
            assert "  1.mp3 " in client.ask("ls Ann/Low/*")
            assert "NT_STATUS_NO_SUCH_FILE" in client.ask("ls Ann/New")
            songs(high / "Ann/Low/1.flac", high / "Ann/New/1.flac")
            shows(lambda: "  1.flac " in client.ask("ls Ann/Low/*"), "the album, taken over")
            assert "  1.mp3 " not in client.ask("ls Ann/Low/*")
            shows(lambda: "  1.flac " in client.ask("ls Ann/New/*"), "the new album")
            client.ask(f"get Ann/Low/1.flac {place}/copy")
        assert (place / "copy").read_bytes() == (high / "Ann/Low/1.flac").read_bytes()


def test_system_calls_of_the_server_fail_only_with_expected_errors(place: Path) -> None:
    """Except openat2 on /proc by Samba 4.25, which fails with EXDEV for a plain folder too."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    with mounted(place / "mnt", *library(place), depth=2, options=OPEN) as view:
        with shared(place / "smb", view.mountpoint, "read only = yes", traced=True) as share:
            share.get(place / "copy")
            assert share.say("allinfo Ann/Both/1.flac", "open Ann/Both/1.flac", "volume")[0] == 0
        lines = (place / "smb/record").read_text().splitlines()
        calls = [line for line in lines if str(view.mountpoint) in line and "RESOLVE_NO_XDEV" not in line]
        answers = {(call[1], call[2]) for line in calls if (call := re.search(r"(\w+)\(.* = -1 (E\w+)", line))}
        asked = {call[1] for line in calls if (call := re.search(r"(\w+)\(", line))}
    assert {"fgetxattr", "flistxattr", "fcntl"} <= asked
    assert any("OFD_GETLK" in line and line.endswith(" = 0") for line in calls)
    assert {answer for _, answer in answers} <= {"ENODATA", "ENOENT", "EINVAL"}, answers
    assert {call for call, answer in answers if answer == "EINVAL"} <= {"readlink", "readlinkat"}, answers
