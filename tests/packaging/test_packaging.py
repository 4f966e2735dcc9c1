"""What is installed beside the program: the systemd unit, the examples, and the scripts that package."""

import os
import re
import shlex
import socket
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from mmirrorfs import __version__
from tests.support.kernel import view_at
from tests.support.trees import folders, grow
from tests.support.users import need, needs_root, output_of, run

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "packaging"
UNIT = PACKAGING / "mmirrorfs@.service"
GENERATOR = Path("/usr/lib/systemd/system-generators/systemd-fstab-generator")


def setting(name: str) -> str:
    """What the unit says under a name."""
    found = re.search(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert found is not None, name
    return found[1]


def test_systemd_finds_no_fault_with_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "mmirrorfs@high.service"
    unit.write_text(re.sub(r"/usr/bin/(mmirrorfs|fusermount3)", "/bin/true", UNIT.read_text()))
    verified = run("systemd-analyze", "verify", "--man=no", unit)
    assert (verified.returncode, verified.stderr) == (0, b"")


@pytest.mark.parametrize("file", [UNIT, ROOT / "README.md"], ids=lambda file: file.name)
def test_a_unit_does_not_give_up_when_a_source_comes_late(file: Path) -> None:
    lines = [line.strip() for line in file.read_text().splitlines()]
    unit, service, install = (lines.index(f"[{name}]") for name in ("Unit", "Service", "Install"))
    assert "StartLimitIntervalSec=0" in lines[unit:service]
    assert {"Restart=on-failure", "RestartSec=5"} <= set(lines[service:install])


def test_unit_has_no_mount_namespace_of_its_own() -> None:
    hiding = r"^(Protect(?!Hostname|Clock)\w+|Private\w+|\w+Paths|Root\w+|Temporary\w+|Bind\w+|MountFlags|DynamicUser)="
    assert re.findall(hiding, UNIT.read_text(), re.MULTILINE) == []


def command_of_the_unit(**values: str) -> list[str]:
    """What follows the program's name in the unit, with what the example configuration says in its place, or these."""
    example = re.findall(r"^(\w+)=(.*)$", (PACKAGING / "high.conf.example").read_text(), re.MULTILINE)
    values = {name: shlex.split(value)[0].replace("depth=2", "depth=1") for name, value in example} | values
    program, *words = setting("ExecStart").split()
    assert program == "/usr/bin/mmirrorfs"
    return [re.sub(r"\$\{(\w+)\}", lambda name: values[name[1]], word) for word in words]


@pytest.mark.mount
@needs_root
def test_command_of_the_unit_mounts_with_the_rights_that_the_unit_leaves_it(place: Path) -> None:
    rights = [f"+{name.removeprefix('CAP_').lower()}" for name in setting("CapabilityBoundingSet").split()]
    bound = (need("setpriv"), f"--bounding-set=-all,{','.join(rights)}", "--no-new-privs")
    flac, mp3 = grow(place / "my flac", folders("f", "1", "2")), grow(place / "mp3", folders("m", "2", "3"))
    (place / "view").mkdir()
    words = command_of_the_unit(SOURCES=f"{flac}:{mp3}", MOUNTPOINT=str(place / "view"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(place / "notify"))
        listener.settimeout(20)
        environment = {**os.environ, "NOTIFY_SOCKET": str(place / "notify")}
        with subprocess.Popen([*bound, sys.executable, "-m", "mmirrorfs", *words], env=environment) as process:
            try:
                for said in iter(lambda: listener.recv(4096), b"READY=1"):
                    assert said.startswith(b"STATUS=")
                shown = {name: (place / "view" / name / "track").read_text() for name in "123"}
            finally:
                process.terminate()
    assert shown == {"1": "f1", "2": "f2", "3": "m3"}
    assert process.returncode == 0
    assert view_at(os.fsencode(place / "view")) is None


def test_every_line_of_the_example_fstab_becomes_a_mount_unit(tmp_path: Path) -> None:
    if not GENERATOR.exists():
        pytest.skip("systemd-fstab-generator is not installed")
    normal, early, late = (tmp_path / name for name in ("normal", "early", "late"))
    for directory in (normal, early, late):
        directory.mkdir()
    table = PACKAGING / "fstab.example"
    made = run(str(GENERATOR), normal, early, late, environment={"SYSTEMD_FSTAB": str(table)})
    assert made.returncode == 0, made.stderr
    lines = [line.split() for line in table.read_text().splitlines() if line and not line.startswith("#")]
    units = {unit.name: unit.read_text() for unit in normal.glob("*.mount")}
    assert len(units) == len(lines)
    for source, where, kind, options, *_ in lines:
        unit = next(text for text in units.values() if f"Where={plain(where)}\n" in text)
        assert f"What={plain(source)}\nWhere={plain(where)}\nType={kind}\nOptions={options}\n" in untimed(unit)
    music = units["mnt-music.mount"]
    assert "RequiresMountsFor=/media/flac /net/music/mp3\n" in music
    assert "TimeoutSec=10min\n" in music


def plain(field: str) -> str:
    """A field of fstab without escapes."""
    return field.replace("\\040", " ")


def untimed(unit: str) -> str:
    """A unit without its time limit."""
    return re.sub(r"^TimeoutSec=.*\n", "", unit, flags=re.MULTILINE)


@pytest.mark.mount
@needs_root
def test_line_of_the_example_fstab_mounts(place: Path) -> None:
    lines = (PACKAGING / "fstab.example").read_text().splitlines()
    line = next(line for line in lines if line.startswith("/srv/flac:/srv/my\\040"))
    grow(place / "flac", {b"A": folders("f", "1", "2")})
    grow(place / "my mp3", {b"A": folders("m", "2", "3")})
    view = place / "best of"
    view.mkdir()
    program = place / "mmirrorfs"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mmirrorfs "$@"\n')
    program.chmod(0o755)
    line = line.replace("/srv/", f"{place}/").replace("/mnt/", f"{place}/").replace("fuse.mmirrorfs", f"fuse.{program}")
    (place / "fstab").write_text(line + "\n")
    output_of("mount", "-T", place / "fstab", view)
    try:
        assert {name: (view / "A" / name / "track").read_text() for name in "123"} == {"1": "f1", "2": "f2", "3": "m3"}
    finally:
        output_of("umount", view)


@pytest.mark.slow
@pytest.mark.timeout(360)
def test_one_command_builds_what_is_published(tmp_path: Path) -> None:
    built = run(str(ROOT / "scripts" / "package"), tmp_path, seconds=300)
    assert built.returncode == 0, built.stderr.decode()
    with zipfile.ZipFile(tmp_path / f"mmirrorfs-{__version__}-py3-none-any.whl") as wheel:
        names = set(wheel.namelist())
    assert {"mmirrorfs/py.typed", "mmirrorfs/cli/manual_text.py", "mmirrorfs/__main__.py"} <= names
    assert {f"mmirrorfs/cli/html/page.{suffix}" for suffix in ("html", "css", "js")} <= names
    assert {name.partition("/")[0] for name in names} == {"mmirrorfs", f"mmirrorfs-{__version__}.dist-info"}
    with tarfile.open(tmp_path / f"mmirrorfs-{__version__}.tar.gz") as source:
        names = {name.partition("/")[2] for name in source.getnames()}
    assert {
        "LICENSE",
        "pyproject.toml",
        "packaging/mmirrorfs@.service",
        "scripts/test",
        "tests/support/build.py",
    } <= names
    assert not {name for name in names if name.startswith((".venv", "build/", "dist/"))}
