"""Concurrent, killed and failing starts, and unmounting without helper programs."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmirrorfs.mount.claims import claim, is_claimed
from mmirrorfs.mount.reference import Reference
from tests.support.hanging import Hanging, hanging
from tests.support.kernel import abort_under, alive, processes_of, view_at, views_under
from tests.support.mounts import COMMAND, daemon_of, mounted
from tests.support.namespace import Inside, namespace, program
from tests.support.polling import poll
from tests.support.trees import folders, grow
from tests.support.users import AS_NOBODY, need, needs_root, run

pytestmark = needs_root


@pytest.fixture
def inside(place: Path) -> Iterator[Inside]:
    """A mount namespace with two sources and an fstab line for them."""
    grow(place / "high", folders("h", *"2345"))
    grow(place / "low", folders("l", *"01234"))
    (place / "view").mkdir()
    program(place / "bin")
    with namespace(place) as made:
        kind = f"fuse.{place}/bin/mmirrorfs"
        (place / "fstab").write_text(f"{place}/high:{place}/low {place}/view {kind} defaults 0 0\n")
        yield made


def start(inside: Inside, *command: str) -> "subprocess.Popen[bytes]":
    """Start a program in the namespace without waiting for it."""
    return subprocess.Popen(inside.words(*command), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)


def test_two_mount_a_at_once_mount_one_view(inside: Inside) -> None:
    table = str(inside.place / "fstab")
    for _ in range(2):
        both = [start(inside, "mount", "-a", "-T", table) for _ in range(2)]
        assert [(process.communicate(timeout=60)[1], process.returncode) for process in both] == [(b"", 0)] * 2
        assert len(inside.views()) == 1
        inside.unmount(inside.place / "view")


def test_mount_a_leaves_a_stopped_view_alone(inside: Inside) -> None:
    words = ["mount", "-a", "-T", str(inside.place / "fstab")]
    inside.output_of(*words)
    daemon = [pid for pid in inside.processes() if b"mmirrorfs" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    try:
        for pid in daemon:
            os.kill(pid, signal.SIGSTOP)
        inside.run(*words, seconds=60)
        assert len(inside.views()) == 1
    finally:
        for pid in daemon:
            os.kill(pid, signal.SIGCONT)
    assert (inside.seen(inside.place / "view") / "2/track").read_text() == "h2"
    inside.unmount(inside.place / "view")


def test_a_start_waiting_for_the_lock_continues_when_the_holder_is_killed(place: Path) -> None:
    under, low = grow(place / "under", folders("h", "2")), grow(place / "low", folders("l", "2"))
    (place / "view").mkdir()
    words: list[str | Path] = [*COMMAND, place / "slow", low, place / "view", "-f"]
    with hanging(under, place / "slow") as source:
        source.hang()
        first = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
        second = None
        try:
            poll(lambda: source.figures.held > 0, "the first at its source")
            second = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
            os.killpg(first.pid, signal.SIGKILL)
            source.go_on()
            first.communicate(timeout=30)
            poll(lambda: view_at(os.fsencode(place / "view")) is not None, "the second's view", 30)
            assert (place / "view/2/track").read_text() == "h2"
        finally:
            source.go_on()
            if second is not None:
                second.terminate()
                second.communicate(timeout=30)
            abort_under(os.fsencode(place))
    assert views_under(os.fsencode(place)) == []


def has_ended(source: Hanging, process: "subprocess.Popen[bytes]") -> bool:
    """Whether the process has ended. Thaws its source, which may have stopped again."""
    source.thaw()
    return process.poll() is not None


@pytest.mark.parametrize("killed", ["parent", "child"])
def test_killing_one_process_of_a_background_start_leaves_one_mount(place: Path, killed: str) -> None:
    under, low = grow(place / "under", folders("h", "2")), grow(place / "low", folders("l", "2"))
    for made in (place / "view", under / "2/STOP"):
        made.mkdir()
    where = os.fsencode(place / "view")
    words: list[str | Path] = [*COMMAND, place / "slow", low, place / "view", "-d3"]
    with hanging(under, place / "slow") as source, open(place / "said", "w+b") as said:
        first = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        second = None
        try:
            source.await_frozen()
            (child,) = (pid for pid in processes_of(where) if os.getsid(pid) == pid)
            os.kill(first.pid if killed == "parent" else child, signal.SIGKILL)
            second = subprocess.Popen([*words, "-v"], stdin=subprocess.DEVNULL, stderr=said)
            if killed == "parent":  # and the child has the lock still
                poll(lambda: b"waiting for it" in (place / "said").read_bytes(), "the second at the lock")
            (under / "2/STOP").rmdir()
            poll(lambda: has_ended(source, second), "the end of the second", 30)
            assert second.returncode == 0
            assert first.wait(30) == (-signal.SIGKILL if killed == "parent" else 32)
            assert len(views_under(where)) == 1
            assert daemon_of(where)
            assert (place / "view/2/track").read_text() == "h2"
        finally:
            source.thaw()
            for process in filter(None, (first, second)):
                process.kill()
                process.wait(30)
            for pid in processes_of(where):
                os.kill(pid, signal.SIGTERM)
            poll(lambda: not processes_of(where), "the end of all", 15)
            while abort_under(os.fsencode(place)):
                continue
    assert views_under(os.fsencode(place)) == []


def test_the_same_command_replaces_a_killed_view(place: Path) -> None:
    sources = [grow(place / "high", folders("h", "2")), grow(place / "low", folders("l", "2"))]
    with mounted(place / "view", *sources, background=True) as view:
        os.kill(view.pid, signal.SIGKILL)
        poll(lambda: not alive(view.pid), "the end of the daemon")
        done = run(*COMMAND, *sources, view.mountpoint)
        assert done.returncode == 0
        assert b"dead view" in done.stderr
        assert (view.mountpoint / "2/track").read_text() == "h2"
        assert len(views_under(view.where)) == 1
        run("umount", view.mountpoint)
        poll(lambda: not processes_of(view.where), "the end of the new one", 15)


def test_the_daemon_of_root_unmounts_without_running_a_program(place: Path) -> None:
    """Where /etc/mtab exists, libfuse would run umount(8), which waits for a hanging source."""
    under, low = grow(place / "under", {b"A": {b"t": b"1"}}), grow(place / "low", folders("l", "2"))
    trace = place / "trace"
    with (
        hanging(under, place / "slow") as source,
        mounted(place / "view", place / "slow", low, options=["--refresh=1", "--crawl=off"]) as view,
    ):
        strace = subprocess.Popen(
            [need("strace"), "-f", "-qq", "-e", "trace=execve,umount2", "-o", trace, "-p", str(view.pid)],
            stderr=subprocess.DEVNULL,
        )
        try:
            tracer = Path(f"/proc/{view.pid}/status")
            poll(lambda: f"TracerPid:\t{strace.pid}" in tracer.read_text(), "it traced")
            source.hang()
            poll(lambda: source.figures.held > 0, "a scan that is stuck")
            view.send(signal.SIGTERM)
            poll(lambda: view_at(view.where) is None, "unmounted", 5)
        finally:
            source.go_on()
            strace.wait(30)
        text = trace.read_text()
        assert "execve" not in text
        assert "MNT_DETACH" in text


LISTENING = """
import socket, sys
with socket.socket(socket.AF_UNIX) as taken:
    taken.bind("\\0" + sys.argv[1]); taken.listen(); print("listens", flush=True); sys.stdin.read()
