"""``--simulate`` as a person and as a program sees it: in a pipe, on a terminal, as JSON; and that it does nothing."""

import json
import os
import time
from pathlib import Path

import pytest

from tests.support.json_paths import path_of
from tests.support.kernel import mounted_under, processes_of
from tests.support.mounts import COMMAND
from tests.support.running import called
from tests.support.terminal import on_a_terminal
from tests.support.trees import Link, folders, grow, stamps
from tests.support.users import NOBODY, WITHOUT_OVERRIDE, needs_root, output_of, run

START = ("--simulate", "flac/", "mp3/", "--depth=2")

LINES = """\
folder	flac	mp3	Mira Lund/Harbour
folder	flac	flac	Mira Lund/Lighthouse
folder	mp3	mp3	Tin Sparrows/Rooftops
file	flac	mp3	index.txt
"""
TREE = """\
Mira Lund/
  Harbour/                               high: flac, low: mp3
  Lighthouse/                            flac
Tin Sparrows/
  Rooftops/                              mp3
index.txt                                high: flac, low: mp3
"""
TOTALS = "folders: 1 in both, 1 only in flac, 1 only in mp3\n"


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """The library of the README; returns the directory that it is in."""
    grow(tmp_path / "flac", {b"Mira Lund": folders("f", "Harbour", "Lighthouse"), b"index.txt": b"flac"})
    grow(tmp_path / "mp3", {b"Mira Lund": folders("m", "Harbour"), b"Tin Sparrows": folders("m", "Rooftops")})
    return grow(tmp_path, {b"mp3/index.txt": b"mp3"})


def test_in_a_pipe_there_is_a_line_for_every_folder_and_the_totals_stand_apart(library: Path) -> None:
    done = called(library, *START)
    assert (done.returncode, done.stdout.decode(), done.stderr.decode()) == (0, LINES, TOTALS)


def test_on_a_terminal_it_is_for_people_totals_first_then_a_tree(library: Path) -> None:
    assert on_a_terminal(library, *START, environment={"NO_COLOR": "1"}) == TOTALS + "\n" + TREE
    done = called(library, *START, "--format=text")
    assert (done.stdout.decode(), done.stderr) == (TOTALS + "\n" + TREE, b"")


def test_as_json_it_has_everything(library: Path) -> None:
    done = called(library, *START, "--json")
    document = json.loads(done.stdout)
    entries = {entry["path"]: entry for entry in document["entries"]}
    assert (done.returncode, done.stderr) == (0, b"")
    assert document["sources"] == ["flac", "mp3"]
    assert {name: n for name, n in document["totals"].items() if "with" not in name} == {
        "folders": 3, "in both": 1, "only in flac": 1, "only in mp3": 1,
    }  # fmt: skip
    assert document["remarks"] == []
    harbour = {
        "type": "folder",
        "sources": ["flac", "mp3"],
        "high": "flac",
        "low": "mp3",
        "files": {"flac": 1, "mp3": 1},
    }
    assert entries["Mira Lund/Harbour"] == {"path": "Mira Lund/Harbour", **harbour}
    assert entries["Mira Lund"] == {
        "path": "Mira Lund", "type": "merged", "sources": ["flac", "mp3"], "high": None, "low": None, "files": {},
    }  # fmt: skip


def test_what_needs_a_persons_eye_is_remarked_apart_from_the_plan(library: Path) -> None:
    grow(library / "flac", {"Bj\u00f6rk".encode(): folders("f", "Debut [FLAC]"), b"both": b"file"})
    grow(library / "flac", {b"way": Link(b"."), b"tin sparrows ": {}})
    grow(library / "mp3", {"Bjo\u0308rk".encode(): folders("m", "Debut"), b"both": {}})
    done = called(library, *START)
    said = done.stderr.decode()
    assert done.returncode == 0
    for part in (
        "near miss: /: 'Bj\u00f6rk' (flac), 'Bjo\u0308rk' (mp3) differ by Unicode form",
        "near miss: /: 'tin sparrows ' (flac), 'Tin Sparrows' (mp3) differ by case, blanks: --match loose",
        "conflict: both: a directory in mp3, a file in flac: the directory is shown",
        "link: way: symbolic link in flac, left out",
    ):
        assert part in said
    assert said.splitlines()[-1].startswith("folders: ")
    paired = called(library, *START, "--match=nfc", "--ignore", r" \[FLAC\]$")
    assert "near miss: Bj" not in paired.stderr.decode()
    assert "folder\tflac\tmp3\tBj\u00f6rk/Debut [FLAC]" in paired.stdout.decode()


