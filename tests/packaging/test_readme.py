"""The documents: links have targets, options exist, and blocks are valid in their language."""

import configparser
import json
import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from mmirrorfs.cli import mountopts
from mmirrorfs.cli.config import read
from mmirrorfs.cli.main import command
from mmirrorfs.cli.options import kind_of
from mmirrorfs.cli.settings import Settings, settings
from scripts.lib.manual import manual_page
from tests.support.documents import LANGUAGES, PAGES, ROOT, Block, blocks, prose
from tests.support.running import called
from tests.support.trees import folders, grow
from tests.support.users import need, run

README = ROOT / "README.md"
MANUAL = re.sub(r"\\f[BIR]", "", manual_page(command, "1.2.3")).replace("\\-", "-")
CONTEXT = click.Context(command, help_option_names=command.context_settings["help_option_names"])
OPTIONS = [option for option in command.get_params(CONTEXT) if isinstance(option, click.Option)]
NAMES = {name for option in OPTIONS for name in option.opts}
BLOCKS = [pytest.param(one, id=f"{page.name}:{one.line}") for page in PAGES for one in blocks(page)]


def of(*languages: str) -> list[object]:
    """The blocks in these languages."""
    return [each for each in BLOCKS if isinstance(one := each.values[0], Block) and one.language in languages]


every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_option_is_in_the_manual(name: str) -> None:
    assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", MANUAL)


@every_page
def test_every_block_has_a_known_language(page: Path) -> None:
    assert {one.language for one in blocks(page)} <= LANGUAGES
    assert page.read_text().count("\n```") == 2 * len(blocks(page)), "a fence that is not understood"
    indented = [line for line in prose(page).splitlines() if re.match(r"    (?! *([-*]|\d+\.) )", line)]
    assert not indented, "a block that no test looks at: fence it"


@every_page
def test_every_relative_link_has_a_target(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)|srcset=\"([^\"]+)\"|src=\"([^\"]+)\"", prose(page)):
        path, _, anchor = "".join(target).partition("#")
        if path.startswith(("http:", "https:")):
            continue
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {path}"
        assert not anchor or anchor in anchors(file), f"{page.name}: {path}#{anchor}"


def anchors(page: Path) -> set[str]:
    """GitHub's anchors of the headings of a page."""
    heads = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@every_page
def test_every_file_of_ours_that_is_named_exists(page: Path) -> None:
    package, text = ROOT / "mmirrorfs", page.read_text()
    for name in re.findall(r"`((?:mmirrorfs/|tests/support/|[a-z]+/)?\w+\.py|(?:scripts|packaging)/[\w.@-]+)`", text):
        assert any((top / name).exists() for top in (ROOT, package, ROOT / "tests" / "support")), name


@every_page
def test_every_page_is_linked_from_the_readme(page: Path) -> None:
    assert page == README or re.search(rf"\]\({re.escape(str(page.relative_to(ROOT)))}\)", README.read_text())


def test_the_readme_is_short() -> None:
    before, _, rest = README.read_text().partition("<!-- scripts/bench --docs writes from here -->\n")
    figures, _, after = rest.partition("<!-- to here -->\n")
    assert figures.count("\n") <= 20
    assert len((before + after).splitlines()) <= 125


@every_page
def test_every_option_of_ours_that_is_named_exists(page: Path) -> None:
    """In commands that run mmirrorfs, and in inline code without another program's name."""
    commands = [
        line for one in blocks(page) if one.language in ("console", "sh", "ini") for line in one.text.splitlines()
    ]
    ours = [line for line in commands if re.match(r"(\$ |ExecStart=\S*/)?(sudo )?(NO_COLOR=1 )?mmirrorfs ", line)]
    text = "\n".join(re.split(r" [|>&;] ", line)[0] for line in ours)
    spans = [span for span in re.findall(r"`(?:mmirrorfs )?(--[^`]*)`", prose(page)) if not span.startswith(_ALIEN)]
    text += "\n" + "\n".join(spans)
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z_-]+", text)) <= NAMES, page.name


_ALIEN = (
    "--build-arg",
    "--make-shared",
    "--device",
    "--cap-add",
    "--dir-cache-time",
    "--low-level-retries",
    "--docs",
    "--peers",
    "--cold",
    "--scale",
)
"""Options of other programs, and of the bench, that prose names alone."""


@pytest.mark.parametrize("name", ["--depth", "--prefer", "--refresh"])
def test_defaults_in_the_readme_are_those_of_the_command(name: str) -> None:
    option = next(option for option in OPTIONS if name in option.opts)
    default = option.show_default if isinstance(option.show_default, str) else f"{option.default:g}"
    row = next(line for line in README.read_text().splitlines() if line.startswith(f"| `{name}"))
    assert f"(default {default})" in row


