"""``--doctor``: problems of the machine and of mounted views, each with its remedy."""

import errno
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mmirrorfs.cli import doctor_machine as machine
from mmirrorfs.cli.doctor_machine import BAD, NOTE, OK
from tests.support.mounts import COMMAND, mounted
from tests.support.namespace import Inside, namespace
from tests.support.polling import poll
from tests.support.running import called
from tests.support.trees import folders, grow
from tests.support.users import needs_root, run

Found = list[dict[str, Any]]


@pytest.fixture
def sources(place: Path) -> tuple[Path, Path]:
    """Two sources."""
    return grow(place / "high", folders("h", "1", "2")), grow(place / "low", folders("l", "2", "3"))


def findings_in(done: Any, about: str) -> Found:  # noqa: ANN401  # a finished process
    """The findings with this subject."""
    return [finding for finding in json.loads(done.stdout) if finding["about"] == about]


def findings(place: Path, about: str) -> Found:
    """The findings of ``--doctor`` with this subject."""
    return findings_in(called(place, "--doctor", "--json"), about)


def test_a_healthy_view_is_reported_on_one_screen(place: Path, sources: tuple[Path, Path]) -> None:
    with mounted(place / "view", *sources):
        (finding,) = findings(place, f"view {place}/view")
        assert (finding["level"], finding["found"], finding["todo"]) == (OK, "answers, 3 folders", "")
        done = called(place, "--doctor")
        own = [line for line in done.stdout.decode().splitlines() if "/mmirrorfs-test-" not in line]
        assert len(own) <= 24
        assert any(line.startswith("ok   libfuse: pyfuse3 ") for line in own)
        assert done.returncode in (0, 1), "other views of this machine may be ill"


@pytest.mark.parametrize("words", [("--doctor", "x"), ("--doctor", "--status"), ("--doctor", "--follow")])
def test_options_that_contradict_each_other_are_refused(place: Path, words: tuple[str, ...]) -> None:
    done = called(place, *words)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)


def test_a_dead_view_is_reported_with_the_command_that_starts_it(place: Path, sources: tuple[Path, Path]) -> None:
    with mounted(place / "view", *sources) as view:
        view.send(signal.SIGKILL)
        poll(lambda: view.process is not None and view.process.poll() is not None, "the end of the daemon")
        (finding,) = findings(place, f"view {place}/view")
        assert (finding["level"], finding["found"]) == (BAD, "is dead: nothing serves it any more")
        assert f"{place}/high {place}/low {place}/view" in finding["todo"]
        done = called(place, "--doctor")
        assert done.returncode == 1
        assert done.stdout.decode().splitlines()[-1].endswith("to be mended")
        run("umount", "-l", view.mountpoint)
        view.process = None


def test_a_lost_source_and_past_warnings_are_reported(place: Path, sources: tuple[Path, Path]) -> None:
    with mounted(place / "view", *sources, options=["--refresh=1"]) as view:
        view.expect("source low .* is (lost|back)")
        os.rename(place / "low", place / "away")
        poll(lambda: findings(place, f"view {place}/view")[0]["level"] == BAD, "the loss")
        (finding,) = findings(place, f"view {place}/view")
        assert finding["found"].startswith("source low is lost: No such file or directory, since ")
        os.rename(place / "away", place / "low")
        poll(lambda: findings(place, f"view {place}/view")[0]["level"] == NOTE, "the return")
        (finding,) = findings(place, f"view {place}/view")
        assert (finding["found"], finding["todo"]) == (
            "answers, 3 folders; 2 warnings", f"mmirrorfs --status {place}/view",
        )  # fmt: skip


@needs_root
def test_a_source_below_another_view_is_reported(place: Path, sources: tuple[Path, Path]) -> None:
    other = grow(place / "other", {b"2": {}, b"inner": {}})
    with mounted(place / "view", *sources), mounted(place / "second", place / "view", other):
        (finding,) = findings(place, f"source {place}/view")
        assert (finding["level"], finding["found"]) == (
            BAD, f"lies under the view on {place}/view, which is in its place",
        )  # fmt: skip


@pytest.fixture
def inside(place: Path) -> Iterator[Inside]:
    """A mount namespace."""
    with namespace(place) as made:
        yield made


@needs_root
def test_stacked_and_covered_views_are_reported(place: Path, sources: tuple[Path, Path], inside: Inside) -> None:
    view = place / "view"
    view.mkdir()
    for mountpoint in (view, place / "once more"):
        mountpoint.mkdir(exist_ok=True)
        assert inside.run(*COMMAND, *sources, mountpoint, "--overwritesymlinks").returncode == 0
    inside.output_of("mount", "--bind", place / "once more", view)
    finding = findings_in(inside.run(*COMMAND, "--doctor", "--json"), f"view {view}")[0]
    assert (finding["level"], finding["found"]) == (BAD, "2 views are mounted one over the other")
    inside.output_of("mount", "-t", "tmpfs", "none", view)
    last = findings_in(inside.run(*COMMAND, "--doctor", "--json"), f"view {view}")[-1]
    assert (last["level"], last["found"]) == (BAD, "something else is mounted over it")
    for _ in range(3):
        inside.output_of("umount", view)
    inside.output_of("umount", place / "once more")


