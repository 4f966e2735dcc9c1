"""``--simulate`` as text and csv: summary, tree, filters, colours, pager, and usage errors."""

import csv
import io
import json
import re
from pathlib import Path

import pytest

from tests.support.running import called
from tests.support.terminal import on_a_terminal
from tests.support.trees import Tree, folders, grow
from tests.support.users import output_of

START = ("--simulate", "flac/", "mp3/", "--depth=2")


def files(count: int) -> Tree:
    """A folder with this number of files."""
    return {b"%d" % number: b"" for number in range(count)}


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Near misses, a conflict, an empty and an incomplete folder; returns the parent directory of the sources."""
    names = ("Harbour", "Lighthouse", "Quay", "Ebb", "Rope")
    flac: Tree = {
        b"Lund": {**folders("f", *names), b"Empty": {}, b"Half": files(2), b"Only": files(1), b"Both": files(3)},
        b"Siouxsie": folders("f", "Juju"),
        b"x": b"a file",
    }
    mp3: Tree = {
        b"Lund": {
            **folders("m", *[f"{name} [MP3]" for name in names]),
            **{b"Empty": {b"Disc 1": files(6), b"Disc 2": files(6)}, b"Half": files(12), b"Both": files(3)},
        },
        b"Siouxie": folders("m", "Juju"),
        b"x": folders("m", "y"),
    }
    grow(tmp_path / "flac", flac)
    grow(tmp_path / "mp3", mp3)
    return tmp_path


TOP = """\
folders: 3 in both, 7 only in flac, 7 only in mp3
with --match loose 8 would be in both

near misses: 6
  5 x suffix ' [MP3]': --ignore ' \\[MP3\\]$'
    Lund: 'Ebb' (flac), 'Ebb [MP3]' (mp3)
    Lund: 'Harbour' (flac), 'Harbour [MP3]' (mp3)
    Lund: 'Lighthouse' (flac), 'Lighthouse [MP3]' (mp3)
  /: 'Siouxsie' (flac), 'Siouxie' (mp3) differ by the spelling 'siouxsie' or 'siouxie' and have 1 folder in common

for the configuration file, where they are the same:
  [[same]]
  names = ["Siouxsie", "Siouxie"]
  in = "/"

conflict: 1
  x: a directory in mp3, a file in flac: the directory is shown

empty: 1
  Lund/Empty: flac, which wins in the high view, has no file against 12 in mp3

incomplete: 1
  Lund/Half: flac, which wins in the high view, has 2 files against 12 in mp3
