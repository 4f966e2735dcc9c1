"""The manual page: complete, consistent with the command, and accepted by the formatters of manual pages."""

import re
import tomllib
from pathlib import Path

import click
import pytest

from mmirrorfs.cli import manual_names, manual_text, mountopts
from mmirrorfs.cli.config import read
from mmirrorfs.cli.main import command
from mmirrorfs.cli.manual import EXITS, escaped, option_names, page, wrapped
from tests.support.users import run

PAGE = page(command, "1.2.3", "2025-01-31")
TEXT = re.sub(r"\\f[BIR]", "", PAGE).replace("\\-", "-").replace("\\(aq", "'").replace("\\(rs", "\\")
CONTEXT = click.Context(command, help_option_names=command.context_settings["help_option_names"])
NAMES = {name for option in command.get_params(CONTEXT) if isinstance(option, click.Option) for name in option.opts}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_option_has_its_entry(name: str) -> None:
    assert re.search(rf"^\.TP\n.*\\fB{re.escape(escaped(name))}\\fR", PAGE, re.MULTILINE)


def test_help_of_every_option_is_in_it_verbatim() -> None:
    plain = " ".join(TEXT.replace("\\e", "\\").split())
    for option in command.get_params(CONTEXT):
        record = option.get_help_record(CONTEXT)
        assert record is None or " ".join(record[1].split()) in plain


def test_every_option_that_it_names_exists() -> None:
    text = TEXT.replace("getfattr --only-values", "").replace("systemctl enable --now", "")
    assert set(re.findall(r"--[a-z][a-z_-]+", text)) <= NAMES


def test_every_mount_option_is_in_it() -> None:
    section = TEXT.partition(".SH MOUNT OPTIONS\n")[2].partition(".SH ")[0]
    for word in mountopts.IGNORED | mountopts.FUSE:
        assert re.search(rf"\b{re.escape(word)}\b", section), word


def test_every_exit_code_is_in_it() -> None:
    section = PAGE.partition(".SH EXIT STATUS\n")[2].partition(".SH ")[0]
    assert re.findall(r"\\fB(\d+)\\fR", section) == [str(code) for code, _ in EXITS] == ["0", "1", "2", "8", "32"]


def test_configuration_file_in_it_is_valid_toml() -> None:
    example = manual_text.CONFIG.partition(".nf\n")[2].partition(".fi")[0]
    assert [view["mountpoint"] for view in tomllib.loads(example)["view"]] == ["/mnt/high", "/mnt/low"]


def test_rules_in_it_are_read_as_rules(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(manual_names.NAMES.partition(".nf\n")[2].partition(".fi")[0])
    assert [(rule.is_same, rule.where) for rule in read(str(tmp_path / "x.toml"), {}).rules] == [
        (True, b"The Beatles"),
        (False, None),
    ]


def test_plain_text_is_escaped() -> None:
    assert wrapped(".so /etc/passwd") == ["\\&.so /etc/passwd"]
    assert wrapped("'tis \\fB-x") == ["\\&\\(aqtis \\efB\\-x"]
    assert option_names("-d, --depth N") == "\\fB\\-d\\fR, \\fB\\-\\-depth\\fR \\fIN\\fR"
    assert option_names("-V, --version") == "\\fB\\-V\\fR, \\fB\\-\\-version\\fR"


@pytest.mark.parametrize(
    "words",
    [
        ("man", "--warnings", "--local-file", "--encoding=utf8", "--ditroff"),
        ("groff", "-man", "-ww", "-z"),
        ("mandoc", "-T", "lint", "-W", "warning"),
    ],
    ids=lambda words: words[0],
)
def test_formatters_of_manual_pages_give_no_warning(tmp_path: Path, words: tuple[str, ...]) -> None:
    file = tmp_path / "mmirrorfs.8"
    file.write_text(PAGE)
    shown = run(*words, file, environment={"LC_ALL": "C.UTF-8", "MANWIDTH": "80"})
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert words[0] != "mandoc" or shown.stdout == b""
