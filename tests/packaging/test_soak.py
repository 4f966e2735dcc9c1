"""The soak: a short one succeeds, and one in which something hangs is aborted and fails."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kernel import views_under
from tests.support.mounts import mounted
from tests.support.polling import poll
from tests.support.trees import folders, grow
from tests.support.users import needs_root
from tests.support.watchdog import watched
from tests.support.workers import READERS

pytestmark = pytest.mark.waits

BOUND = 2.0


@contextlib.contextmanager
def soaking(place: Path, minutes: float, *words: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a soak while the block runs; killed when the block ends, if need be."""
    command = [sys.executable, "-m", "tests.support.soak", str(minutes), f"--place={place}", *words]
    process = subprocess.Popen(
        command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.communicate()


def server(process: "subprocess.Popen[str]") -> int:
    """The daemon of the first view, from the soak's first line."""
    assert process.stdout is not None
    found = re.match(r"soak: begins, (\d+) serves", process.stdout.readline())
    assert found is not None
    return int(found[1])


@pytest.mark.mount
def test_a_short_soak_succeeds_and_reports_operations_and_resources(place: Path) -> None:
    with soaking(place, 0.1) as process:
        said, _ = process.communicate(timeout=55)
    assert process.returncode == 0, said
    kinds = {kind for kind in READERS if kind != "handles" or os.geteuid() == 0}
    counts = {kind: int(number.replace(",", "")) for kind, number in re.findall(r"(\w[\w -]*): ([\d,]*\d)", said)}
    assert kinds | {"change", "SIGHUP", "at once", "renamed away"} <= counts.keys()
    assert all(counts.values())
    assert re.findall(r"soak: (best|small): (Held\(.*\)) -> \2, \d+ threads, [\d.]+ -> [\d.]+ MiB", said)


@needs_root
@pytest.mark.mount
@pytest.mark.parametrize(
    ("sent", "reason"),
    [(signal.SIGSTOP, f"did not answer for {BOUND:g} s"), (signal.SIGKILL, "cannot be asked any more")],
    ids=["hangs", "is gone"],
)
def test_a_soak_with_a_hung_or_dead_view_is_aborted_and_fails(place: Path, sent: signal.Signals, reason: str) -> None:
    with soaking(place, 10, f"--bound={BOUND}") as process:
        os.kill(server(process), sent)
        said, _ = process.communicate(timeout=40)
        assert process.returncode == 1
        assert f"soak: FAILED: the view {place}/best {reason}; aborted: {place}/" in said
        assert views_under(os.fsencode(place)) == []


@pytest.mark.mount
def test_the_watchdog_aborts_views_when_a_process_is_stuck_in_the_kernel(place: Path) -> None:
    """A process is in state D from vfork(2) until its child calls execve(2); this child opens a FIFO before."""
    fifo = place / "fifo"
    os.mkfifo(fifo)
    opened = f"(os.POSIX_SPAWN_OPEN, 0, {os.fspath(fifo)!r}, os.O_RDONLY, 0)"
    script = f"import os; os.posix_spawn('/bin/true', ['true'], {{}}, file_actions=[{opened}])"
    sources = [grow(place / name, folders(name, "1")) for name in ("high", "low")]
    with subprocess.Popen([sys.executable, "-c", script]) as stuck:
        try:
            with (
                pytest.raises(AssertionError) as raised,
                mounted(place / "view", *sources) as view,
                watched(place, [view.mountpoint], BOUND, lambda: [stuck.pid]) as watchdog,
            ):
                poll(lambda: watchdog.reason, "the reason", 20)
        finally:
            os.close(os.open(fifo, os.O_RDWR))
    expected = rf"process {stuck.pid} \(.*\) was stuck in the kernel for {BOUND:g} s; aborted: {place}/view"
    assert re.fullmatch(expected, str(raised.value))
