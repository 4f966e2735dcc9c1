"""README.md: it has every option, and what it shows as an example is what the program does."""

import re
import tomllib
from pathlib import Path

import click
import pytest

from mmirrorfs.cli.main import command
from mmirrorfs.cli.manual import page
from tests.support.mounts import COMMAND
from tests.support.running import called
from tests.support.trees import Tree, folders, grow
from tests.support.users import run

README = (Path(__file__).parents[2] / "README.md").read_text()
MANUAL = re.sub(r"\\f[BIR]", "", page(command, "1.2.3")).replace("\\-", "-")
CONTEXT = click.Context(command, help_option_names=command.context_settings["help_option_names"])
OPTIONS = [option for option in command.get_params(CONTEXT) if isinstance(option, click.Option)]
NAMES = sorted(name for option in OPTIONS for name in option.opts)


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_in_the_readme_and_in_the_manual(name: str) -> None:
    word = re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")
    assert word.search(README), name
    assert word.search(MANUAL), name


def test_the_readme_names_no_option_of_ours_that_is_not_there() -> None:
    table = README.partition("## Options")[2].partition("Without `-f`")[0]
    assert set(re.findall(r"--[a-z][a-z_-]+", table)) <= set(NAMES)


@pytest.mark.parametrize("name", ["--depth", "--refresh", "--watch", "--recheck", "--on-missing", "--remember"])
def test_a_default_in_the_readme_is_the_commands_own(name: str) -> None:
    default = next(option.default for option in OPTIONS if name in option.opts)
    shown = f"{default:,}" if isinstance(default, int) else str(default).removesuffix(".0")
    row = next(line for line in README.splitlines() if re.match(rf"\| `(-\w, )?{name}\b", line))
    assert f"default {shown})" in row


def test_the_worked_example_is_what_the_merge_gives(tmp_path: Path) -> None:
    found = re.search(r"`low/` has the folders ([\d ]+) and `high/` has ([\d ]+)\.", README)
    assert found is not None
    for name, has in (("low", found[1]), ("high", found[2])):
        grow(tmp_path / name, folders(name[0], *has.split()))
    lines = called(tmp_path, "--simulate", "high", "low").stdout.decode().splitlines()
    rows = [line.split("\t") for line in lines]
    for view, column in (("low", 2), ("high", 1)):
        told = re.search(rf"the {view} view\s+is\s+((?:[hl]\d ?)+)", README)
        assert told is not None
        assert " ".join(row[column][0] + row[3] for row in rows) == told[1].strip()


def test_the_plan_that_it_shows_is_the_plan(tmp_path: Path) -> None:
    shown = README.partition("$ mmirrorfs --simulate flac/ mp3/ --depth 2\n")[2].partition("\n\nWhat")[0]
    flac: Tree = {b"Mira Lund": folders("f", "Harbour", "Lighthouse"), b"Tin Sparrows": folders("f", "Rooftops")}
    whole: Tree = {b"Harbour": {b"1": b"", b"2": b"", b"3": b""}}
    grow(tmp_path / "flac", flac)
    grow(tmp_path / "mp3", {b"Mira Lund": whole, b"Tin Sparrows": folders("m", "Rooftops [MP3]", "Quay")})
    command = f"cd {tmp_path} && {' '.join(COMMAND)} --simulate flac/ mp3/ --depth 2"
    done = run("script", "-qec", command, "/dev/null", environment={"NO_COLOR": "1"})
    seen = done.stdout.decode().replace("\r", "").splitlines()
    assert [line.rstrip() for line in seen] == [line.removeprefix("    ") for line in shown.splitlines()]


def test_the_configuration_file_that_it_shows_is_one() -> None:
    text = README.partition("A configuration file")[2].partition("\n\n")[2].partition("\n\n## ")[0]
    found = tomllib.loads("\n".join(line.removeprefix("    ") for line in text.splitlines()))
    assert list(found["sources"]) == ["hires", "flac", "mp3"]
    assert [view["mountpoint"] for view in found["view"]] == ["/mnt/best", "/mnt/small"]
    for key in found:
        assert key in ("sources", "view") or f"--{key}" in NAMES