"""


def test_summary_has_the_totals_and_what_needs_a_decision(library: Path) -> None:
    done = called(library, *START, "--summary")
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, TOP, b"")


def test_tree_follows_the_summary_and_marks_the_same_folders(library: Path) -> None:
    text = called(library, *START, "--format=text").stdout.decode()
    assert text.startswith(TOP + "\n")
    lines = [line.split() for line in text.removeprefix(TOP).splitlines()]
    assert ["Both/", "high:", "flac,", "low:", "mp3"] in lines
    assert ["Half/", "high:", "flac,", "low:", "mp3", "(incomplete)"] in lines
    assert ["Harbour/", "flac", "(near", "miss)"] in lines
    assert ["Siouxie/", "(near", "miss)"] in lines
    assert ["x/", "(conflict)"] in lines


def test_advice_pairs_the_names_when_it_is_added_to_the_command(library: Path) -> None:
    advice = re.search(r"suffix.*: (--.*)\n", TOP)
    assert advice is not None
    script = f"exec python3 -m mmirrorfs --simulate {library}/flac {library}/mp3 --depth=2 --summary {advice[1]}"
    text = output_of("sh", "-c", script).decode()
    assert text.startswith("folders: 8 in both, 2 only in flac, 2 only in mp3\n\nnear misses: 1\n")
    lines = re.search(r"where they are the same:\n((?:  .*\n)+)", TOP)
    assert lines is not None
    config = library / "mmirrorfs.toml"
    config.write_text(f'ignore = "odd"\n[sources]\nflac = "flac"\nmp3 = "mp3"\n{lines[1]}')
    script = f"exec python3 -m mmirrorfs --config {config} --simulate --depth=2 --summary {advice[1]}"
    assert b"\nnear misses" not in output_of("sh", "-c", script)


@pytest.mark.parametrize(
    ("only", "paths"),
    [
        ("both", ["Lund/Both", "Lund/Empty", "Lund/Half"]),
        (
            "flac",
            ["Lund/Ebb", "Lund/Harbour", "Lund/Lighthouse", "Lund/Only", "Lund/Quay", "Lund/Rope", "Siouxsie/Juju"],
        ),
        (
            "mp3",
            [*[f"Lund/{n} [MP3]" for n in ("Ebb", "Harbour", "Lighthouse", "Quay", "Rope")], "Siouxie/Juju", "x/y"],
        ),
        ("near", [f"Lund/{n}{s}" for n in ("Ebb", "Harbour", "Lighthouse", "Quay", "Rope") for s in ("", " [MP3]")]),
        ("conflicts", []),
    ],
)
def test_only_leaves_the_selected_entries_and_all_totals(library: Path, only: str, paths: list[str]) -> None:
    done = called(library, *START, f"--only={only}")
    assert [line.split("\t")[3] for line in done.stdout.decode().splitlines()] == paths
    document = json.loads(called(library, *START, f"--only={only}", "--json").stdout)
    shown = [entry["path"] for entry in document["entries"] if entry["type"] == "folder"]
    assert shown == paths
    kept = [entry["path"] for entry in document["entries"] if entry["type"] == "merged"]
    assert kept == {"both": ["Lund"], "near": ["Lund", "Siouxie", "Siouxsie"], "conflicts": ["x"]}.get(only, kept)
    assert bool(document["near"]) == (only == "near")
    assert document["totals"] == json.loads(called(library, *START, "--json").stdout)["totals"]


def test_csv_has_columns_for_each_source_and_no_formula(library: Path) -> None:
    grow(library / "flac", {b"=1+1": folders("f", "a,b"), b"+": folders("f", '"'), b"Lund\n": {b"z": {}}})
    done = called(library, *START, "--format=csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout.decode())))
    found = {row["path"]: row for row in rows}
    assert list(rows[0]) == ["type", "high", "low", "path", "in flac", "in mp3", "files in flac", "files in mp3"]
    assert [*found["Lund/Half"].values()] == ["folder", "flac", "mp3", "Lund/Half", "yes", "yes", "2", "12"]
    assert [*found["Lund/Only"].values()] == ["folder", "flac", "flac", "Lund/Only", "yes", "", "", ""]
    assert {"./=1+1/a,b", './+/"', r"Lund\n/z"} <= set(found)
    assert b"near miss: 5 x suffix ' [MP3]': --ignore ' \\[MP3\\]$'\n" in done.stderr


def test_html_is_a_page(library: Path) -> None:
    done = called(library, *START, "--format=html")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.lower().startswith(b"<!doctype html>")


def test_colours_are_for_terminals_and_can_be_turned_off(library: Path) -> None:
    assert "\x1b[32m--ignore ' \\[MP3\\]$'\x1b[0m" in on_a_terminal(library, *START)
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b" not in on_a_terminal(library, *START, environment=environment)
    assert b"\x1b" not in called(library, *START, "--format=text").stdout


def test_names_with_control_characters_are_escaped_on_a_terminal(library: Path) -> None:
    names: Tree = {b"\x1b[31mred": {}, b"\x9b31m\xff": {}, b"a\rb [MP3]": {}, "\u202eabc".encode(): {}}
    grow(library / "flac", {b"\x1b]0;title\x07": names})
    grow(library / "mp3", {b"\x1b]0;title\x07": {b"a\rb": {}, b"\x1b[31mReed": {}, "\u202eAbc".encode(): {}}})
    text = on_a_terminal(library, *START, environment={"NO_COLOR": "1"})
    assert all(char.isprintable() or char == "\n" for char in text)
    assert r"\x1b[31mred" in text
    assert "near misses: 8" in text


def test_text_longer_than_the_screen_goes_to_the_pager(library: Path) -> None:
    pager = library / "pager"
    pager.write_text(f"#!/bin/sh\ncat >{library}/paged\n")
    pager.chmod(0o755)
    environment = {"PAGER": str(pager), "NO_COLOR": "1"}
    shown = on_a_terminal(library, *START, rows=100, environment=environment)
    assert not (library / "paged").exists()
    assert on_a_terminal(library, *START, rows=20, environment=environment) == ""
    assert (library / "paged").read_text() == shown
    called(library, *START, "--format=text")
    assert on_a_terminal(library, *START, "--format=tsv", rows=5, environment=environment).startswith("folder\t")


@pytest.mark.parametrize("environment", [{"PAGER": "/nonexistent"}, {"PAGER": "true"}, {"PAGER": ""}])
def test_pager_that_is_missing_or_reads_nothing_causes_no_traceback(library: Path, environment: dict[str, str]) -> None:
    assert "Traceback" not in on_a_terminal(library, *START, rows=5, environment={**environment, "LESS": "FX"})


def test_long_lists_are_cut_and_the_rest_is_counted(library: Path) -> None:
    grow(library / "flac", {b"Lund": {b"%02d" % number: {} for number in range(50)}})
    grow(library / "mp3", {b"Lund": {b"%02d" % number: files(1) for number in range(50)}})
    text = called(library, *START, "--summary").stdout.decode()
    assert "\nempty: 51\n" in text
    assert text.count("has no file against 1 in mp3") == 40
    assert "  and 11 more: --only, or --format tsv, has all\n" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--simulate", "--json", "--format=csv"], "--json is --format json, not csv: give one of them"),
        (["--simulate", "--summary", "--format=json"], "--summary is for people: it goes with --format text"),
        (["--simulate", "--summary", "--json"], "--summary is for people: it goes with --format text"),
        (["--simulate", "--only=ogg"], "--only ogg: no such source; one of both, near, conflicts, flac, mp3"),
        (["--simulate", "--only=a\nb"], r"--only a\nb: no such source; one of both, near, conflicts, flac, mp3"),
        (["--simulate", "--format=xml"], "Invalid value for '--format'"),
        (["--format=json", "/nowhere"], "--format goes with --simulate"),
        (["--only=mp3", "/nowhere"], "--only goes with --simulate"),
        (["--summary", "/nowhere"], "--summary goes with --simulate"),
        (["-o", "format=json", "/nowhere"], "format"),
    ],
)
def test_options_that_do_not_go_together_are_refused_in_one_line(library: Path, words: list[str], message: str) -> None:
    done = called(library, "flac", "mp3", *words)
    text = done.stderr.decode()
    assert (done.returncode, done.stdout, text.count("\n")) == (1, b"", 1)
    assert message in text


def test_queries_refuse_the_options_of_a_simulation(library: Path) -> None:
    for words, message in (
        (["--status", str(library), "--format=csv"], b"--format csv goes with --simulate"),
        (["--simulate", "flac", "mp3", "--format=prometheus"], b"--format prometheus goes with --status"),
        (["--explain", str(library), "--format=json"], b"--format goes with --simulate or --status"),
    ):
        done = called(library, *words)
        assert (done.returncode, done.stderr) == (1, b"mmirrorfs: " + message + b"\n")


def test_source_named_like_a_filter_is_refused(library: Path) -> None:
    done = called(library, "--simulate", "near=flac", "mp3", "--only=near")
    assert done.returncode == 1
    assert b"--only near: a source is called so too; call it otherwise (NAME=PATH)" in done.stderr
    assert called(library, "--simulate", "near=flac", "mp3", "--only=mp3").returncode == 0


def test_empty_sources_give_an_empty_plan(tmp_path: Path) -> None:
    for name in ("flac", "mp3"):
        (tmp_path / name).mkdir()
    for words in (["--summary"], ["--format=text"], ["--only=near"], ["--only=flac"], ["--format=csv"], ["--json"]):
        done = called(tmp_path, *START, *words)
        assert done.returncode == 0
        assert b"Traceback" not in done.stderr
    assert called(tmp_path, *START, "--summary").stdout == b"folders: 0 in both, 0 only in flac, 0 only in mp3\n"
