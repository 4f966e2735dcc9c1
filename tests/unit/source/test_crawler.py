"""The parent's side of a crawl: its states, children that die or stop, and that no process or descriptor is left."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import trio

from mmirrorfs.source import crawler as crawler_module
from mmirrorfs.source.child import Child
from mmirrorfs.source.crawler import Crawl, Progress, start
from tests.support.crawling import Taken, crawled, crawling, expected, is_gone, plan, until
from tests.support.polling import poll
from tests.support.trees import TextTree, grow

WIDE: TextTree = {
    f"{number:03}": {f"a track with a long name, number {track}": "" for track in range(60)} for number in range(120)
}
"""More than socket buffers hold, so that the child blocks while nobody reads."""


@pytest.fixture
def tmp_path(in_memory: Path) -> Path:
    """In place of pytest's: thousands of files for each test."""
    return in_memory


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return grow(tmp_path / "root", WIDE)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No descriptor and no process is left after a test."""
    before = os.listdir("/proc/self/fd")
    yield
    assert os.listdir("/proc/self/fd") == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restart children without delay."""
    monkeypatch.setattr(crawler_module, "SHORTEST", 0.01)


def once(action: Callable[[], object]) -> Callable[[bytes], object]:
    """An ``on_offer`` that acts on the first directory only."""
    actions = [action]
    return lambda path: actions.pop()() if actions else None


async def test_progress_is_reported_up_to_done(root: Path) -> None:
    found = Taken()
    assert Crawl(plan(root), "source", found.offer, found.learn).progress == Progress("crawling", 0, 0, 0, 0)
    async with crawling(plan(root), found) as crawl:
        await until(lambda: crawl.progress.directories, "a directory")
        assert crawl.progress.state == "crawling"
        await until(lambda: crawl.progress.state == "done", "the end")
        assert crawl.progress == Progress("done", 120, 120, 120, 120 * 60)
        await until(lambda: crawl.pid is None, "the end of its process")


async def test_a_crawl_without_room_ends_as_full(root: Path) -> None:
    found = Taken(cache_limit=7)
    async with crawling(plan(root), found) as crawl:
        await until(lambda: crawl.progress.state == "full", "the end")
        assert (crawl.progress.directories, found.offers, crawl.pid) == (7, 7, None)


async def test_restart_begins_a_new_crawl_from_any_state(root: Path) -> None:
    found = Taken()
    async with crawling(plan(root), found) as crawl:
        await until(lambda: crawl.progress.directories, "a directory")
        crawl.restart()
        await until(lambda: crawl.progress.state == "done", "the end")
        assert crawl.progress.directories == 120
        found.listings.clear()
        (root / "new").mkdir()
        crawl.restart()
        await until(lambda: len(found.listings) == 121, "another crawl")
        crawl.restart(plan(root, 2))
        await until(lambda: crawl.progress == Progress("done", 0, 0, 0, 0), "one by another plan")


async def test_the_child_has_the_idle_scheduling_and_io_classes(root: Path) -> None:
    stopped = Taken()
    async with crawling(plan(root), stopped) as crawl:
        stopped.on_offer = once(lambda: os.kill(crawl.pid or 0, signal.SIGSTOP))
        await until(lambda: stopped.listings, "a directory")
        assert crawl.pid is not None
        assert os.sched_getscheduler(crawl.pid) == os.SCHED_IDLE
        # ioprio_get(2) of a process returns what was set; of a group, here with one process, the effective class
        ionice = subprocess.run(["ionice", "-P", str(crawl.pid)], capture_output=True, text=True, check=True)
        assert ionice.stdout == "idle\n"


