"""The benchmark with its smallest library: it measures the peers that it names, and leaves nothing behind."""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.kernel import detach, mounted_under, view_at
from tests.support.polling import poll
from tests.support.users import needs_root, output_of

pytestmark = [pytest.mark.mount(seconds=180), pytest.mark.slow]

SCRIPTS = Path(__file__).parents[2] / "scripts"
SMALL = ("--artists=3", "--albums=2", "--files=2", "--large-mib=1", "--rounds=1", "--idle=1", "--wake-ups=as-found")
POLLING = Path("/sys/module/haltpoll/parameters/guest_halt_poll_ns")
BEGIN, END = "<!-- scripts/bench --docs writes from here -->", "<!-- to here -->"

needs_polling = pytest.mark.skipif(
    not os.access(POLLING, os.W_OK),
    reason=f"{POLLING} cannot be written: it is there in some virtual machines, for root",
)


HASTY = """
import sys
from benchmark import changing, scale
from benchmark.main import main
changing.ALONE = changing.REST = scale.ALONE = 0.2
sys.exit(main())
"""
"""The benchmark with pauses too short for exact figures."""


def start(place: Path, *options: str, program: Sequence[str] = ("-m", "benchmark")) -> "subprocess.Popen[str]":
    words = [sys.executable, *program, f"--directory={place}", *options]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    pipe = subprocess.PIPE
    return subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, env=environment)


def progress(said: str) -> list[str]:
    """The last part of each line of progress. Raises AssertionError for any other output."""
    assert all(line.startswith("bench: ") for line in said.splitlines()), said
    return [line.split(": ")[-1] for line in said.splitlines()]


def bench(place: Path, *options: str, program: Sequence[str] = ("-m", "benchmark")) -> tuple[str, Any]:
    """Run it to the end; returns its stdout and its JSON report."""
    report = place / "report.json"
    process = start(place, f"--json={report}", *options, program=program)
    printed, complaints = process.communicate(timeout=150)
    assert process.returncode == 0, complaints
    assert progress(complaints)[0] == ("making them" if "--scale" in options else "making the library")
    assert os.listdir(place) == ["report.json"]
    return printed, json.loads(report.read_text())


def by_line(report: dict[str, Any]) -> dict[tuple[str, str, str], Any]:
    """The rows of a report, by run, state and peer."""
    return {(row["run"], row["state"], row["peer"]): row for row in report["rows"]}


RUNS = ("mount", "walk", "walk4", "tags", "tags8", "missing", "read", "streams", "random")
PROGRAMS_RUNS = ("mpd", "find", "du", "rsync", "mutagen", "open")


@pytest.fixture(scope="module")
def whole(shared_place: Path) -> tuple[str, Any]:
    """What a benchmark of all runs prints, and its report."""
    only = ",".join((*RUNS, *PROGRAMS_RUNS, "beside"))
    return bench(shared_place, *SMALL, f"--only={only}", "--peers=bare,floor,symlinks")


def test_every_run_is_measured_with_every_peer_cold_and_warm(whole: tuple[str, Any]) -> None:
    printed, report = whole
    rows = {line: row for line, row in by_line(report).items() if line[0] in RUNS}
    both = {(run, state) for run in RUNS[1:] for state in ("cold", "warm")}
    assert {(run, state) for run, state, peer in rows if peer == "mmirrorfs"} == both | {("mount", "cold")}
    for name in ("bare", "floor"):
        assert {(run, state) for run, state, peer in rows if peer == name} == both
    assert all(row["median"] > 0 and len(row["rounds"]) == 1 for row in rows.values())
    for (run, state, peer), row in rows.items():
        ours = rows[run, state, "mmirrorfs"]
        if peer == "mmirrorfs":
            assert row["ratios"] is None
        else:
            assert row["ratios"][0] == pytest.approx(ours["median"] / row["median"])
        if peer in ("mmirrorfs", "floor"):
            assert row["cpu"] >= 0
            assert row["memory"] > 1 << 20
        else:
            assert row["cpu"] is row["memory"] is None
    assert "walk with stat, 4 processes, cold" in printed
    assert {"machine", "kernel", "mmirrorfs", "Python", "pyfuse3", "libfuse", "cold", "wake-ups"} <= report[
        "header"
    ].keys()