def test_the_worked_example_agrees_with_simulate(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "behaviour.md").read_text()
    found = re.search(r"`low/` has the folders ([\d ]+) and `high/` has ([\d ]+)\.", text)
    assert found is not None
    for name, has in (("low", found[1]), ("high", found[2])):
        grow(tmp_path / name, folders(name[0], *has.split()))
    lines = called(tmp_path, "--simulate", "high", "low").stdout.decode().splitlines()
    rows = [line.split("\t") for line in lines]
    for view, column in (("low", 2), ("high", 1)):
        told = re.search(rf"the {view} view\s+is\s+((?:[hl]\d ?)+)", text)
        assert told is not None
        assert " ".join(row[column][0] + row[3] for row in rows) == told[1].strip()


@pytest.mark.parametrize("block", of("toml"))
def test_toml_blocks_are_valid_configuration_files(block: Block, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(block.text)
    kinds = {name.lstrip("-"): kind_of(option) for option in OPTIONS for name in option.opts if name.startswith("--")}
    config = read(str(tmp_path / "x.toml"), kinds)
    found = tomllib.loads(block.text)
    assert len(config.views) == len(found.get("view", []))
    assert len(config.rules) == len(found.get("same", [])) + len(found.get("apart", []))
    assert [name for name, _ in config.sources] == list(found.get("sources", {}))


@pytest.mark.parametrize("block", of("fstab"))
def test_fstab_blocks_are_accepted_by_the_mount_helper(block: Block) -> None:
    for line in block.text.splitlines():
        if not line or line.startswith("#"):
            continue
        source, where, kind, options, *rest = line.split()
        assert (kind, rest) == ("fuse.mmirrorfs", ["0", "0"])
        words = mountopts.helper_arguments(
            [source.replace("\\040", " "), where.replace("\\040", " "), "-o", f"rw,{options}"]
        )
        assert words is not None
        given = parsed_settings(words)
        assert given.views[0].mountpoint == where.replace("\\040", " ").encode()


def parsed_settings(words: list[str]) -> Settings:
    """The command's settings for these arguments. Raises Problem, or click's exceptions, where they are wrong."""
    options = [option for option in OPTIONS if option.name != "help"]
    known = {name.lstrip("-").replace("_", "-"): one for one in options for name in one.opts if name.startswith("--")}
    flags = frozenset(name for name, option in known.items() if option.is_flag or option.count)
    with command.make_context("mmirrorfs", list(words)) as context:
        given, fuse = mountopts.parse(context.params["options"], frozenset(known), flags)
    with command.make_context("mmirrorfs", [*given, *words]) as context:
        return settings(context.params, fuse, None)


@pytest.mark.parametrize("block", of("ini"))
def test_ini_blocks_are_valid_units(block: Block, tmp_path: Path) -> None:
    unit = tmp_path / "mmirrorfs-high.service"
    unit.write_text(re.sub(r"/usr/bin/(mmirrorfs|fusermount3)", "/bin/true", block.text))
    verified = run("systemd-analyze", "verify", "--man=no", unit)
    assert verified.returncode == 0, verified.stderr
    assert [line for line in verified.stderr.splitlines() if b"mmirrorfs" in line] == []
    parsed = configparser.RawConfigParser(strict=False)
    parsed.optionxform = str  # type: ignore[assignment, method-assign]  # names of systemd's settings have capitals
    parsed.read_string(block.text)
    program, *words = shlex.split(parsed["Service"]["ExecStart"])
    assert program == "/usr/bin/mmirrorfs"
    parsed_settings(words)
    assert parsed["Unit"]["StartLimitIntervalSec"] == "0", "it would give up when a source comes late"
    assert (parsed["Service"]["Restart"], parsed["Service"]["RestartSec"]) == ("on-failure", "5")


@pytest.mark.parametrize("block", of("json"))
def test_json_blocks_are_valid_json(block: Block) -> None:
    for line in block.text.splitlines():
        json.loads(line)


@pytest.mark.parametrize("block", of("sh", "console"))
def test_commands_are_valid_shell(block: Block) -> None:
    checked = run(need("bash"), "-n", "-c", block.commands())
    assert (checked.returncode, checked.stderr) == (0, b"")


@pytest.mark.parametrize("block", of("sh"))
def test_options_of_the_bench_exist(block: Block) -> None:
    parser = (ROOT / "scripts" / "benchmark" / "options.py").read_text()
    for line in re.findall(r"\./scripts/bench(.*)", block.text):
        for name in re.findall(r"--[a-z]+", line.partition("#")[0]):
            assert f'"{name}"' in parser, name


@pytest.mark.parametrize("block", of("sh"))
def test_scripts_that_are_named_are_executable(block: Block) -> None:
    for script in re.findall(r"(?<![\w/])\./(scripts/[\w-]+)", block.text):
        assert (ROOT / script).stat().st_mode & 0o111, script
