"""The suite itself: it asks for no program that nobody installs, and does not mind how it was started."""

import ast
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.programs import ESSENTIAL, installed
from tests.support.users import need

ROOT = Path(__file__).parents[2]
ASKING = {"need", "run", "output_of", "as_nobody", "run_as_nobody", "which", "Popen", "call", "check_call"}
"""Functions whose first argument is a program, or a command that begins with one."""
FILES = sorted((ROOT / "tests").rglob("*.py"))
FOLDERS = {"unit", "mount", "clients", "packaging"}
"""Where tests stand: what marks them, and what ``scripts/test`` can run by itself."""


def programs(path: Path) -> Iterator[str]:
    """The programs that a file asks for by name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if name in ASKING and node.args:
                yield from named(node.args[0])
            if name == "map" and ast.unparse(node.args[0]) == "shutil.which" and isinstance(node.args[1], ast.Tuple):
                yield from (ast.literal_eval(word) for word in node.args[1].elts)
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PROGRAMS":
            yield from ast.literal_eval(node.value)


def named(word: ast.expr) -> Iterator[str]:
    """The program that a literal, or a command that begins with one, names; none for options and paths."""
    if isinstance(word, ast.List | ast.Tuple) and word.elts:
        word = word.elts[0]
    if isinstance(word, ast.Constant) and isinstance(word.value, str) and not set("-/=") & set(word.value[0]):
        yield word.value


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_program_that_tests_ask_for_is_installed_by_the_script_that_runs_them(path: Path) -> None:
    asked = {program for program in programs(path) if "=" not in program and "/" not in program}
    assert asked - ESSENTIAL - installed() == set()


def test_every_test_stands_in_a_folder_that_marks_it() -> None:
    tests = [path.relative_to(ROOT / "tests") for path in FILES if path.name.startswith("test_")]
    assert {path.parts[0] for path in tests} == FOLDERS
    assert {path.parent.name for path in FILES if path.name == "conftest.py"} == FOLDERS | {"tests"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_tests_share_stands_in_support_and_in_no_test(path: Path) -> None:
    modules = [node.module or "" for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    assert [
        name for name in modules if name.partition(".")[0] == "tests" and not name.startswith("tests.support")
    ] == []


def test_lists_of_what_is_installed_are_read() -> None:
    assert {"ffprobe", "rsync", "xorriso", "mkfs.ext4", "ganesha.nfsd", "fusermount3"} <= installed()
    assert len(installed()) > 40


def test_a_program_that_no_script_installs_cannot_be_asked_for() -> None:
    with pytest.raises(AssertionError, match=r"unknown: name it in scripts/lib/bootstrap\.sh"):
        need("un" + "known")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_a_signal_ends_what_a_test_starts(number: signal.Signals) -> None:
    script = f"ulimit -c 0; kill -{int(number)} $$; echo ignored"
    done = subprocess.run(["sh", "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (-number, b"")


def test_so_it_is_when_the_suite_runs_behind_an_ampersand(tmp_path: Path) -> None:
    node = f"{Path(__file__).relative_to(ROOT)}::{test_a_signal_ends_what_a_test_starts.__name__}"
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", node]
    done = subprocess.run(["sh", "-c", '"$@" & wait $!', "sh", *words], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode()
    assert b"2 passed" in done.stdout