def test_programs_of_users_are_measured_and_mpd_also_after_caches_have_expired(whole: tuple[str, Any]) -> None:
    programs = {"mpd", "rsync", "mutagen"}
    _, report = whole
    rows = {line: row for line, row in by_line(report).items() if line[0] in PROGRAMS_RUNS}
    left_out = report["left_out"].keys() - {"beside"}
    assert left_out <= programs
    mpd = {"rescan, cold", "update right after", "update when the caches have run out"}
    for peer in ("mmirrorfs", "floor", "bare", "symlinks"):
        states = {run: {state for other, state, who in rows if (other, who) == (run, peer)} for run, _, _ in rows}
        assert states.pop("open") == {"warm"}
        assert states.pop("mpd", mpd) == mpd
        assert states == {run: {"cold", "warm"} for run in {"find", "du", "rsync", "mutagen"} - left_out}
    assert programs - left_out <= report["header"].keys()


def test_a_reader_next_to_one_of_a_slow_disk_is_measured_with_peers_that_read_both_sources(
    whole: tuple[str, Any],
) -> None:
    _, report = whole
    found = {(state, peer) for run, state, peer in by_line(report) if run == "beside"}
    if "beside" in report["left_out"]:
        pytest.skip(report["left_out"]["beside"])
    states = ("nobody else reading", "beside a slow disk")
    assert found == {(state, peer) for state in states for peer in ("mmirrorfs", "symlinks")}


def test_the_summary_names_each_row_once_with_its_measured_ratio(place: Path) -> None:
    printed, report = bench(place, *SMALL, "--only=walk,missing,open", "--peers=bare")
    words = re.sub(r"\s+", " ", printed.partition("Beside the plain folders, wake-ups as found:")[2])
    titles = {"walk": "walk with stat", "missing": "names that are not there"}
    titles["open"] = "open, read and close of a cached file"
    groups = re.search(
        r"(faster in .*)(slower in .*)(no clear difference in .*)(5 of them were measured once only)", words
    )
    assert groups is not None
    for row in report["rows"]:
        if row["peer"] == "bare":
            title, ratio = f"{titles[row['run']]}, {row['state']}", row["ratios"][0]
            clear = max(ratio, 1 / ratio) >= 1.05
            group = groups[3 if not clear else 1 if ratio < 1 else 2]
            assert words.count(title) == group.count(title) == 1
            factor = max(ratio, 1 / ratio)
            assert not clear or f"{title} {factor:,.{1 if factor < 9.95 else 0}f} x" in group


def documents(place: Path, *names: str) -> dict[str, Path]:
    """Make files with both markers."""
    found = {name: place / name for name in names}
    for path in found.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"above\n{BEGIN}\nbefore that\n{END}\nbelow\n")
    return found


def tables(path: Path) -> list[list[str]]:
    """The cells of all table rows in a document."""
    return [line.strip("| ").split(" | ") for line in path.read_text().splitlines() if line.startswith("|")]


def test_docs_writes_the_tables_between_the_markers(place: Path, tmp_path: Path) -> None:
    paths = documents(tmp_path, "README.md", "docs/performance.md")
    _, report = bench(place, *SMALL, "--only=find,missing", "--peers=bare,symlinks", f"--docs={tmp_path}")
    rows = by_line(report)
    for path in paths.values():
        text = path.read_text()
        assert text.startswith(f"above\n{BEGIN}\n\n|")
        assert text.endswith(f"\n\n{END}\nbelow\n")
        assert "before that" not in text
    short = tables(paths["README.md"])
    assert short[0] == ["plain folders, wake-ups as found"]
    for line, state in zip(short[2:], ("cold", "warm"), strict=True):
        ratio = rows["find", state, "bare"]["ratios"][0]
        factor = max(ratio, 1 / ratio)
        expected = f"{factor:.{1 if factor < 9.95 else 0}f} x {'faster' if ratio < 1 else 'slower'}"
        assert line == [f"find -newer, {state}", "the same" if factor < 1.05 else expected]
    long = tables(paths["docs/performance.md"])
    table = long[long.index(["run", "mmirrorfs", "its CPU", "symlinks", "bare"]) + 2 :]
    assert [line[0] for line in table] == [
        f"{title}, {state}" for title in ("find -newer", "names that are not there") for state in ("cold", "warm")
    ]
    for line, state in zip(table[2:], ("cold", "warm"), strict=True):
        assert line[3:] == [f"{rows['missing', state, peer]['ratios'][0]:.2f}" for peer in ("symlinks", "bare")]


