"""The Debian package, built by scripts/package-deb: its content, and that it works when unpacked and when installed.

It is installed, used and purged on an overlay of the system, in a mount namespace.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.kernel import processes_of
from tests.support.polling import poll
from tests.support.trees import folders, grow
from tests.support.users import need, needs_root, output_of, run

ROOT = Path(__file__).parents[2]
BUILD = 600.0
"""Time limit of a build in seconds: the first one compiles pyfuse3."""

pytestmark = [pytest.mark.waits, pytest.mark.slow, pytest.mark.timeout(2 * BUILD), needs_root]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built from the checkout."""
    need("dpkg-deb")
    built = run(str(ROOT / "scripts" / "package-deb"), tmp_path_factory.mktemp("deb"), seconds=BUILD)
    if b"connection broken by" in built.stderr:
        pytest.skip("the Python Package Index cannot be reached")
    assert built.returncode == 0, built.stderr.decode()
    return Path(built.stdout.decode().strip())


@pytest.fixture
def unpacked(package: Path, tmp_path: Path) -> Path:
    """A directory with the files of the package."""
    output_of("dpkg-deb", "--extract", package, tmp_path)
    return tmp_path


def test_every_file_is_in_its_place(unpacked: Path) -> None:
    for name in (
        "bin/mmirrorfs",
        "sbin/mount.fuse.mmirrorfs",
        "sbin/mount.mmirrorfs",
        "lib/systemd/system/mmirrorfs@.service",
        "share/man/man8/mmirrorfs.8.gz",
        "share/bash-completion/completions/mmirrorfs",
        "share/zsh/vendor-completions/_mmirrorfs",
        "share/fish/vendor_completions.d/mmirrorfs.fish",
        "share/doc/mmirrorfs/copyright",
        "share/doc/mmirrorfs/changelog.gz",
        "share/doc/mmirrorfs/changelog.Debian.gz",
    ):
        assert (unpacked / "usr" / name).stat().st_size > 100, name
    assert {path.name for path in unpacked.iterdir()} == {"usr"}


def test_copyright_names_every_bundled_library(unpacked: Path) -> None:
    named = set(re.findall(r"usr/lib/mmirrorfs/(\w+)/", (unpacked / "usr/share/doc/mmirrorfs/copyright").read_text()))
    brought = {path.name for path in (unpacked / "usr/lib/mmirrorfs").iterdir() if path.suffix != ".dist-info"}
    assert brought == named | {"mmirrorfs"}


def test_no_path_of_the_build_machine_is_in_it(unpacked: Path) -> None:
    here = [os.fsencode(ROOT), os.fsencode(Path.home() / ".")]
    for path in unpacked.rglob("*"):
        if path.is_file():
            assert not [place for place in here if place + b"/" in path.read_bytes()], path
            assert path.suffix not in (".pyc", ".orig"), path


def test_dependencies_pin_the_python_and_libfuse_that_it_was_built_for(package: Path) -> None:
    depends = output_of("dpkg-deb", "--field", package, "Depends").decode()
    for pattern in (r"\bfuse3\b", r"python3 \(>= 3\.\d+\)", r"python3 \(<< 3\.\d+\)", r"libfuse3-[34]", r"libc6"):
        assert re.search(pattern, depends), depends


@pytest.mark.mount
def test_unpacked_program_mounts_and_ignores_pythonpath(unpacked: Path, place: Path) -> None:
    flac, mp3 = grow(place / "f", folders("f", "1", "2")), grow(place / "m", folders("m", "2", "3"))
    view = grow(place / "view", {})
    (place / "click.py").write_text("raise SystemExit('the wrong click')\n")
    helper = unpacked / "usr/sbin/mount.fuse.mmirrorfs"
    words = (f"{flac}:{mp3}", view, "-o", "rw,depth=1,prefer=low")
    mounted = run(str(helper), *words, environment={"PYTHONPATH": str(place)})
    assert mounted.returncode == 0, mounted.stderr
    try:
        assert {name: (view / name / "track").read_text() for name in "123"} == {"1": "f1", "2": "m2", "3": "m3"}
    finally:
        output_of("umount", view)
        poll(lambda: not processes_of(bytes(place)), "the program ended", 10)


def test_apt_installs_it_mount_uses_it_and_purging_leaves_nothing(package: Path) -> None:
    overlay = "mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt"
    probe = f"mount -t tmpfs tmpfs /mnt && mkdir /mnt/upper /mnt/work && {overlay}"
    if run("unshare", "--mount", "--propagation", "private", "sh", "-c", probe).returncode != 0:
        pytest.skip("overlay filesystems cannot be mounted here")
    need("apt-get")
    before = output_of("dpkg-query", "--show")
    checked = run(str(ROOT / "packaging/deb/check"), package, seconds=BUILD)
    assert checked.returncode == 0, checked.stdout.decode() + checked.stderr.decode()
    assert checked.stdout.endswith(b"installed, used and purged\n")
    assert output_of("dpkg-query", "--show") == before


def test_maintainer_scripts_parse(package: Path, tmp_path: Path) -> None:
    output_of("dpkg-deb", "--control", package, tmp_path / "control")
    for name in ("postinst", "prerm", "postrm"):
        subprocess.run(["sh", "-n", tmp_path / "control" / name], check=True)
