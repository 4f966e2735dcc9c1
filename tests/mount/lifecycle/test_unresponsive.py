"""Stopped daemons, hanging sources and a hanging log: commands say so within their time limit and change nothing.

Each of these commands waits for 10 s, so they run at the same time; one hanging source serves ``--status`` and
``--explain``.
"""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.hanging import freed, hanging
from tests.support.kernel import views_under
from tests.support.metrics import samples
from tests.support.mounts import COMMAND, View, daemon_of, mounted
from tests.support.polling import poll
from tests.support.running import called
from tests.support.trees import Tree, folders, grow
from tests.support.users import Word, needs_root
from tests.support.waiting import Asked

pytestmark = pytest.mark.waits

Done = subprocess.CompletedProcess[bytes]

FAILED = 32
ODD = os.fsdecode(b'v"i\\e\nw \xe9')
FLAC: Tree = {b"Lund": folders("f", "Harbour", "Lighthouse")}
MP3: Tree = {b"Lund": folders("m", "Harbour"), b"Sparrows": folders("m", "Rooftops")}


@pytest.fixture
def library(place: Path) -> Path:
    """Two overlapping sources, ``flac`` and ``mp3``, below the returned directory."""
    grow(place / "flac", FLAC)
    grow(place / "mp3", MP3)
    return place


@contextmanager
def stopped(view: View) -> Iterator[None]:
    """The daemon is stopped: the view is alive and does not answer."""
    view.send(signal.SIGSTOP)
    try:
        stat = Path(f"/proc/{view.pid}/stat")
        poll(lambda: stat.read_bytes().rpartition(b")")[2].split()[0] == b"T", "the daemon stopped")
        yield
    finally:
        view.send(signal.SIGCONT)


def logging_to(log: Path, *words: Word) -> tuple[Word, ...]:
    """Mount with that log; the output goes to the file ``said``, because a stuck process would keep a pipe open."""
    return ("sh", "-c", '"$@" >said 2>&1', "sh", *COMMAND, *words, "--log", log)


