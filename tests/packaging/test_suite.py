"""The test suite: the programs that it runs get installed, its folders mark its tests, and signals work in it."""

import ast
import functools
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
"""Functions whose first argument is a program, or a command that starts with one."""
FILES = sorted((ROOT / "tests").rglob("*.py"))
FOLDERS = {"unit", "mount", "clients", "packaging"}
"""The folders that mark their tests, and that ``scripts/test`` can run alone."""


@functools.cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """All nodes of a file's syntax tree."""
    return tuple(ast.walk(ast.parse(path.read_text())))


def programs(path: Path) -> Iterator[str]:
    """The programs that a file runs by name."""
    for node in nodes(path):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if name in ASKING and node.args:
                yield from named(node.args[0])
            if name == "map" and ast.unparse(node.args[0]) == "shutil.which" and isinstance(node.args[1], ast.Tuple):
                yield from (ast.literal_eval(word) for word in node.args[1].elts)
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PROGRAMS":
            yield from ast.literal_eval(node.value)


def named(word: ast.expr) -> Iterator[str]:
    """The program that a literal, or the first word of a command, names; none for options and paths."""
    if isinstance(word, ast.List | ast.Tuple) and word.elts:
        word = word.elts[0]
    if isinstance(word, ast.Constant) and isinstance(word.value, str) and not set("-/=") & set(word.value[0]):
        yield word.value


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_program_that_tests_run_is_installed_by_bootstrap(path: Path) -> None:
    asked = {program for program in programs(path) if "=" not in program and "/" not in program}
    assert asked - ESSENTIAL - installed() == set()


def test_every_test_is_in_a_folder_that_marks_it() -> None:
    tests = [path.relative_to(ROOT / "tests") for path in FILES if path.name.startswith("test_")]
    assert {path.parts[0] for path in tests} == FOLDERS
    assert {path.parent.name for path in FILES if path.name == "conftest.py"} == FOLDERS | {"tests"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_import_shared_code_from_support_only(path: Path) -> None:
    modules = [node.module or "" for node in nodes(path) if isinstance(node, ast.ImportFrom)]
    assert [
        name for name in modules if name.partition(".")[0] == "tests" and not name.startswith("tests.support")
    ] == []


def test_programs_of_bootstrap_are_parsed() -> None:
    assert {"ffprobe", "rsync", "xorriso", "mkfs.ext4", "ganesha.nfsd", "fusermount3"} <= installed()
    assert len(installed()) > 40


def test_need_raises_for_a_program_that_bootstrap_does_not_install() -> None:
    with pytest.raises(AssertionError, match=r"unknown: name it in scripts/lib/bootstrap\.sh"):
        need("un" + "known")


HELPERS = "fresh", "hanging", "mutator", "parity", "readers", "swapping", "usage", "watchdog", "watcher", "workers"
"""Modules of tests.support that tests start as programs, by the hundred."""


def test_programs_of_support_start_without_what_makes_tests_slow_to_start() -> None:
    script = f"import sys; from tests.support import {', '.join(HELPERS)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"pytest", "hypothesis", "mmirrorfs"} & set(done.stdout.split()) == set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_signals_end_programs_that_tests_start(number: signal.Signals) -> None:
    script = f"ulimit -c 0; kill -{int(number)} $$; echo ignored"
    done = subprocess.run(["sh", "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (-number, b"")


def test_signals_end_programs_also_in_a_background_job(tmp_path: Path) -> None:
    node = f"{Path(__file__).relative_to(ROOT)}::{test_signals_end_programs_that_tests_start.__name__}"
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", node]
    done = subprocess.run(["sh", "-c", '"$@" & wait $!', "sh", *words], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode()
    assert b"2 passed" in done.stdout
