"""Shell completion, requested from the real command as the shells do."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.users import need, output_of, run

ASK = (sys.executable, "-m", "mmirrorfs")


def completions(*words: str) -> list[str]:
    """What the command offers bash for the last word, as TYPE,VALUE."""
    line = {"COMP_WORDS": " ".join(["mmirrorfs", *words[:-1], words[-1] or "''"]), "COMP_CWORD": str(len(words))}
    asked = run(*ASK, environment={"_MMIRRORFS_COMPLETE": "bash_complete", **line})
    assert (asked.returncode, asked.stderr) == (0, b"")
    return asked.stdout.decode().splitlines()


def test_options_are_completed() -> None:
    assert completions("--over") == ["plain,--overwritesymlinks"]
    assert completions("--none") == ["plain,--nonempty"]
    assert "plain,--depth" in completions("--")


def test_values_of_options_are_completed() -> None:
    assert completions("--on-missing", "") == ["plain,keep", "plain,fallback"]
    assert completions("--prefer", "h") == ["plain,high"]


@pytest.mark.parametrize("words", [("fl",), ("flac", "mp3", "/mn"), ("--output-high", "x"), ("--output_low", "")])
def test_sources_and_mountpoints_are_completed_as_directories(words: tuple[str, ...]) -> None:
    assert completions(*words) == [f"dir,{words[-1]}"]


def test_the_configuration_file_is_completed_as_a_file() -> None:
    assert completions("--config", "mm") == ["file,mm"]


def test_completing_a_whole_command_line_does_not_run_it(tmp_path: Path) -> None:
    assert completions("--version", "--install-helper", str(tmp_path), "--js") == ["plain,--json"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_of_each_shell_parses(tmp_path: Path, shell: str) -> None:
    made = run(*ASK, environment={"_MMIRRORFS_COMPLETE": f"{shell}_source"})
    assert made.returncode == 0
    assert b"_MMIRRORFS_COMPLETE=" + shell.encode() + b"_complete" in made.stdout
    script = tmp_path / "script"
    script.write_bytes(made.stdout)
    output_of(shell, "-n", script)


def test_bash_completes_with_its_script(tmp_path: Path) -> None:
    need("bash")
    (tmp_path / "mmirrorfs").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mmirrorfs "$@"\n')
    (tmp_path / "mmirrorfs").chmod(0o755)
    script = (
        'PATH=$1:$PATH; eval "$(_MMIRRORFS_COMPLETE=bash_source mmirrorfs)"; complete -p mmirrorfs;'
        "COMP_WORDS=(mmirrorfs flac mp3 --on-missing k) COMP_CWORD=4; _mmirrorfs_completion mmirrorfs;"
        'echo "${COMPREPLY[@]}"'
    )
    said = output_of("bash", "-c", script, "bash", tmp_path).decode().splitlines()
    assert said == ["complete -o nosort -F _mmirrorfs_completion mmirrorfs", "keep"]


def test_an_unknown_shell_is_refused() -> None:
    asked = subprocess.run(ASK, env={"_MMIRRORFS_COMPLETE": "other_complete"}, capture_output=True, check=False)
    assert asked.returncode == 1