def all_at_once(place: Path, **commands: tuple[Word, ...]) -> dict[str, Done]:
    """Run commands in ``place`` at the same time; returns how each of them ended."""
    running = {
        name: subprocess.Popen(
            words, cwd=place, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for name, words in commands.items()
    }
    try:
        output = {name: process.communicate(timeout=60) for name, process in running.items()}
    finally:
        for process in running.values():
            process.kill()
    return {name: Done(commands[name], running[name].returncode, *output[name]) for name in running}


@needs_root
@pytest.mark.mount(seconds=120)
def test_commands_about_stopped_views_and_a_hanging_log_fail_in_time_and_change_nothing(library: Path) -> None:
    sources = (library / "flac", library / "mp3")
    at_once = ("timeout", "25")  # three views, and 10 s for each that does not answer
    with ExitStack() as stack:
        live, view, other, odd = (
            stack.enter_context(mounted(library / name, *sources, depth=2, prefer=prefer, background=True))
            for name, prefer in (("live", "low"), ("view", "high"), ("other", "high"), (ODD, "low"))
        )
        net = stack.enter_context(hanging(grow(library / "under", {}), library / "net"))
        stack.enter_context(freed(net))
        net.hang()
        with stopped(view), stopped(other), stopped(odd):
            done = all_at_once(
                library,
                status=(*COMMAND, "--status", "view"),
                explain=(*COMMAND, "--explain", "view/Lund"),
                of_source=(*at_once, *COMMAND, "--explain", "mp3/Lund/Harbour", "--json"),
                of_all=(*at_once, *COMMAND, "--status", "--json"),
                doctor=(*at_once, *COMMAND, "--doctor"),
                all_metrics=(*at_once, *COMMAND, "--status", "--format=prometheus"),
                metrics=(*COMMAND, "--status", ODD, "--format=prometheus"),
                again=(*COMMAND, *sources, view.mountpoint, "--depth=2"),
                log=logging_to(library / "net/log", *sources, grow(library / "new", {})),
                otherwise=(*COMMAND, *sources, other.mountpoint, "--depth=2", "--prefer=low"),
            )
            assert len(views_under(os.fsencode(library))) == 4
        net.go_on()
        check_query_fails(done["status"])
        check_query_fails(done["explain"])
        check_explain_of_a_source_has_the_live_views(done["of_source"], live, view)
        states = {state["mountpoint"]["path"]: state.get("error") for state in json.loads(done["of_all"].stdout)}
        assert states[str(live.mountpoint)] is None
        assert all("is stopped (kill -CONT" in states[str(one.mountpoint)] for one in (view, other))
        assert done["doctor"].returncode == 1
        for one in (view, other):
            assert f"{one.mountpoint} does not answer: process {one.pid} is stopped" in done["doctor"].stdout.decode()
        metrics = samples(done["all_metrics"].stdout.decode())
        up = [metrics["mmirrorfs_up", frozenset({("view", str(one.mountpoint))})] for one in (live, view, other)]
        assert up == [1, 0, 0]
        check_metrics_say_it_is_down(done["metrics"], f"{library}/" + r'v"i\\e\nw \xe9')
        assert (done["again"].returncode, done["again"].stderr) == (0, b""), "the same command"
        assert done["otherwise"].returncode == FAILED, "with other options"
        said = done["otherwise"].stderr
        assert re.fullmatch(rb"mmirrorfs: the view on \S+ does not answer: [^\n]+\n", said)
        assert done["log"].returncode == FAILED
        assert (library / "said").read_text().endswith("cannot be written: what it is on does not answer\n")
        for one in (view, other):
            assert os.listdir(one.mountpoint) == ["Lund", "Sparrows"]
            assert (one.mountpoint / "Lund/Harbour/track").read_text() == "fHarbour"
            assert daemon_of(one.where) == one.pid


def check_query_fails(done: Done) -> None:
    (line,) = done.stderr.decode().splitlines()
    assert "does not answer" in line
    assert (done.returncode, done.stdout) == (FAILED, b"")


def check_explain_of_a_source_has_the_live_views(done: Done, live: View, silent: View) -> None:
    views = [answer["view"]["path"] for answer in json.loads(done.stdout)]
    assert [path for path in views if Path(path).parent == live.mountpoint.parent] == [str(live.mountpoint)]
    said = f"mmirrorfs: the view on {silent.mountpoint} does not answer: process {silent.pid} is stopped"
    assert said in done.stderr.decode()


def check_metrics_say_it_is_down(done: Done, shown: str) -> None:
    assert samples(done.stdout.decode()) == {("mmirrorfs_up", frozenset({("view", shown)})): 0}
    assert (done.returncode, b"is stopped (kill -CONT" in done.stderr) == (0, True)


def words(place: Path, path: str) -> str:
    """What ``--explain`` prints, in one line, without the directory."""
    done = called(place, "--explain", path)
    assert (done.returncode, done.stderr) == (0, b"")
    return " ".join(done.stdout.decode().replace(f"{place}/", "").split())


@needs_root
@pytest.mark.mount(seconds=120)
def test_status_and_explain_report_a_source_that_hangs_until_it_answers_again(place: Path) -> None:
    under, low = grow(place / "under", FLAC), grow(place / "low", MP3)
    with (
        hanging(under, place / "slow") as source,
        mounted(place / "view", place / "slow", low, depth=2, options=["--refresh=1"]) as view,
        freed(source),
    ):
        assert called(place, "--status", "view").returncode == 0
        os.listdir(view.mountpoint / "Lund/Lighthouse")
        source.hang()
        reader = Asked(lambda: (view.mountpoint / "Lund/Lighthouse/track").read_bytes())
        poll(lambda: status(place)["sources"][0]["waiting"]["stuck"], "a stuck request", 20)
        poll(lambda: b"does not answer" in called(place, "--status", "view").stdout, "the hang reported", 20)
        check_status_of_a_hanging_source(place)
        check_explain_of_a_hanging_source(place)
        source.go_on()
        assert reader.answer(20) == b"fLighthouse"
        poll(lambda: called(place, "--status", "view").returncode == 0, "the source back", 20)
        answer = json.loads(called(place, "--explain", "view/Lund/Harbour/track", "--json").stdout)
        assert answer["state"] == "shown"


def status(place: Path) -> dict[str, list[dict[str, dict[str, int]]]]:
    """The JSON of ``--status``, whatever its exit code."""
    found: dict[str, list[dict[str, dict[str, int]]]]
    found = json.loads(called(place, "--status", "view", "--json").stdout)
    return found


def check_status_of_a_hanging_source(place: Path) -> None:
    done = called(place, "--status", "--json", "view")
    assert [one["hangs"] for one in json.loads(done.stdout)["sources"]] == [True, False]
    assert done.returncode == 1
    done = called(place, "--status", "view")
    assert done.returncode == 1
    assert re.search(rb"slow \(.*\): wins 2 of 2 folders, does not answer for \d+ s", done.stdout)
    assert re.search(rb"\d+ requests are stuck, the longest for \d+ s", done.stdout)


def check_explain_of_a_hanging_source(place: Path) -> None:
    said = words(place, "view/Lund/Lighthouse/track")
    assert "comes from slow: slow/Lund/Lighthouse/track" in said
    assert re.search(r"Source slow \(slow\) has not answered for \d+ s; what is told of it was known", said)
    said = words(place, "view/Lund/Harbour/track")
    assert "It cannot be told now whether view/Lund/Harbour/track is there." in said
    assert "What is in slow/Lund/Harbour was never read: nothing is read ahead (--crawl)." in said
