"""``--config FILE``: what stands in a TOML file becomes the command's options, and mistakes are named."""

import os
from pathlib import Path
from typing import Any

import pytest

from mmirrorfs.cli import main
from mmirrorfs.cli.config import read
from mmirrorfs.cli.problem import FAILED, USAGE, Problem
from mmirrorfs.cli.settings import Settings
from tests.support.running import called
from tests.support.trees import folders, grow

KNOWN = ("depth", "match", "exclude", "ignore", "output-high", "refresh", "on-missing")

FILE = """
depth = 2
match = "nfc"
exclude = ["@eaDir", ".DS_Store"]

[sources]
hires = "hires"
flac = "/music/flac"
mp3 = "../mp3"

[[view]]
mountpoint = "best"

[[view]]
mountpoint = "/mnt/small"
prefer = "low"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file to be written by the test."""
    return tmp_path / "views.toml"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings of each command that would have mounted; nothing is looked at or mounted."""
    found: list[Settings] = []

    def mount(wanted: Settings, made: list[bytes]) -> int:
        found.append(wanted)
        return 0

    monkeypatch.setattr(main, "_mount", mount)
    monkeypatch.setattr(main, "check", lambda wanted: [])
    monkeypatch.setattr(main, "without_live_views", lambda wanted: wanted)
    return found


def _views(settings: Settings) -> list[tuple[bytes, str]]:
    return [(view.mountpoint, view.prefer) for view in settings.views]


def test_options_sources_and_views_are_read_and_paths_are_relative_to_the_file(file: Path) -> None:
    file.write_text(FILE)
    config = read(str(file), KNOWN)
    assert config.options == {"depth": 2, "match": "nfc", "exclude": ["@eaDir", ".DS_Store"]}
    here = str(file.parent)
    assert config.sources == (("hires", f"{here}/hires"), ("flac", "/music/flac"), ("mp3", f"{here}/../mp3"))
    assert config.views == ((f"{here}/best", "high"), ("/mnt/small", "low"))


def test_outputs_in_a_file_are_relative_to_it_too(file: Path) -> None:
    file.write_text('output_high = "high"')
    assert read(str(file), KNOWN).options == {"output_high": f"{file.parent}/high"}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("detph = 2", "unknown key detph; did you mean depth?"),
        ("on_missin = 'keep'", "unknown key on-missin; did you mean on-missing?"),
        ("zzz = 1", "unknown key zzz"),
        ('"\\u001b[31m" = 1', "unknown key \\x1b[31m"),
        ("[[view]]\nmountpiont = '/mnt'", "unknown key mountpiont; did you mean mountpoint?"),
        ("[[view]]\nprefer = 'high'", "each [[view]] must hold a line like"),
        ("view = 3", "each [[view]] must hold a line like"),
        ("[sources]\nflac = 1", "[sources] must hold lines like"),
        ("sources = ['flac']", "[sources] must hold lines like"),
        ("depth = }", "line 1"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(file: Path, text: str, names: str) -> None:
    file.write_text(text)
    with pytest.raises(Problem) as caught:
        read(str(file), KNOWN)
    assert str(caught.value).startswith(f"--config {file}: ")
    assert names in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert caught.value.code == USAGE


def test_a_file_that_is_missing_or_no_text_is_named(file: Path) -> None:
    with pytest.raises(Problem, match="No such file") as caught:
        read(str(file), KNOWN)
    assert caught.value.code == FAILED
    file.write_bytes(b"\xff")
    with pytest.raises(Problem, match=r"views\.toml"):
        read(str(file), KNOWN)


def test_all_of_it_comes_from_the_file_and_the_command_line_wins(file: Path, asked: list[Settings]) -> None:
    file.write_text(FILE)
    assert main.run(["--config", str(file)]) == 0
    assert main.run(["--config", str(file), "--depth=3", "--exclude=x"]) == 0
    assert main.run(["-o", f"config={file},depth=4"]) == 0
    assert main.run(["-o", f"config={file},depth=4", "--depth=5"]) == 0
    assert [settings.depth for settings in asked] == [2, 3, 4, 5]
    assert [settings.excludes for settings in asked[:2]] == [("@eaDir", ".DS_Store"), ("x",)]
    assert {settings.match for settings in asked} == {"nfc"}
    best = os.fsencode(file.parent / "best")
    assert all(_views(settings) == [(best, "high"), (b"/mnt/small", "low")] for settings in asked)
    assert [source.name for source in asked[0].sources] == ["hires", "flac", "mp3"]


def test_a_mountpoint_on_the_command_line_names_one_view(file: Path, asked: list[Settings]) -> None:
    file.write_text(FILE)
    assert main.run(["--config", str(file), "/mnt/small"]) == 0
    assert main.run(["--config", str(file), "/mnt/other", "--prefer=mp3"]) == 0
    assert main.run(["--config", str(file), "label", "/mnt/small"]) == 0
    assert main.run(["--config", str(file), "a", "b", "/mnt/own", "--prefer=b"]) == 0
    assert [_views(settings) for settings in asked] == [
        [(b"/mnt/small", "low")], [(b"/mnt/other", "mp3")], [(b"/mnt/small", "low")], [(b"/mnt/own", "b")],
    ]  # fmt: skip
    assert [source.path for source in asked[3].sources] == [b"a", b"b"]


def test_one_pattern_may_stand_without_a_list(file: Path, asked: list[Settings]) -> None:
    file.write_text('exclude = "@eaDir"\nignore = " x$"')
    assert main.run(["--config", str(file), "a", "b", "c"]) == 0
    assert (asked[0].excludes, asked[0].ignores) == (("@eaDir",), (" x$",))


def test_sources_may_be_named_on_the_command_line_and_preferred_by_name(asked: list[Settings]) -> None:
    assert main.run(["hires=/a/music", "/b/music", "/c/music", "/mnt/v", "--prefer=music-2"]) == 0
    assert [(s.name, s.path) for s in asked[0].sources] == [
        ("hires", b"/a/music"), ("music", b"/b/music"), ("music-2", b"/c/music"),
    ]  # fmt: skip
    with pytest.raises(Problem, match="--prefer nobody: no such source; one of high, low, hires, music, music-2"):
        main.run(["hires=/a/music", "/b/music", "/c/music", "/mnt/v", "--prefer=nobody"])


@pytest.mark.parametrize(
    ("text", "words", "names"),
    [
        ("[sources]\na = 'a'\n[[view]]\nmountpoint = 'm'", (), "at least two sources"),
        ("[sources]\na = 'a'\nb = 'b'", (), "a mountpoint is needed"),
        (FILE, ("--prefer=low",), "each [[view]] says itself who wins"),
        (FILE + "[[view]]\nmountpoint = 'best/'", (), "same mountpoint"),
        (FILE + "[[view]]\nmountpoint = 'x'\nprefer = 'ogg'", (), "--prefer ogg: no such source"),
        ("on_missing = 'bad'", ("a", "b", "c"), "'bad' is not one of"),
        ("config = 'x'", ("a", "b", "c"), "unknown key config"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    file: Path, text: str, words: tuple[str, ...], names: str, asked: list[Settings]
) -> None:
    file.write_text(text)
    with pytest.raises(Exception) as caught:  # noqa: PT011  # ours or click's
        main.run(["--config", str(file), *words])
    error: Any = caught.value
    assert names in (str(error) or error.format_message())
    assert asked == []


def test_a_file_is_enough_for_a_simulation(tmp_path: Path) -> None:
    grow(tmp_path / "in", {b"hires": folders("h", "1"), b"flac": folders("f", "1", "2"), b"mp3": folders("m", "3")})
    (tmp_path / "in/c.toml").write_text('[sources]\nhires = "hires"\nflac = "flac"\nmp3 = "mp3"\n')
    done = called(tmp_path, "--config=in/c.toml", "--simulate")
    assert done.stdout == b"folder\thires\tflac\t1\nfolder\tflac\tflac\t2\nfolder\tmp3\tmp3\t3\n"
    assert done.stderr.endswith(b"folders: 1 in several sources, 0 only in hires, 1 only in flac, 1 only in mp3\n")