def test_names_are_printed_so_that_a_terminal_and_a_parser_survive_them(library: Path) -> None:
    grow(library / "flac", {b"a\tb\n\x1b[31m": {b"\xff\\": {}}})
    done = called(library, *START)
    assert b"folder\tflac\tflac\ta\\tb\\n\\x1b[31m/\\xff\\\\\n" in done.stdout
    assert b"\x1b" not in done.stdout + done.stderr
    document = json.loads(called(library, *START, "--json").stdout)
    odd = next(entry for entry in document["entries"] if "path_b64" in entry)
    assert (odd["path"], path_of(odd)) == ("a\tb\n\x1b[31m/\ufffd\\", b"a\tb\n\x1b[31m/\xff\\")


def test_names_that_are_no_text_come_out_of_json_without_loss_and_as_nothing_but_text(library: Path) -> None:
    grow(library / "flac", {b"\xff\n\xed\xa0\x80": {b"\xc3\x28": {}}, b"l\xffnk": Link(b".")})
    document = json.loads(called(library, *START, "--json").stdout)
    names = [path_of(member) for member in document["entries"] + document["remarks"] if "path_b64" in member]
    assert names == [b"\xff\n\xed\xa0\x80", b"\xff\n\xed\xa0\x80/\xc3\x28", b"l\xffnk"]


@needs_root
@pytest.mark.parametrize("form", [(), ("--json",)], ids=["lines", "JSON"])
def test_a_directory_that_cannot_be_read_is_remarked_and_makes_it_end_with_1(
    library: Path, form: tuple[str, ...]
) -> None:
    closed = grow(library / "flac/closed", {b"album": {}})
    closed.chmod(0o700)
    os.chown(closed, NOBODY, NOBODY)
    done = run("env", "-C", library, *WITHOUT_OVERRIDE, *COMMAND, *START, *form)
    assert done.returncode == 1
    assert b"cannot be listed in flac" in (done.stdout if form else done.stderr)


def test_nothing_is_mounted_or_written_whether_a_mountpoint_is_named_or_not(library: Path) -> None:
    before = stamps(library)
    plain = called(library, *START).stdout
    assert called(library, *START, "missing").stdout == plain
    assert called(library, *START, "--output_high=high", "--output_low=low").stdout == plain
    assert called(library, "--simulate", "--depth=2", "flac:mp3").stdout == plain
    assert stamps(library) == before
    assert (mounted_under(os.fsencode(library)), processes_of(os.fsencode(library))) == ([], [])


def test_whoever_reads_only_the_first_line_is_no_trouble(library: Path) -> None:
    grow(library / "flac/many", {b"%05d" % number: {} for number in range(5000)})
    script = f"cd {library}; {' '.join([*COMMAND, *START])} 2>err | head -n 1; cat err"
    assert b"Traceback" not in run("sh", "-c", script).stdout


@pytest.mark.slow
def test_a_hundred_thousand_folders_take_seconds(in_memory: Path) -> None:
    for name, first in (("flac", 0), ("mp3", 10)):
        for artist in range(first, first + 50):
            os.makedirs(in_memory / name / str(artist))
            output_of("sh", "-c", 'cd "$1" && seq 1000 | xargs mkdir', "sh", in_memory / name / str(artist))
    started = time.monotonic()
    done = called(in_memory, *START, seconds=120)
    took = time.monotonic() - started
    print(f"100,000 folders: {took:.1f} s")
    assert (done.returncode, done.stdout.count(b"\n")) == (0, 60_000)
    assert done.stderr == b"folders: 40,000 in both, 10,000 only in flac, 10,000 only in mp3\n"
    assert took < 60