def test_readme_and_performance_page_have_both_markers() -> None:
    for name in ("README.md", "docs/performance.md"):
        text = (SCRIPTS.parent / name).read_text()
        assert re.findall(f"{BEGIN}|{END}", text) == [BEGIN, END], name


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--rounds=0"], "--rounds: '0': must be a number from 1"),
        (["--artists=99999999999999999999"], "must be a number from 1"),
        (["--only="], "--only: name a run"),
        (["--peers=none\n"], "not one of"),
        (["--docs=/nowhere"], "/nowhere/README.md: No such file or directory"),
        (["--json=/nowhere/figures"], "No such file or directory: '/nowhere/figures'"),
        (["--directory=/nowhere"], "No such file or directory"),
    ],
)
def test_invalid_options_are_refused_in_one_line_before_anything_is_measured(
    place: Path, options: Sequence[str], complaint: str
) -> None:
    process = start(place, *options)
    printed, complaints = process.communicate(timeout=60)
    assert process.returncode in (1, 2)
    assert printed == ""
    last = complaints.splitlines()[-1]
    assert complaint in last
    assert "making" not in complaints
    assert os.listdir(place) == []


def test_a_document_without_exactly_one_pair_of_markers_is_refused(place: Path, tmp_path: Path) -> None:
    paths = documents(tmp_path, "README.md", "docs/performance.md")
    paths["docs/performance.md"].write_text(f"{BEGIN}\n{BEGIN}\n{END}\n")
    process = start(place, f"--docs={tmp_path}")
    complaints = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert complaints.startswith(f"bench: --docs: {paths['docs/performance.md']}: needs one line {BEGIN}")
    assert complaints.count("\n") == 1


