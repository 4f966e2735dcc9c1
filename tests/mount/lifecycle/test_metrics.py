"""``--status --format prometheus`` and ``user.mmirrorfs.metrics``, read by the parser of prometheus_client."""

import errno
import os
import signal
from pathlib import Path

import pytest

from tests.support.kernel import detach
from tests.support.metrics import samples
from tests.support.mounts import COMMAND, mounted
from tests.support.polling import poll
from tests.support.running import called
from tests.support.trees import folders, grow
from tests.support.users import as_nobody, run

ODD = os.fsdecode(b'v"i\\e\nw \xe9')


@pytest.fixture
def sources(place: Path) -> tuple[Path, Path]:
    """Two overlapping sources."""
    return grow(place / "high", folders("h", "1", "2")), grow(place / "low", folders("l", "2", "3"))


def metrics_of(place: Path, *words: str) -> str:
    """The metrics that ``--status`` prints; it must succeed."""
    done = called(place, "--status", *words, "--format", "prometheus")
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def sample(text: str, where: Path, name: str, **labels: str) -> float:
    """The value of one sample of the view on ``where``."""
    return samples(text)[f"mmirrorfs_{name}", frozenset({"view": str(where), **labels}.items())]


def test_requests_to_a_view_are_counted(place: Path, sources: tuple[Path, Path]) -> None:
    with mounted(place / "view", *sources) as view:
        before = metrics_of(place, "view")
        track = view.mountpoint / "1/track"
        for _ in range(3):
            os.posix_fadvise(fd := os.open(track, os.O_RDONLY), 0, 0, os.POSIX_FADV_DONTNEED)
            assert os.read(fd, 100) == b"h1"
            os.close(fd)
        for number in range(2):
            with pytest.raises(OSError, match=os.strerror(errno.ENODATA)):
                os.getxattr(track, f"user.nothing{number}")
        after = metrics_of(place, "view")
        assert sample(after, view.mountpoint, "opens_total") - sample(before, view.mountpoint, "opens_total") == 3
        assert sample(after, view.mountpoint, "requests_total", operation="open") >= 3
        assert 2 <= sample(after, view.mountpoint, "read_bytes_total") <= 6
        labels = {"operation": "getxattr", "error": "ENODATA"}
        assert sample(after, view.mountpoint, "request_errors_total", **labels) >= 2
        assert 0 < sample(after, view.mountpoint, "loop_longest_pause_seconds") < 30
        grow(sources[0] / "4", {b"1": b"1"})
        poll(lambda: sample(metrics_of(place, "view"), view.mountpoint, "changes_total"), "a change")
        assert sample(metrics_of(place, "view"), view.mountpoint, "last_change_timestamp_seconds") > 1.7e9


def test_the_extended_attribute_has_the_same_metrics(place: Path, sources: tuple[Path, Path]) -> None:
    with mounted(place / "view", *sources, options=["-o", "allow_other"]) as view:
        poll(
            lambda: sample(
                metrics_of(place, "view"), view.mountpoint, "source_crawl_state", source="low", state="done"
            ),
            "it",
        )
        text = os.getxattr(view.mountpoint, "user.mmirrorfs.metrics").decode()
        assert samples(text).keys() == samples(metrics_of(place, "view")).keys()
        assert sample(text, view.mountpoint, "source_folders", source="low") == 2
        assert sample(text, view.mountpoint, "source_crawl_folders_done", source="low") == 2
        assert b"user.mmirrorfs.metrics" not in os.fsencode(" ".join(os.listxattr(view.mountpoint)))
        with pytest.raises(OSError, match=os.strerror(errno.ENODATA)):
            os.getxattr(view.mountpoint / "1", "user.mmirrorfs.metrics")


def test_metrics_of_all_views_include_dead_ones(place: Path, sources: tuple[Path, Path]) -> None:
    with mounted(place / "dead", *sources) as dead, mounted(place / ODD, *sources, prefer="low"):
        dead.send(signal.SIGKILL)
        poll(lambda: dead.process is not None and dead.process.poll() is not None, "the end of the daemon")
        done = called(place, "--status", "--format=prometheus")
        text = done.stdout.decode()
        shown = f"{place}/" + r'v"i\\e\nw \xe9'
        assert done.returncode == 0
        assert samples(text)["mmirrorfs_up", frozenset({("view", shown)})] == 1
        assert sample(text, dead.mountpoint, "up") == 0
        assert f"mmirrorfs: {dead.mountpoint} is dead" in done.stderr.decode()
        detach(dead.where)
        dead.process = None


def test_metrics_of_an_unmounted_view_are_up_0_and_exit_code_0(place: Path) -> None:
    done = called(place, "--status", "view", "--format", "prometheus")
    assert (done.returncode, done.stderr.decode()) == (0, f"mmirrorfs: no view is mounted on {place}/view\n")
    assert sample(done.stdout.decode(), place / "view", "up") == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--status", "view", "--follow"], "--follow does not go with --format prometheus"),
        (["--status", "view", "--depth=3"], "--depth does not go with --format prometheus"),
        (["--status", "view", "other"], "--status takes one path, that of a view"),
        (["--status", ""], "--status takes one path, that of a view"),
        (["--status", "view", "--json"], "--json is --format json, not prometheus: give one of them"),
        (["--simulate", "a", "b"], "--format prometheus goes with --status"),
        (["a", "b", "view"], "--format goes with --simulate or --status"),
        (["--doctor"], "--format goes with --simulate or --status"),
    ],
)
def test_options_that_contradict_each_other_are_refused(place: Path, words: list[str], said: str) -> None:
    done = called(place, *words, "--format", "prometheus")
    assert (done.returncode, done.stdout, done.stderr.decode()) == (1, b"", f"mmirrorfs: {said}\n")


def test_a_plain_user_gets_metrics_of_a_view_with_allow_other(place: Path, sources: tuple[Path, Path]) -> None:
    if os.geteuid():
        pytest.skip("only root can become another user")
    with mounted(place / "view", *sources, options=["-o", "allow_other"]) as view:
        words = (*COMMAND, "--status", view.mountpoint, "--format=prometheus")
        done = as_nobody(*words)
        assert done.returncode == 0, done.stderr
        assert sample(done.stdout.decode(), view.mountpoint, "opens_total") == 0


def test_metrics_are_utf_8_in_any_locale_and_fail_on_a_full_disk(place: Path) -> None:
    words = f"cd {place} && {' '.join(COMMAND)} --status Björk --format=prometheus"
    done = run("sh", "-c", words, environment={"LC_ALL": "en_US.ISO-8859-1", "PYTHONIOENCODING": "latin-1"})
    assert f'mmirrorfs_up{{view="{place}/Björk"}} 0\n'.encode() in done.stdout
    done = run("sh", "-c", f"{words} 2>/dev/null >/dev/full")
    assert done.returncode == 2
