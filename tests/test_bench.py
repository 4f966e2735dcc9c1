"""The benchmark, at its smallest: that it measures whom it says it does, and leaves nothing behind."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.kernel import mounted_under, view_at
from tests.support.polling import poll

pytestmark = [pytest.mark.mount(seconds=180), pytest.mark.slow]

SCRIPTS = Path(__file__).parent.parent / "scripts"
SMALL = ("--artists=3", "--albums=2", "--files=2", "--large-mib=1", "--rounds=1")


def start(place: Path, *options: str) -> "subprocess.Popen[str]":
    words = [sys.executable, "-m", "benchmark", f"--directory={place}", *options]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    pipe = subprocess.PIPE
    return subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, env=environment)


def progress(said: str) -> list[str]:
    """What each line of progress says last: nothing else may be said."""
    assert all(line.startswith("bench: ") for line in said.splitlines()), said
    return [line.split(": ")[-1] for line in said.splitlines()]


def bench(place: Path, *options: str) -> tuple[str, Any]:
    """Run it to the end; what it printed, and what it wrote as JSON."""
    report = place / "report.json"
    process = start(place, f"--json={report}", *options)
    printed, complaints = process.communicate(timeout=150)
    assert process.returncode == 0, complaints
    assert progress(complaints)[0] == ("making them" if "--scale" in options else "making the library")
    assert os.listdir(place) == ["report.json"]
    return printed, json.loads(report.read_text())


def test_every_run_is_made_with_every_peer_cold_and_warm(place: Path) -> None:
    runs = ["mount", "walk", "walk4", "tags", "tags8", "missing", "read", "streams", "random"]
    printed, report = bench(place, *SMALL, f"--only={','.join(runs)}", "--peers=bare,symlinks")
    rows = {(row["run"], row["state"], row["peer"]): row for row in report["rows"]}
    both = {(run, state) for run in runs[1:] for state in ("cold", "warm")}
    assert {(run, state) for run, state, peer in rows if peer == "mmirrorfs"} == both | {("mount", "cold")}
    assert {(run, state) for run, state, peer in rows if peer == "bare"} == both
    assert all(row["median"] > 0 and len(row["rounds"]) == 1 for row in rows.values())
    for (run, state, peer), row in rows.items():
        ours = rows[run, state, "mmirrorfs"]
        if peer == "mmirrorfs":
            assert row["ratios"] is None
            assert row["cpu"] >= 0
            assert row["memory"] > 1 << 20
        else:
            assert row["ratios"][0] == pytest.approx(ours["median"] / row["median"])
            assert row["cpu"] is row["memory"] is None
    assert "walk with stat, 4 processes" in printed
    assert {"machine", "kernel", "mmirrorfs", "Python", "pyfuse3", "libfuse", "cold"} <= report["header"].keys()


def test_the_short_table_has_a_line_for_each_run_and_a_column_for_each_peer(place: Path) -> None:
    printed, report = bench(place, *SMALL, "--only=mount,missing", "--peers=bare,symlinks", "--markdown")
    ratios = {(row["run"], row["state"], row["peer"]): row["ratios"] for row in report["rows"]}
    lines = [line.strip("| ").split(" | ") for line in printed.splitlines() if line.startswith("|")]
    assert lines[0] == ["run", "mmirrorfs", "its CPU", "symlinks", "bare"]
    assert [line[0] for line in lines[2:]] == [
        "mount, until usable, cold",
        "names that are not there, cold",
        "names that are not there, warm",
    ]
    for line, state in zip(lines[3:], ("cold", "warm"), strict=True):
        assert line[3:] == [f"{ratios['missing', state, peer][0]:.2f}" for peer in ("symlinks", "bare")]


def test_a_peer_that_is_not_installed_is_named_and_left_out(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = place / "tools"
    tools.mkdir()
    for name in ("umount", "fusermount3"):
        found = next((path for path in (f"/usr/bin/{name}", f"/bin/{name}") if os.path.exists(path)), None)
        if found is not None:
            (tools / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(tools))
    process = start(place, *SMALL, "--only=tags", "--peers=mergerfs,bare", "--fast-path=off")
    printed, complaints = process.communicate(timeout=150)
    assert process.returncode == 0, complaints
    assert "left out: mergerfs  mergerfs is not installed" in printed
    assert "plain (--fast-path off)" in printed


def test_growth_is_measured_at_each_size(place: Path) -> None:
    printed, report = bench(place, "--scale", "--sizes=20,50", "--wide=300", "--rounds=1")
    assert [size["folders"] for size in report["sizes"]] == [30, 75]
    for size in report["sizes"]:
        needed = {"build warm", "find warm", "quiet warm", "changed warm", "resident", "lookup", "open", "list"}
        assert needed <= size["figures"].keys()
    assert [pause.keys() for pause in report["pauses"]] == [{"beside", "alone", "listing"}]
    assert "60 MiB + 500 bytes a folder" in printed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_shows_what_it_has_unmounts_and_removes_everything(
    place: Path, tmp_path: Path, number: signal.Signals
) -> None:
    report = tmp_path / "report.json"
    process = start(place, *SMALL[:-1], "--rounds=1000", "--only=tags,walk", "--peers=bare", f"--json={report}")
    assert process.stderr is not None
    steps = [process.stderr.readline() for _ in range(8)]
    assert steps[2] == "bench: 1 of 4000: round 1 of 1000: walk with stat: mmirrorfs\n"
    poll(lambda: any(view_at(where) for where in mounted_under(os.fsencode(place))), "a mount", 60)
    process.send_signal(number)
    printed, complaints = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert complaints.endswith(f"bench: stopped by {number.name}\n")
    assert re.search(rf"^INCOMPLETE +stopped by {number.name}$", printed, re.MULTILINE), printed
    assert "walk with stat" in printed
    written = json.loads(report.read_text())
    assert written["incomplete"] is True
    assert {row["peer"] for row in written["rows"]} == {"mmirrorfs", "bare"}
    assert mounted_under(os.fsencode(place)) == []
    assert os.listdir(place) == []