"""


@pytest.mark.parametrize(("user", "counts"), [([], True), (AS_NOBODY, False)], ids=["root", "nobody"])
def test_a_claim_held_by_another_user_is_ignored(user: list[str], counts: bool) -> None:
    """A stopped daemon is recognised by an abstract socket name, which any user could bind: the owner counts."""
    mount = Reference(b"/view", "0:0", 1, 1 << 62)
    connections = Path("/proc/net/unix")
    before = set(connections.read_text().split())
    claim(mount, f"probe{counts}")  # only to learn its name
    (name,) = [word for word in set(connections.read_text().split()) - before if word.startswith("@")]
    words = [*user, "python3", "-c", LISTENING, name[1:].replace(f"probe{counts}", "other")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as listener:
        assert listener.stdout is not None
        assert listener.stdout.readline() == b"listens\n"
        assert is_claimed(mount, "other", 0) == counts
        listener.communicate(timeout=10)


BROKEN = """
from mmirrorfs.cli.errors import Problem, exit_code
from mmirrorfs.mount.launch import in_background
from mmirrorfs.mount.lock import Lock

def build():
    raise Problem("source /x cannot be read: it went away", 32)

raise SystemExit(in_background(build, Lock([]), exit_code))
"""


def test_an_error_during_the_first_scan_is_one_line() -> None:
    done = run(sys.executable, "-c", BROKEN)
    assert (done.returncode, done.stderr) == (32, b"mmirrorfs: source /x cannot be read: it went away\n")