@pytest.mark.alone
@needs_polling
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_halt_poll_setting_is_restored_after_each_signal(place: Path, number: signal.Signals) -> None:
    with open(POLLING, "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        before = file.read()
        process = start(place, *SMALL[:-3], "--rounds=1000", "--only=tags", "--peers=bare")
        assert process.stderr is not None
        steps = [process.stderr.readline() for _ in range(3)]
        assert steps[2] == f"bench: waiting: another benchmark is changing {POLLING}\n"
    seen = set[str]()

    def both() -> bool:
        seen.add(POLLING.read_text().strip())
        return {"0", "200000"} <= seen

    poll(both, "both conditions", 60)
    process.send_signal(number)
    process.communicate(timeout=60)
    with open(POLLING, "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert file.read() == before
    for mountpoint in mounted_under(os.fsencode(place)):  # SIGKILL leaves what it interrupts
        detach(mountpoint)


@pytest.mark.alone
@needs_polling
def test_each_row_is_measured_with_cheap_and_with_dear_wake_ups(place: Path) -> None:
    _, report = bench(place, *SMALL, "--wake-ups=both", "--only=tags", "--peers=bare")
    lines = [(row["condition"], row["state"], row["peer"]) for row in report["rows"]]
    assert lines == [(c, s, p) for c in ("cheap", "dear") for s in ("cold", "warm") for p in ("mmirrorfs", "bare")]


def test_the_bare_pyfuse3_filesystem_merges_like_a_view(place: Path) -> None:
    for source, content in (("a", b"1"), ("b", b"2")):
        for path in ("Both/Album/01", f"Only {source}/Album/Disc/02", f"Both/Only {source}/03"):
            (place / source / path).parent.mkdir(parents=True)
            (place / source / path).write_bytes(content * 3_000_000 if source == "a" else content)
    (place / "mnt").mkdir()
    floor = [sys.executable, "-m", "benchmark.floor", str(place / "a"), str(place / "b"), str(place / "mnt")]
    subprocess.run(floor, env={**os.environ, "PYTHONPATH": str(SCRIPTS)}, check=True, timeout=60)
    try:
        shown = {str(path.relative_to(place / "mnt")): path for path in (place / "mnt").rglob("*") if path.is_file()}
        won = {"Both/Album/01": "a", "Both/Only a/03": "a", "Both/Only b/03": "b"}
        won |= {"Only a/Album/Disc/02": "a", "Only b/Album/Disc/02": "b"}
        assert shown.keys() == won.keys()
        for name, source in won.items():
            assert shown[name].read_bytes() == (place / source / name).read_bytes()
        assert not (place / "mnt" / "Both" / "none").exists()
    finally:
        output_of("umount", place / "mnt") if os.geteuid() == 0 else output_of("fusermount3", "-u", place / "mnt")


def test_a_peer_that_is_not_installed_is_reported_and_left_out(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = place / "tools"
    tools.mkdir()
    for name in ("umount", "fusermount3"):
        found = next((path for path in (f"/usr/bin/{name}", f"/bin/{name}") if os.path.exists(path)), None)
        if found is not None:
            (tools / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(tools))
    process = start(place, *SMALL, "--only=tags,mpd", "--peers=mergerfs,bare", "--fast-path=off")
    printed, complaints = process.communicate(timeout=150)
    assert process.returncode == 0, complaints
    for name in ("mergerfs", "mpd"):
        assert re.search(rf"^left out: {name} +{name} is not installed", printed, re.MULTILINE)
    assert "plain (--fast-path off)" in printed


@needs_root
def test_an_unrelated_mountpoint_that_is_not_utf_8_does_no_harm(place: Path, tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/\xff \n"
    os.mkdir(odd)
    output_of("mount", "-t", "tmpfs", "none", odd)
    try:
        bench(place, *SMALL, "--only=open", "--peers=floor")
    finally:
        output_of("umount", odd)


def test_scale_measures_every_figure_at_each_size(place: Path) -> None:
    printed, report = bench(place, "--scale", "--sizes=20,50", "--wide=300", "--rounds=1", program=("-c", HASTY))
    assert [size["folders"] for size in report["sizes"]] == [30, 75]
    for size in report["sizes"]:
        needed = {"build warm", "find warm", "quiet warm", "changed warm", "resident", "lookup", "open", "list"}
        needed |= {"one", "one, longest", "many", "many, longest", "nothing, longest"}
        assert needed <= size["figures"].keys()
    assert [pause.keys() for pause in report["pauses"]] == [{"beside", "alone", "listing"}]
    assert "60 MiB + 500 bytes a folder" in printed
    assert [found.keys() for found in report["changes"]] == [{"nothing", "one", "many", "resident"}]
    assert "One directory of 300 folders of two sources" in printed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_partial_results_and_nothing_left_behind(
    place: Path, tmp_path: Path, number: signal.Signals
) -> None:
    report = tmp_path / "report.json"
    options = ("--rounds=1000", "--only=tags,walk", "--peers=bare", f"--json={report}", f"--docs={tmp_path}")
    paths = documents(tmp_path, "README.md", "docs/performance.md")
    process = start(place, *SMALL, *options)
    assert process.stderr is not None
    steps = [process.stderr.readline() for _ in range(8)]
    assert steps[2] == "bench: round 1, 1 of 4: wake-ups as found: walk with stat: mmirrorfs\n"
    poll(lambda: any(view_at(where) for where in mounted_under(os.fsencode(place))), "a mount", 60)
    process.send_signal(number)
    printed, complaints = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert complaints.endswith(f"bench: stopped by {number.name}\n")
    assert re.search(rf"^INCOMPLETE +stopped by {number.name}$", printed, re.MULTILINE), printed
    assert "walk with stat" in printed
    written = json.loads(report.read_text())
    assert written["incomplete"] is True
    assert all("before that" in path.read_text() for path in paths.values())
    assert {row["peer"] for row in written["rows"]} == {"mmirrorfs", "bare"}
    assert mounted_under(os.fsencode(place)) == []
    assert os.listdir(place) == []