@needs_root
def test_lines_of_fstab_are_checked(place: Path, sources: tuple[Path, Path], inside: Inside) -> None:
    (place / "my view").mkdir()
    shown = str(place / "my view").replace(" ", "\\040")
    (place / "fstab").write_text(
        f"# {place} {place} fuse.mmirrorfs nofail 0 0\n/dev/sda1 / ext4 defaults 0 1\n\n"
        f"a={sources[0]}:{sources[1]} {shown} fuse.mmirrorfs depth=1,nofail 0 0\n"
        f"{sources[0]}:{place}/gone {shown} mmirrorfs nofail 0 0\n{sources[0]}:{sources[1]} {shown} fuse.mmirrorfs\n"
    )
    inside.output_of("mount", "--bind", place / "fstab", "/etc/fstab")
    done = inside.run(*COMMAND, "--doctor", "--json")
    found = findings_in(done, f"fstab, {place}/my view")
    assert [finding["level"] for finding in found] == [OK, BAD, NOTE]
    assert found[1]["found"] == f"{place}/gone: no directory, or no answer"
    assert found[2]["todo"] == "add nofail"


@needs_root
def test_missing_permissions_of_a_plain_user_are_reported(place: Path, inside: Inside) -> None:
    inside.cover("/dev")
    (place / "conf").write_text("#user_allow_other\n")
    inside.output_of("mount", "--bind", place / "conf", "/etc/fuse.conf")
    done = inside.run_as_nobody(*COMMAND, "--doctor", "--json")
    assert done.returncode == 1, done.stderr
    (device,) = findings_in(done, "/dev/fuse")
    assert device["level"] == BAD
    assert "chmod 666 /dev/fuse" in device["todo"]
    (conf,) = findings_in(done, "/etc/fuse.conf")
    assert (conf["level"], "user_allow_other" in conf["todo"]) == (NOTE, True)
    assert findings_in(done, "announcing")[0]["level"] == NOTE
    (messages,) = findings_in(done, "messages")
    assert (messages["level"], messages["todo"]) == (NOTE, "give it --log FILE")
    (place / "conf").write_text("user_allow_other\n")
    assert findings_in(inside.run_as_nobody(*COMMAND, "--doctor", "--json"), "/etc/fuse.conf")[0]["level"] == OK


@needs_root
def test_root_without_the_capability_to_mount_is_reported(place: Path, inside: Inside) -> None:
    words = ("setpriv", "--bounding-set=-sys_admin", *COMMAND)
    done = inside.run(*words, "--doctor", "--json")
    (mounting,) = findings_in(done, "mounting")
    assert (mounting["level"], "--cap-add SYS_ADMIN" in mounting["todo"]) == (BAD, True)
    assert findings_in(done, "fanotify")[0]["level"] == NOTE


def test_a_missing_device_is_reported(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    monkeypatch.setattr(machine, "DEVICE", str(place / "fuse"))
    (finding,) = machine.device()
    assert (finding.level, "modprobe fuse" in finding.todo) == (BAD, True)


def test_dangling_mount_helpers_are_reported(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    link = place / "mount.mmirrorfs"
    monkeypatch.setattr(machine, "HELPERS", (str(link),))
    monkeypatch.setattr(machine, "PROGRAMS", (str(place),))
    assert [finding.level for finding in machine.helpers()] == [NOTE]
    link.symlink_to(place / "mmirrorfs")
    assert [finding.level for finding in machine.helpers()] == [BAD]
    (place / "mmirrorfs").touch(mode=0o755)
    assert [finding.level for finding in machine.helpers()] == [OK]
    link.unlink()
    (found,) = machine.helpers()
    assert f"finds {place}/mmirrorfs" in found.found


@pytest.mark.parametrize(("free", "level"), [((100, 1000), NOTE), ((50_000, 60_000), OK)], ids=["few left", "enough"])
def test_scarce_inotify_watches_are_reported(
    monkeypatch: pytest.MonkeyPatch, place: Path, free: tuple[int, int], level: str
) -> None:
    monkeypatch.setattr(machine, "free_watches", lambda: free)
    assert [finding.level for finding in machine.inotify()] == [level]


def test_exhausted_limits_are_reported(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    def full() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(machine, "Watches", full)
    monkeypatch.setattr(machine, "FilesystemMarks", full)
    (inotify,) = machine.inotify()
    (fanotify,) = machine.fanotify()
    assert (inotify.level, "max_user_instances" in inotify.todo) == (BAD, True)
    assert (fanotify.level, "max_user_groups" in fanotify.todo) == (BAD, True)