async def test_a_killed_child_is_replaced_with_one_warning(
    root: Path, quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    killed: list[int] = []
    found = Taken()
    async with crawling(plan(root), found) as crawl:

        def kill(path: bytes) -> None:
            if found.offers in (3, 60) and crawl.pid is not None:
                killed.append(crawl.pid)
                os.kill(crawl.pid, signal.SIGKILL)

        found.on_offer = kill
        await until(lambda: crawl.progress.state == "done", "the end")
    assert len(set(killed)) == 2
    assert found.found == expected(root, 1)
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["source: the process that crawls it ended early (killed: Killed); starting another one"]


async def test_a_crawl_fails_after_too_many_children_without_progress(
    root: Path, quick: None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with caplog.at_level(logging.WARNING):
        assert await crawled(plan(root), Taken()) == "failed"
    assert [record.getMessage() for record in caplog.records] == [
        "source: the process that crawls it ended early (exit code 1); starting another one",
        "source: its crawl failed for good (exit code 1)",
    ]


async def test_a_child_that_cannot_be_started_counts_as_one_that_died(
    root: Path, quick: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert await crawled(plan(root), Taken()) == "failed"
    assert "No such file or directory" in caplog.text


async def test_a_stopped_child_does_not_block_the_loop_and_the_crawl_resumes(root: Path) -> None:
    found = Taken()
    async with crawling(plan(root), found) as crawl:
        found.on_offer = once(lambda: os.kill(crawl.pid or 0, signal.SIGSTOP))
        await until(lambda: found.listings, "a directory")
        for _ in range(20):
            before = time.monotonic()
            await trio.sleep(0.01)
            assert time.monotonic() - before < 0.5
        assert crawl.progress.state == "crawling"
        assert crawl.pid is not None
        os.kill(crawl.pid, signal.SIGCONT)
        await until(lambda: crawl.progress.state == "done", "the end")
    assert len(found.listings) == 120


async def test_a_stopped_child_is_killed_when_the_crawl_is_cancelled(root: Path) -> None:
    found = Taken()
    async with crawling(plan(root), found) as crawl:
        found.on_offer = once(lambda: os.kill(crawl.pid or 0, signal.SIGSTOP))
        await until(lambda: found.listings, "a directory")
        pid = crawl.pid
    assert pid is not None
    assert is_gone(pid)


async def test_a_root_renamed_during_a_crawl_is_lost_and_nothing_false_is_sent(root: Path, tmp_path: Path) -> None:
    imposter = grow(tmp_path / "imposter", {name: {"false": ""} for name in WIDE})

    def swap() -> None:
        root.rename(tmp_path / "away")
        imposter.rename(root)

    found = Taken(on_offer=once(swap))
    assert await crawled(plan(root), found) == "lost"
    true = expected(tmp_path / "away", 1)
    assert 0 < len(found.listings) < 120
    assert found.found == {path: true[path] for path in found.listings}


async def test_a_root_with_another_identity_at_the_start_is_lost(root: Path) -> None:
    st = os.lstat(root)
    found = Taken()
    assert await crawled(plan(root)._replace(identity=(st.st_dev, st.st_ino + 1)), found) == "lost"
    assert found.listings == {}
    assert await crawled(plan(root)._replace(identity=(st.st_dev, st.st_ino)), found) == "done"


async def test_a_missing_root_is_lost(tmp_path: Path) -> None:
    assert await crawled(plan(tmp_path / "none"), Taken()) == "lost"


async def test_receiving_a_large_directory_does_not_block_the_loop(tmp_path: Path) -> None:
    root = grow(tmp_path / "root", {"A": {f"{number:05}": "" for number in range(30_000)}})
    ticks: list[float] = []

    async def tick() -> None:
        while True:
            ticks.append(time.monotonic())
            await trio.sleep(0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        found = Taken()
        assert await crawled(plan(root), found) == "done"
        nursery.cancel_scope.cancel()
    assert len(found.listings[b"A"]) == 30_000
    assert max(later - earlier for earlier, later in pairwise(ticks)) < 0.5


@contextmanager
def child(root: Path) -> Iterator[tuple[Child, socket.socket]]:
    """A child that is blocked, as nobody reads what it sends."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = start(theirs)
        try:
            ours.sendall(plan(root).encoded())
            assert ours.recv(1)
            yield process, ours
        finally:
            process.kill()
            process.wait(10)


def test_the_child_exits_when_the_socket_is_closed(root: Path) -> None:
    with child(root) as (process, ours):
        ours.close()
        process.wait(10)


HUNG = """
import os, sys, time
from mmirrorfs.source import crawl
def hang(reader, path):
    os.write(1, b"hangs")
    time.sleep(60)
crawl.list_directory = hang
crawl.main(int(sys.argv[1]))
"""


def test_the_child_exits_when_the_socket_is_closed_during_a_blocking_call(root: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-c", HUNG, str(theirs.fileno())]
        with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[theirs.fileno()]) as process:
            theirs.close()
            ours.sendall(plan(root).encoded())
            assert process.stdout is not None
            assert process.stdout.read(5) == b"hangs"
            ours.close()
            try:
                process.wait(10)
            finally:
                process.kill()


def opened(pid: int) -> set[str]:
    """The open descriptors of a process, by kind or path."""
    try:
        fds = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    except FileNotFoundError:  # closed meanwhile
        return set()
    return {target.partition(":")[0] for target in fds}


def test_a_blocked_child_holds_no_directory_and_no_stream_open(root: Path) -> None:
    with child(root) as (process, _):
        table = {f"/proc/{process.pid}/mountinfo", "anon_inode"}  # read when the mount table changed
        own = {"/dev/null", "socket"}
        poll(lambda: opened(process.pid) - table == own, "a child that waits, and holds nothing else")
        assert os.readlink(f"/proc/{process.pid}/cwd") == "/"
        assert os.getpgid(process.pid) == process.pid


PARENT = """
import os, socket, subprocess, sys, time
from mmirrorfs.source.child import Child
from mmirrorfs.source.crawl import Plan
from mmirrorfs.source.crawler import start
ours, theirs = socket.socketpair()
child = start(theirs)
theirs.close()
ours.sendall(Plan(os.fsencode(sys.argv[1]), 1).encoded())
ours.recv(1)
held = subprocess.Popen(["sleep", "60"], pass_fds=[ours.fileno()] if sys.argv[2] == "held" else [])
print(child.pid, held.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("held", ["held", "closed"])
def test_the_child_exits_when_its_parent_is_killed_even_if_the_socket_stays_open(root: Path, held: str) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(root), held], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid, other = map(int, parent.stdout.readline().split())
        try:
            assert not is_gone(pid)
            parent.kill()
            poll(lambda: is_gone(pid), "the end of the child")
        finally:
            os.kill(other, signal.SIGKILL)


def test_the_child_does_not_import_trio_pyfuse3_or_click() -> None:
    code = "import sys, mmirrorfs.source.crawl; print(*sorted(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"trio", "pyfuse3", "click", "socket", "subprocess", "asyncio"} & set(found) == set()
