"""mount(8) and fstab: the helper, the old and the new form of the source field, and all words that mount(8) adds."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mounts import COMMAND
from tests.support.namespace import Inside, Line, Program, namespace, program
from tests.support.trees import folders, grow
from tests.support.users import needs_root

pytestmark = [pytest.mark.mount(seconds=180), needs_root]

ALWAYS = {"ro", "nosuid", "nodev"}


@pytest.fixture
def inside(place: Path) -> Iterator[Inside]:
    """A mount namespace with two sources, ``high`` and ``low``, and the directory ``view``."""
    grow(place / "high", {b"A": folders("h", *"2345")})
    grow(place / "low", {b"A": folders("l", *"01234")})
    (place / "view").mkdir()
    with namespace(place) as made:
        yield made


@pytest.fixture
def tool(place: Path) -> Program:
    """The command as an executable file that records its calls."""
    return program(place / "bin")


def winners(inside: Inside) -> str:
    """The contents of the tracks, by folder: the first letter is that of the winner."""
    top = inside.seen(inside.place / "view/A")
    return " ".join((top / name / "track").read_text() for name in sorted(os.listdir(top)))


HIGH, LOW = "l0 l1 h2 h3 h4 h5", "l0 l1 l2 l3 l4 h5"


def only_view(inside: Inside) -> Line:
    """The only mounted view."""
    (line,) = inside.views()
    return line


# Arguments of mount(8), which adds words to -o (rw, dev, suid) and removes others.
ROWS: dict[str, list[str]] = {
    "no options": ["-o", "depth=2,prefer=low"],
    "allow_other": ["-o", "depth=2,prefer=low,allow_other"],
    "generic words": [
        "-o", "ro,nodev,nosuid,noexec,noatime,user,nofail,_netdev,noauto,x-systemd.device-timeout=5,X-foo,comment=a,"
        "depth=2,prefer=low",
    ],
    "defaults": ["-o", "defaults,depth=2,prefer=low"],
    "-r": ["-r", "-o", "depth=2,prefer=low"],
    "-w": ["-w", "-o", "depth=2,prefer=low"],
    "dev, suid and rw": ["-o", "dev,suid,rw,exec,depth=2,prefer=low"],
    "many words": ["-o", "depth=2,refresh=5,on_missing=keep,remember=99,exclude=.*,prefer=low"],
    "an escaped comma": ["-o", r"depth=2,exclude=a\,b,prefer=low"],
}  # fmt: skip


def test_options_of_mount8_are_accepted_and_the_view_is_always_read_only(inside: Inside, tool: Program) -> None:
    for row in ROWS:
        check_options(inside, tool, row)


def check_options(inside: Inside, tool: Program, row: str) -> None:
    high, low, view = (inside.place / name for name in ("high", "low", "view"))
    done = inside.run("mount", "-t", f"fuse.{tool.path}", f"{high}:{low}", view, *ROWS[row])
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b""), row
    ((name, *words),) = tool.calls()
    assert name == os.fsencode(tool.path), row
    assert words[:3] == [os.fsencode(f"{high}:{low}"), os.fsencode(view), b"-o"], row
    assert words[3].startswith(b"ro," if row in ("-r", "generic words") else b"rw,"), row
    assert winners(inside) == LOW, row
    assert only_view(inside).options >= ALWAYS, row
    assert ("allow_other" in only_view(inside).options) == (row == "allow_other"), row
    assert only_view(inside).options.isdisjoint({"rw", "dev", "suid"}), row
    inside.unmount(view)
    assert inside.views() == [], row
    tool.forget()


def test_the_old_form_of_the_source_field_is_accepted(inside: Inside, tool: Program) -> None:
    high, low, view = (inside.place / name for name in ("high", "low", "view"))
    inside.output_of("mount", "-t", "fuse", f"{tool.path}#{high}:{low}", view, "-o", "depth=2,nofail")
    ((_, source, where, *_),) = tool.calls()
    assert (source, where) == (os.fsencode(f"{high}:{low}"), os.fsencode(view))
    assert winners(inside) == HIGH
    assert only_view(inside).what == os.fsencode(f"{high}:{low}")
    inside.unmount(view)


def test_a_remount_is_refused_with_advice(inside: Inside, tool: Program) -> None:
    words = ["mount", "-t", f"fuse.{tool.path}", f"{inside.place}/high:{inside.place}/low", str(inside.place / "view")]
    inside.output_of(*words, "-o", "depth=2")
    done = inside.run(*words, "-o", "remount,depth=2,prefer=low")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"mmirrorfs: remount is not possible: unmount the view and mount it again")
    assert done.stderr.count(b"\n") == 1
    assert winners(inside) == HIGH
    inside.unmount(inside.place / "view")


REFUSED: dict[str, tuple[int, str]] = {
    "-o dept=2": (1, "mmirrorfs: -o dept=2: unknown option; did you mean depth?"),
    "-o depth=deep": (1, "mmirrorfs: Invalid value for '-d' / '--depth': 'deep' is not a valid integer."),
    "-o uid=5": (1, "mmirrorfs: -o uid=5: not possible: a view shows owners and modes"),
    "-o overwritesymlinks=1": (1, "mmirrorfs: -o overwritesymlinks=1: overwritesymlinks takes no value"),
    "-o on_missing=nothing": (1, "mmirrorfs: Invalid value for '--on-missing'"),
    "": (32, "mmirrorfs: source {place}/nowhere does not exist: check the path, or mount it first"),
}
"""Options of mount(8) with exit code and the beginning of the message."""


def test_exit_code_and_message_pass_through_mount8(inside: Inside, tool: Program) -> None:
    for words, (code, line) in REFUSED.items():
        source = f"{inside.place}/high:{inside.place}/{'low' if words else 'nowhere'}"
        done = inside.run("mount", "-t", f"fuse.{tool.path}", source, inside.place / "view", *words.split())
        assert (done.returncode, done.stdout) == (code, b""), words
        assert done.stderr.decode().startswith(line.format(place=inside.place)), words
        assert done.stderr.count(b"\n") == 1, words
        assert inside.views() == [], words


BESIDE = (
    "/usr/local/lib/systemd/system/mmirrorfs@.service",
    "/usr/local/share/man/man8/mmirrorfs.8",
    "/usr/local/share/bash-completion/completions/mmirrorfs",
    "/usr/local/share/zsh/site-functions/_mmirrorfs",
    "/etc/fish/completions/mmirrorfs.fish",
)
"""What ``--install-helper`` writes besides the links."""


def cover_beside(inside: Inside) -> Path:
    """Cover the directories that BESIDE is written to by private ones without it; returns the root of these."""
    inside.cover("/etc").joinpath("fish").unlink(missing_ok=True)
    local = inside.cover("/usr/local")
    for name in ("lib", "share"):
        (local / name).unlink(missing_ok=True)
        (local / name).mkdir()
        real = inside.place / "real/usr/local" / name
        written = {path.split("/")[4] for path in BESIDE if path.startswith(f"/usr/local/{name}/")}
        for below in set(os.listdir(inside.seen(real))) - written:
            os.symlink(real / below, local / name / below)
    return inside.place / "mine"


def installed(inside: Inside, tool: Program) -> Path:
    """Install the helper into a private /sbin; returns that directory."""
    sbin = inside.cover(os.path.realpath("/sbin"))
    cover_beside(inside)
    done = inside.run(tool.path, "--install-helper")
    assert (done.returncode, done.stdout) == (0, b"")
    for name in ("mount.fuse.mmirrorfs", "mount.mmirrorfs"):
        assert os.readlink(sbin / name) == str(tool.path)
        assert f"/sbin/{name} -> {tool.path}\n".encode() in done.stderr
    tool.forget()
    return sbin


def test_the_helper_is_found_by_type_and_takes_the_flags_of_mount8(inside: Inside, tool: Program) -> None:
    installed(inside, tool)
    for kind in ("fuse.mmirrorfs", "mmirrorfs"):
        check_found_by_type(inside, tool, kind)


def check_found_by_type(inside: Inside, tool: Program, kind: str) -> None:
    high, low, view = (inside.place / name for name in ("high", "low", "view"))
    words = ["mount", "-t", kind, f"{high}:{low}", str(view), "-o", "depth=2,nofail,_netdev,user,prefer=low"]
    inside.output_of("mount", "-f", *words[1:])
    assert inside.views() == [], "-f means that nothing is done"
    inside.output_of("mount", "-n", "-s", *words[1:])
    arrived = tool.calls()[-1]
    assert arrived[0] == f"/sbin/mount.{kind}".encode()
    assert {b"-n", b"-s"} <= set(arrived), kind
    assert {b"user", b"nofail", b"_netdev"} <= set(arrived[-1].split(b",")), kind
    assert winners(inside) == LOW, kind
    assert only_view(inside).options >= ALWAYS, kind
    inside.unmount(view)
    done = inside.run("mount", "-v", *words[1:])
    assert done.returncode == 0, kind
    assert f"{view} is mounted".encode() in done.stderr, kind
    inside.unmount(view)


def test_the_helper_does_nothing_with_the_fake_flag(inside: Inside, tool: Program) -> None:
    installed(inside, tool)
    for flags in ("-f", "-sf", "-fnv", "-n -f -v"):
        words = [f"{inside.place}/high:{inside.place}/low", str(inside.place / "view"), *flags.split(), "-o", "ro"]
        done = inside.run("/sbin/mount.fuse.mmirrorfs", *words)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b""), flags
        assert inside.views() == [], flags


def test_uninstalling_the_helper_leaves_files_of_others_alone(inside: Inside, tool: Program) -> None:
    sbin = installed(inside, tool)
    assert inside.run(tool.path, "--install-helper").returncode == 0, "a second time does no harm"
    (sbin / "mount.mmirrorfs").unlink()
    (sbin / "mount.mmirrorfs").write_text("somebody else's")
    done = inside.run(tool.path, "--install-helper")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"mmirrorfs: /sbin/mount.mmirrorfs is there already and is not ours: remove it first\n"
    assert os.readlink(sbin / "mount.fuse.mmirrorfs") == str(tool.path)
    done = inside.run(tool.path, "--uninstall-helper")
    assert (done.returncode, done.stderr.splitlines()[0]) == (0, b"/sbin/mount.fuse.mmirrorfs removed")
    assert b"/sbin/mount.mmirrorfs" not in done.stderr
    assert not os.path.lexists(sbin / "mount.fuse.mmirrorfs")
    assert (sbin / "mount.mmirrorfs").read_text() == "somebody else's"
    (sbin / "mount.mmirrorfs").unlink()
    (sbin / "mount.mmirrorfs").symlink_to(inside.place / "bin/something-else")
    assert inside.run(tool.path, "--install-helper").returncode == 2
    assert not os.path.lexists(sbin / "mount.fuse.mmirrorfs"), "all links or none"


def test_the_helper_installs_and_removes_unit_manual_and_completions(inside: Inside, tool: Program) -> None:
    installed(inside, tool)
    unit, page, *completions = (inside.seen(Path(name)) for name in BESIDE)
    assert f'ExecStart="{tool.path}" --foreground ' in unit.read_text()
    assert page.read_text().startswith(".TH MMIRRORFS 8")
    for path in completions:
        assert "_MMIRRORFS_COMPLETE=" in path.read_text()
    done = inside.run(tool.path, "--uninstall-helper")
    assert done.stderr.decode().splitlines()[2:] == [f"{name} removed" for name in BESIDE]
    assert [path for path in (unit, page, *completions) if path.exists()] == []
    done = inside.run(tool.path, "--uninstall-helper")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("name", ["my programs", "50%nice"])
def test_the_unit_quotes_the_path_of_the_program(inside: Inside, place: Path, name: str) -> None:
    tool = program(place / name)
    installed(inside, tool)
    verified = inside.run("systemd-analyze", "verify", "--man=no", BESIDE[0].replace("@", "@high"))
    assert verified.returncode == 0, verified.stderr
    assert b"mmirrorfs" not in verified.stderr


def test_installing_names_the_file_that_cannot_be_written(inside: Inside, tool: Program) -> None:
    inside.cover(os.path.realpath("/sbin"))
    (cover_beside(inside) / "usr/local/share/man").write_text("no directory")
    done = inside.run(tool.path, "--install-helper")
    assert (done.returncode, done.stdout) == (2, b"")
    last = done.stderr.decode().splitlines()[-1]
    assert last == "mmirrorfs: /usr/local/share/man/man8/mmirrorfs.8 cannot be made: Not a directory; become root"


def test_the_helper_is_not_installed_for_python_dash_m(inside: Inside) -> None:
    sbin = inside.cover(os.path.realpath("/sbin"))
    done = inside.run(*COMMAND, "--install-helper")
    assert (done.returncode, done.stdout) == (1, b"")
    assert re.fullmatch(rb"mmirrorfs: [^\n]+: run that, and not python -m mmirrorfs\n", done.stderr)
    assert not os.path.lexists(sbin / "mount.mmirrorfs")


def test_installing_the_helper_as_a_plain_user_is_refused(inside: Inside, tool: Program) -> None:
    inside.let_everybody_open_fuse()
    inside.cover(os.path.realpath("/sbin"))
    done = inside.run_as_nobody(tool.path, "--install-helper")
    assert (done.returncode, done.stdout) == (2, b"")
    assert re.fullmatch(rb"mmirrorfs: /sbin/mount\.\S+ cannot be made: [^;\n]+; become root\n", done.stderr)


# The name of a source, and its form in the source field of fstab.
NAMES: dict[str, tuple[bytes, bytes]] = {
    "spaces": (b"my  best music", rb"my\040\040best\040music"),
    "commas": (b"a,b,,c", b"a,b,,c"),
    "a backslash": (rb"a\b", rb"a\134\134b"),
    "a colon": (b"a:b", rb"a\134:b"),
    "bytes that are no UTF-8": (b"m\xfcsic", b"m\xfcsic"),
    "all of that": (b"\xfc\t a,\\:#\"'", rb"%s\011\040a,\134\134\134:\043" % b"\xfc" + b"\"'"),
}  # fmt: skip


def test_mount_a_mounts_an_fstab_line_once(inside: Inside, tool: Program) -> None:
    installed(inside, tool)
    source = inside.place / "high"
    for name, (plain, field) in NAMES.items():
        source = source.rename(os.fsdecode(os.fsencode(inside.place) + b"/" + plain))
        check_fstab(inside, tool, name, field)


def check_fstab(inside: Inside, tool: Program, name: str, field: bytes) -> None:
    where, table = os.fsencode(inside.place), inside.place / "fstab"
    line = b"%s/%s:%s/low %s/view fuse.mmirrorfs depth=2,prefer=high,nofail 0 0\n"
    table.write_bytes(line % (where, field, where, where))
    inside.output_of("mount", "-a", "-T", table)
    assert winners(inside) == HIGH, name
    inside.output_of("mount", "-a", "-T", table)
    assert len(tool.calls()) == 1, f"{name}: mount -a knows it by its source field"
    inside.output_of("mount", "-T", table, inside.place / "view")
    assert len(tool.calls()) == 2, f"{name}: named, it is mounted again"
    assert only_view(inside).what == tool.calls()[0][1], name
    inside.unmount(inside.place / "view")
    assert inside.views() == [], name
    tool.forget()


def test_findmnt_shows_source_type_and_options_of_an_fstab_line(inside: Inside, tool: Program) -> None:
    installed(inside, tool)
    source, view, table = f"{inside.place}/high:{inside.place}/low", inside.place / "view", inside.place / "fstab"
    table.write_text(f"{source} {view} fuse.mmirrorfs defaults,rw,dev,suid,depth=2,allow_other 0 0\n")
    inside.output_of("mount", "-T", table, view)
    found = inside.output_of("findmnt", "-n", "-r", "-o", "SOURCE,FSTYPE,OPTIONS", view).decode().split()
    assert found[:2] == [source, "fuse.mmirrorfs"]
    assert {*ALWAYS, "default_permissions", "allow_other"} <= set(found[2].split(","))
    for wrong, path in (("touch", "new"), ("rm", "A/2/track")):
        assert b"Read-only file system" in inside.run(wrong, view / path).stderr
    verified = inside.run("findmnt", "--verify", "--tab-file", table)
    assert b"0 parse errors, 0 errors" in verified.stdout + verified.stderr
    inside.unmount(view)


def test_two_views_of_one_fstab_are_mounted_and_unmounted_by_type(inside: Inside, tool: Program) -> None:
    installed(inside, tool)
    table, place = inside.place / "fstab", inside.place
    (place / "low view").mkdir()
    lines = (("view", "high"), (r"low\040view", "low"))
    table.write_text(
        "".join(f"{place}/high:{place}/low {place}/{at} fuse.mmirrorfs depth=2,prefer={win} 0 0\n" for at, win in lines)
    )
    inside.output_of("mount", "-a", "-T", table)
    inside.output_of("mount", "-a", "-T", table)
    assert [line.where for line in inside.views()] == [os.fsencode(place / at) for at in ("view", "low view")]
    assert winners(inside) == HIGH
    assert (inside.seen(place / "low view/A/2/track")).read_text() == "l2"
    inside.output_of("umount", "-a", "-t", "fuse.mmirrorfs")
    assert inside.views() == []
