"""The command's output without arguments, its short and its whole help, and docs/options.md."""

import functools
import os
import re
import sys
from pathlib import Path

import click
import pytest

import mmirrorfs
from mmirrorfs.cli.main import command
from mmirrorfs.cli.manual_options import page
from tests.support.trees import folders, grow
from tests.support.users import output_of, run

ASK = (sys.executable, "-m", "mmirrorfs")
OPTIONS_PAGE = Path(mmirrorfs.__file__).parents[1] / "docs" / "options.md"
CONTEXT = click.Context(command, help_option_names=command.context_settings["help_option_names"])
OPTIONS = [option for option in command.get_params(CONTEXT) if isinstance(option, click.Option)]
NARROW = {"COLUMNS": "80"}


@functools.cache
def said(word: str) -> str:
    """The command's output for an option, on a terminal of 80 columns."""
    asked = run(*ASK, word, environment=NARROW)
    assert (asked.returncode, asked.stderr) == (0, b"")
    return asked.stdout.decode()


def test_without_arguments_it_prints_six_lines_and_fails() -> None:
    asked = run(*ASK)
    lines = asked.stderr.decode().splitlines()
    assert (asked.returncode, asked.stdout, len(lines)) == (1, b"", 6)
    assert max(map(len, lines)) <= 80


def test_the_first_command_that_it_suggests_works(tmp_path: Path) -> None:
    line = next(line for line in run(*ASK).stderr.decode().splitlines() if line.startswith("    "))
    program, *words = line.split()
    assert program == "mmirrorfs"
    for source in ("flac", "mp3"):
        grow(tmp_path / source, {b"Artist": folders(source, "Album")})
    path = os.pathsep.join(filter(None, (str(OPTIONS_PAGE.parents[1]), os.environ.get("PYTHONPATH"))))
    shown = output_of("env", "-C", tmp_path, f"PYTHONPATH={path}", *ASK, *words)
    assert shown == b"folder\tflac\tmp3\tArtist/Album\n"


def test_help_fits_two_screens() -> None:
    lines = said("--help").splitlines()
    assert len(lines) <= 48
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: max(option.opts, key=len))
def test_every_option_is_in_the_short_help_and_described_in_the_whole_help(option: click.Option) -> None:
    name = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, option.opts))})(?![\w-])")
    assert name.search(said("--help"))
    record = option.get_help_record(CONTEXT)
    assert record is not None
    assert "".join(record[1].split()) in "".join(said("--help-all").split())


def test_the_page_of_options_is_up_to_date() -> None:
    assert OPTIONS_PAGE.read_text() == page(command), "run ./scripts/man --options"
