"""The systemd unit, the example files, and the packaging scripts."""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from mmirrorfs import __version__
from tests.support.kernel import view_at
from tests.support.mounts import mounted
from tests.support.polling import poll
from tests.support.running import called
from tests.support.trees import folders, grow
from tests.support.users import as_nobody, need, needs_root, output_of, run
from tests.support.watcher import watcher

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "packaging"
UNIT = ROOT / "mmirrorfs/cli/mmirrorfs@.service"
GENERATOR = Path("/usr/lib/systemd/system-generators/systemd-fstab-generator")


def setting(name: str) -> str:
    """The value of a setting of the unit."""
    found = re.search(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert found is not None, name
    return found[1]


def test_systemd_verifies_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "mmirrorfs@high.service"
    unit.write_text(re.sub(r"/usr/bin/(mmirrorfs|fusermount3)", "/bin/true", UNIT.read_text()))
    verified = run("systemd-analyze", "verify", "--man=no", unit)
    assert verified.returncode == 0, verified.stderr
    assert [line for line in verified.stderr.splitlines() if b"mmirrorfs" in line] == []


def test_sandboxing_that_the_unit_lacks_is_explained_in_it() -> None:
    if b"--offline" not in run("systemd-analyze", "--help").stdout:
        pytest.skip("this systemd cannot look at a file")
    words = ("--offline=true", "--no-pager", UNIT)
    done = run("systemd-analyze", "security", *words, environment={"LC_ALL": "C.UTF-8"})
    wanted = set(re.findall(r"^✗ (\S+)", done.stdout.decode(), re.MULTILINE))
    said = UNIT.read_text().partition("would break:\n")[2]
    explained = {word for line in said.splitlines() if re.match(r"# \S+=", line) for word in line[2:].split()}
    assert "User=/DynamicUser=" in wanted
    assert wanted - explained == set()
    assert float(re.findall(rb"exposure level for .*: ([\d.]+)", done.stdout)[0]) < 4


def calls_of(words: Iterable[str]) -> set[str]:
    """The system calls that the words of a SystemCallFilter= include."""
    found, waiting = set[str](), list(words)
    for word in waiting:
        if word.startswith("@"):
            lines = output_of("systemd-analyze", "syscall-filter", "--no-pager", word).decode().splitlines()
            waiting += [line.strip() for line in lines[1:] if line.strip() and not line.strip().startswith("#")]
        else:
            found.add(word)
    return found


def allowed_calls() -> set[str]:
    """The system calls that the unit allows."""
    allowed = set[str]()
    for line in re.findall(r"^SystemCallFilter=(.*)$", UNIT.read_text(), re.MULTILINE):
        if line.startswith("~"):
            allowed -= calls_of(line[1:].split())
        else:
            allowed |= calls_of(line.split())
    return allowed


@pytest.mark.mount
@needs_root
def test_a_view_makes_no_system_call_that_the_unit_forbids(place: Path) -> None:
    """While it is read, watched, refreshed, called, loses a source, logs, and is unmounted."""
    allowed, record = allowed_calls(), place / "record"
    flac, mp3 = grow(place / "flac", folders("f", "1", "2")), grow(place / "mp3", folders("m", "2", "3"))
    options = ["--refresh=1", "-v", f"--log={place}/log", "--on-change=cat"]
    prefix = [need("strace"), "-f", "-qq", "-o", str(record)]
    with mounted(place / "view", flac, mp3, prefix=prefix, options=options) as view, watcher(view.mountpoint) as heard:
        assert (view.mountpoint / "1/track").read_text() == "f1"
        for name in ("4", "5"):
            grow(flac / name, {b"track": b"x"})
            heard.hears(("MOVED_TO,ISDIR", name))
        os.rename(flac, place / "away")
        poll(lambda: "is lost" in (place / "log").read_text(), "the loss")
        os.rename(place / "away", flac)
        poll(lambda: "is back" in (place / "log").read_text(), "the return")
        os.listxattr(view.mountpoint / "1")
        assert called(place, "--explain", "view/1").returncode == 0
        assert view.process is not None
        view.pid = int(Path(f"/proc/{view.pid}/task/{view.pid}/children").read_text().split()[0])
    calls = set(re.findall(r"^\d+ +(\w+)\(", record.read_text(errors="replace"), re.MULTILINE))
    assert {"fanotify_mark", "open_tree", "mount_setattr", "umount2", "sched_setscheduler", "capset"} <= calls
    assert calls - allowed == set()


@pytest.mark.parametrize("file", [UNIT, ROOT / "docs" / "usage.md"], ids=lambda file: file.name)
def test_a_unit_restarts_without_limit_until_its_sources_are_mounted(file: Path) -> None:
    lines = [line.strip() for line in file.read_text().splitlines()]
    unit, service, install = (lines.index(f"[{name}]") for name in ("Unit", "Service", "Install"))
    assert "StartLimitIntervalSec=0" in lines[unit:service]
    assert {"Restart=on-failure", "RestartSec=5"} <= set(lines[service:install])


def test_unit_has_no_setting_that_creates_a_mount_namespace() -> None:
    hiding = r"^(Protect(?!Hostname|Clock)\w+|Private\w+|\w+Paths|Root\w+|Temporary\w+|Bind\w+|MountFlags|DynamicUser)="
    assert re.findall(hiding, UNIT.read_text(), re.MULTILINE) == []


def command_of_the_unit(**values: str) -> list[str]:
    """The arguments in the unit, with variables from the example configuration, or from ``values``."""
    example = re.findall(r"^(\w+)=(.*)$", (PACKAGING / "high.conf.example").read_text(), re.MULTILINE)
    values = {name: shlex.split(value)[0].replace("depth=2", "depth=1") for name, value in example} | values
    program, *words = setting("ExecStart").split()
    assert program == "/usr/bin/mmirrorfs"
    return [re.sub(r"\$\{(\w+)\}", lambda name: values[name[1]], word) for word in words]


@pytest.mark.mount
@needs_root
def test_command_of_the_unit_mounts_with_the_capabilities_of_the_unit(place: Path) -> None:
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
    """A field of fstab, unescaped."""
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


@pytest.mark.parametrize("words", [(), ("--keep",), ("../etc",), ("Trixie",)], ids=str)
def test_elsewhere_needs_the_name_of_a_debian_release(words: tuple[str, ...]) -> None:
    done = run(str(ROOT / "scripts" / "elsewhere"), *words)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"name a release of Debian: ./scripts/elsewhere trixie\n"


@needs_root
def test_elsewhere_needs_root(place: Path) -> None:
    scripts = place / "scripts"
    shutil.copytree(ROOT / "scripts", scripts)
    done = as_nobody(str(scripts / "elsewhere"), "trixie")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"another release is made and entered by root: become root\n"


@pytest.mark.slow
@pytest.mark.timeout(360)
def test_package_builds_wheel_and_source_distribution(tmp_path: Path) -> None:
    built = run(str(ROOT / "scripts" / "package"), tmp_path, seconds=300)
    assert built.returncode == 0, built.stderr.decode()
    with zipfile.ZipFile(tmp_path / f"mmirrorfs-{__version__}-py3-none-any.whl") as wheel:
        names = set(wheel.namelist())
        manual = wheel.read("mmirrorfs/cli/mmirrorfs.8")
    assert manual == (PACKAGING / "man" / "mmirrorfs.8").read_bytes()
    assert {
        "mmirrorfs/py.typed",
        "mmirrorfs/cli/mmirrorfs.8",
        "mmirrorfs/__main__.py",
        "mmirrorfs/cli/mmirrorfs@.service",
    } <= names
    assert {f"mmirrorfs/cli/html/page.{suffix}" for suffix in ("html", "css", "js")} <= names
    assert {name.partition("/")[0] for name in names} == {"mmirrorfs", f"mmirrorfs-{__version__}.dist-info"}
    with tarfile.open(tmp_path / f"mmirrorfs-{__version__}.tar.gz") as source:
        names = {name.partition("/")[2] for name in source.getnames()}
    assert {"LICENSE", "pyproject.toml", "packaging/fstab.example", "scripts/test", "tests/support/build.py"} <= names
    assert not {name for name in names if name.startswith((".venv", "build/", "dist/"))}
