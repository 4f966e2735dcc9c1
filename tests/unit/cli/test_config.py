"""``--config FILE`` and the arguments: how they become settings, which overrides which, and errors."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mmirrorfs.cli import main
from mmirrorfs.cli.config import Kind, read
from mmirrorfs.cli.errors import FAILED, USAGE, Problem
from mmirrorfs.cli.settings import Settings
from mmirrorfs.cli.view_options import identity
from mmirrorfs.merge.settled import Rule
from mmirrorfs.text import printable
from tests.support.running import called
from tests.support.trees import folders, grow

KNOWN = {
    "depth": Kind.WHOLE, "match": Kind.TEXT, "exclude": Kind.TEXTS, "ignore": Kind.TEXTS, "output-high": Kind.TEXT,
    "refresh": Kind.NUMBER, "on-missing": Kind.TEXT, "followsymlinks": Kind.FLAG,
}  # fmt: skip

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
    """The path of a file that the test writes."""
    return tmp_path / "views.toml"


@pytest.fixture
def mounts(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings of each command that would have mounted; nothing is checked or mounted."""
    found: list[Settings] = []

    def mount(wanted: Settings, made: list[bytes]) -> int:
        found.append(wanted)
        return 0

    monkeypatch.setattr(main, "_mount", mount)
    monkeypatch.setattr(main, "check", lambda wanted: [])
    monkeypatch.setattr(main, "without_mounted_views", lambda wanted: wanted)
    return found


def _views(settings: Settings) -> list[tuple[bytes, str]]:
    return [(view.mountpoint, view.prefer) for view in settings.views]


def test_file_has_options_sources_and_views_with_paths_relative_to_it(file: Path) -> None:
    file.write_text(FILE)
    config = read(str(file), KNOWN)
    assert config.options == {"depth": 2, "match": "nfc", "exclude": ["@eaDir", ".DS_Store"]}
    here = str(file.parent)
    assert config.sources == (("hires", f"{here}/hires"), ("flac", "/music/flac"), ("mp3", f"{here}/../mp3"))
    assert config.views == ((f"{here}/best", "high"), ("/mnt/small", "low"))


@pytest.mark.parametrize("spelled", ["follow-symlinks", "follow_symlinks", "followsymlinks"])
def test_option_may_have_any_of_its_names_but_only_one_of_them(
    file: Path, mounts: list[Settings], spelled: str
) -> None:
    file.write_text(f"{spelled} = true\n" + FILE)
    assert main.run(["--config", str(file)]) == 0
    assert main.run(["--config", str(file), "--nonempty"]) == 0
    assert main.run(["-o", f"config={file},overwritesymlinks"]) == 0
    assert [(settings.follow, settings.cover) for settings in mounts] == [(True, False), (True, True), (True, True)]
    file.write_text("nonempty = true\noverwritesymlinks = false\n" + FILE)
    with pytest.raises(Problem, match="nonempty and overwritesymlinks are the same option: give one of them"):
        main.run(["--config", str(file)])


def test_file_has_rules(file: Path) -> None:
    file.write_text(
        """
[[same]]
names = ["Beatles, The", "Björk"]
[[apart]]
names = ["a", "b", "c"]
in = "/Genre/Artist/"
[[same]]
names = ["x", "y"]
in = "/"
"""
    )
    assert read(str(file), KNOWN).rules == (
        Rule("[[same]] 1", True, (b"Beatles, The", "Björk".encode())),
        Rule("[[same]] 2", True, (b"x", b"y"), b""),
        Rule("[[apart]] 1", False, (b"a", b"b", b"c"), b"Genre/Artist"),
    )


def test_contradicting_rules_are_refused_and_other_rules_give_another_identity(
    file: Path, mounts: list[Settings]
) -> None:
    file.write_text(FILE + '[[same]]\nnames = ["a", "A"]\n')
    assert main.run(["--config", str(file)]) == 0
    file.write_text(FILE + '[[same]]\nnames = ["a", "A"]\n[[apart]]\nnames = ["A", "a"]\n')
    with pytest.raises(Problem) as caught:
        main.run(["--config", str(file)])
    assert str(caught.value) == f"--config {file}: [[apart]] 1: A and a are the same by a [[same]]"
    assert caught.value.code == USAGE
    file.write_text(FILE + '[[apart]]\nnames = ["a", "A"]\n')
    assert main.run(["--config", str(file)]) == 0
    assert len({identity(settings, settings.views[0]) for settings in mounts}) == 2


def test_output_high_in_the_file_is_relative_to_it(file: Path) -> None:
    file.write_text('output_high = "high"')
    assert read(str(file), KNOWN).options == {"output-high": f"{file.parent}/high"}


@pytest.mark.parametrize(
    ("text", "message"),
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
        ("depth = true", "depth must be a whole number, not true"),
        ("depth = 2.5", "depth must be a whole number, not 2.5"),
        ("depth = '2'", "depth must be a whole number, not '2'"),
        ("depth = 2026-11-24", "depth must be a whole number, not a date or time"),
        ("depth = 99999999999999999999", "depth must be a whole number, not one beyond 64 bits"),
        ("depth = 0x" + "f" * 5000, "depth must be a whole number, not one beyond 64 bits"),
        ("depth = " + "9" * 5000, "Exceeds the limit"),
        ("refresh = false", "refresh must be a number, not false"),
        ("refresh = '5'", "refresh must be a number, not '5'"),
        ("exclude = [1]", "exclude must be a text in quotes, or a list of such texts, not 1"),
        ("exclude = [['a']]", "exclude must be a text in quotes, or a list of such texts, not a list"),
        ("exclude = {a = 1}", "exclude must be a text in quotes, or a list of such texts, not a table"),
        ("match = ['nfc']", "match must be a text in quotes, not a list"),
        ('match = "a\\u0000"', "match must be a text in quotes, not 'a\\\\x00'"),
        ("followsymlinks = 'yes'", "followsymlinks must be true or false, not 'yes'"),
        ("followsymlinks = 1", "followsymlinks must be true or false, not 1"),
        ('output_high = ""', "output-high must be a path, not ''"),
        ('output_high = "a\\u0000"', "output-high must be a text in quotes, not 'a\\\\x00'"),
        ("[[view]]\nmountpoint = ''", "each [[view]] must hold a line like"),
        ("[[view]]\nmountpoint = '/m'\nprefer = 1", "prefer must be a text in quotes, not 1"),
        ("[sources]\na = ''", "[sources] must hold lines like"),
        ('[sources]\na = "a\\u0000"', "[sources] must hold lines like"),
        ("[sources]\n'' = 'a'", "[sources]: an empty name is no name"),
        ('[sources]\n"a\\n" = "a"', "[sources]: a\\n is no name"),
        ("x = " + "[" * 5000, "nested too deeply"),
        ("on-missing = 'keep'\non_missing = 'fallback'", "on-missing is given twice"),
        ("same = 1", "each [[same]] must hold a line like names ="),
        ("[same]\nnames = ['a', 'b']", "each [[same]] must hold a line like names ="),
        ("[[same]]", "[[same]] 1 must hold a line like names ="),
        ("[[same]]\nnames = ['a', 'b']\n[[same]]\nnames = 'a'", "[[same]] 2 must hold a line like names ="),
        ("[[apart]]\nnames = ['a', 1]", "[[apart]] 1 must hold a line like names ="),
        ("[[apart]]\nnames = ['a', '']", "[[apart]] 1 must hold a line like names ="),
        ('[[apart]]\nnames = ["a", "b\\u0000"]', "[[apart]] 1 must hold a line like names ="),
        ("[[same]]\nnames = []", "[[same]] 1: there must be two names at least"),
        ("[[same]]\nnames = ['a']", "[[same]] 1: there must be two names at least"),
        ("[[same]]\nnames = ['a', 'b', 'a']", "[[same]] 1: a is in it twice"),
        ("[[same]]\nnames = ['a', 'A/b']", "[[same]] 1: A/b is no name"),
        ("[[same]]\nnames = ['a', '..']", "[[same]] 1: .. is no name"),
        ('[[same]]\nnames = ["a", "\\u001b/"]', "[[same]] 1: \\x1b/ is no name"),
        ("[[same]]\nname = ['a', 'b']", "[[same]] 1: unknown key name; did you mean names?"),
        ("[[same]]\nnames = ['a', 'b']\nin = 1", "[[same]] 1: in must be a directory of the view"),
        ("[[same]]\nnames = ['a', 'b']\nin = ''", "[[same]] 1: in must be a directory of the view"),
        ("[[same]]\nnames = ['a', 'b']\nin = '../x'", "[[same]] 1: in must be a directory of the view"),
        ("[[same]]\nnames = ['a', 'b']\nin = 'x//y'", "[[same]] 1: in must be a directory of the view"),
        ("[[saem]]\nnames = ['a', 'b']", "unknown key saem; did you mean same?"),
    ],
)
def test_error_in_a_file_names_file_and_key(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(Problem) as caught:
        read(str(file), KNOWN)
    assert str(caught.value).startswith(f"--config {file}: ")
    assert message in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert caught.value.code == USAGE


def test_missing_or_binary_file_is_an_error_that_names_it(file: Path) -> None:
    with pytest.raises(Problem, match="No such file") as caught:
        read(str(file), KNOWN)
    assert caught.value.code == FAILED
    file.write_bytes(b"\xff")
    with pytest.raises(Problem, match=r"views\.toml"):
        read(str(file), KNOWN)


def test_command_line_overrides_o_and_o_overrides_the_file(file: Path, mounts: list[Settings]) -> None:
    file.write_text(FILE)
    assert main.run(["--config", str(file)]) == 0
    assert main.run(["--config", str(file), "--depth=3", "--exclude=x"]) == 0
    assert main.run(["-o", f"config={file},depth=4"]) == 0
    assert main.run(["-o", f"config={file},depth=4", "--depth=5"]) == 0
    assert [settings.depth for settings in mounts] == [2, 3, 4, 5]
    assert [settings.excludes for settings in mounts[:2]] == [("@eaDir", ".DS_Store"), ("x",)]
    assert {settings.match for settings in mounts} == {"nfc"}
    best = os.fsencode(file.parent / "best")
    assert all(_views(settings) == [(best, "high"), (b"/mnt/small", "low")] for settings in mounts)
    assert [source.name for source in mounts[0].sources] == ["hires", "flac", "mp3"]


def test_mountpoint_argument_selects_or_replaces_the_views_of_the_file(file: Path, mounts: list[Settings]) -> None:
    file.write_text(FILE)
    assert main.run(["--config", str(file), "/mnt/small"]) == 0
    assert main.run(["--config", str(file), "/mnt/other", "--prefer=mp3"]) == 0
    assert main.run(["--config", str(file), "label", "/mnt/small"]) == 0
    assert main.run(["--config", str(file), "a", "b", "/mnt/own", "--prefer=b"]) == 0
    assert [_views(settings) for settings in mounts] == [
        [(b"/mnt/small", "low")], [(b"/mnt/other", "mp3")], [(b"/mnt/small", "low")], [(b"/mnt/own", "b")],
    ]  # fmt: skip
    assert [source.path for source in mounts[3].sources] == [b"a", b"b"]


def test_prefer_on_the_command_line_overrides_the_outputs_of_the_file(file: Path, mounts: list[Settings]) -> None:
    file.write_text(FILE.partition("[[view]]")[0].partition("[sources]")[0] + "output-high = 'h'\noutput_low = 'l'\n")
    assert main.run(["--config", str(file), "a", "b", "/mnt/v", "--prefer=low"]) == 0
    assert main.run(["--config", str(file), "a", str(file.parent)]) == 0
    assert _views(mounts[0]) == [(b"/mnt/v", "low")]
    assert [prefer for _, prefer in _views(mounts[1])] == ["high", "low"]
    with pytest.raises(Problem, match="--prefer goes with a MOUNTPOINT"):
        main.run(["--config", str(file), "a", "b", "--prefer=low", "--output-high=x"])


def test_single_pattern_needs_no_list(file: Path, mounts: list[Settings]) -> None:
    file.write_text('exclude = "@eaDir"\nignore = " x$"')
    assert main.run(["--config", str(file), "a", "b", "c"]) == 0
    assert (mounts[0].excludes, mounts[0].ignores) == (("@eaDir",), (" x$",))


def test_watch_and_recheck_of_the_file_are_overridden_by_the_command_line(file: Path, mounts: list[Settings]) -> None:
    file.write_text('watch = "off"\nrecheck = 5')
    assert main.run(["--depth=1", "a", "b", "c"]) == 0
    assert main.run(["--config", str(file), "a", "b", "c"]) == 0
    assert main.run(["--config", str(file), "--watch=auto", "-o", "recheck=0.5", "a", "b", "c"]) == 0
    assert [(settings.watch, settings.recheck) for settings in mounts] == [(True, 3600), (False, 5), (True, 0.5)]


def test_sources_can_be_named_and_preferred_by_name(mounts: list[Settings]) -> None:
    assert main.run(["hires=/a/music", "/b/music", "/c/music", "/mnt/v", "--prefer=music-2"]) == 0
    assert [(s.name, s.path) for s in mounts[0].sources] == [
        ("hires", b"/a/music"), ("music", b"/b/music"), ("music-2", b"/c/music"),
    ]  # fmt: skip
    with pytest.raises(Problem, match="--prefer nobody: no such source; one of high, low, hires, music, music-2"):
        main.run(["hires=/a/music", "/b/music", "/c/music", "/mnt/v", "--prefer=nobody"])


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("[sources]\na = 'a'\n[[view]]\nmountpoint = 'm'", (), "at least two sources"),
        ("[sources]\na = 'a'\nb = 'b'", (), "a mountpoint is needed"),
        (FILE, ("--prefer=low",), "each [[view]] says itself who wins"),
        (FILE + "[[view]]\nmountpoint = 'best/'", (), "same mountpoint"),
        (FILE + "[[view]]\nmountpoint = 'x'\nprefer = 'ogg'", (), "--prefer ogg: no such source"),
        ("on_missing = 'bad'", ("a", "b", "c"), "'bad' is not one of"),
        ("watch = 'maybe'", ("a", "b", "c"), "'maybe' is not one of"),
        ("recheck = inf", ("a", "b", "c"), "inf is not a number of seconds"),
        ("config = 'x'", ("a", "b", "c"), "unknown key config"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    file: Path, text: str, words: tuple[str, ...], message: str, mounts: list[Settings]
) -> None:
    file.write_text(text)
    with pytest.raises(Exception) as caught:  # noqa: PT011  # ours or click's
        main.run(["--config", str(file), *words])
    error: Any = caught.value
    assert message in (str(error) or error.format_message())
    assert mounts == []


def test_simulation_needs_only_a_file_with_sources(tmp_path: Path) -> None:
    grow(tmp_path / "in", {b"hires": folders("h", "1"), b"flac": folders("f", "1", "2"), b"mp3": folders("m", "3")})
    (tmp_path / "in/c.toml").write_text('[sources]\nhires = "hires"\nflac = "flac"\nmp3 = "mp3"\n')
    done = called(tmp_path, "--config=in/c.toml", "--simulate")
    assert done.stdout == b"folder\thires\tflac\t1\nfolder\tflac\tflac\t2\nfolder\tmp3\tmp3\t3\n"
    assert done.stderr.endswith(b"folders: 1 in several sources, 0 only in hires, 1 only in flac, 1 only in mp3\n")


toml = st.recursive(
    st.one_of(
        st.integers().map(str), st.floats().map(lambda number: repr(number)), st.sampled_from(["true", "false", "inf"]),
        st.sampled_from(["2026-11-24", "07:30:00", "2026-11-24T07:30:00Z", "0xffffffffffffffffff", "nan", "-nan"]),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=5).map(lambda text: json.dumps(text)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda values: f"[{', '.join(values)}]"), inner.map("{{ a = {} }}".format)
    ),
    max_leaves=4,
)  # fmt: skip


@given(
    lines=st.dictionaries(st.sampled_from([*KNOWN, "sources", "view", "prefer", "remember", "on-change"]), toml),
    words=st.lists(st.sampled_from(["a", "b", "/c", "m=x", "--simulate", "--prefer=", "a:b"]), max_size=4),
)
@example(lines={"refresh": "nan"}, words=["a", "b", "c"])
@example(lines={"refresh": "inf"}, words=["a", "b", "c"])
def test_any_file_is_accepted_or_refused_in_one_line(lines: dict[str, str], words: list[str]) -> None:
    with tempfile.TemporaryDirectory() as where, pytest.MonkeyPatch.context() as patched:
        patched.setattr(main, "_mount", lambda wanted, made: 0)
        patched.setattr(main, "check", lambda wanted: [])
        patched.setattr(main, "check_last_source", lambda sources: None)
        patched.setattr(main, "without_mounted_views", lambda wanted: wanted)
        patched.setattr("mmirrorfs.cli.simulate.simulate", lambda wanted: 0)
        file = Path(where, "c.toml")
        file.write_text("".join(f"{name} = {value}\n" for name, value in lines.items()))
        try:
            assert main.run(["--config", str(file), *words]) == 0
        except Problem as problem:
            message = str(problem)
        except click.ClickException as error:
            message = printable(error.format_message())
        else:
            message = "accepted"
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("a b c --refresh=nan", "nan is not a number of seconds from 0"),
        ("a b c --refresh=inf", "inf is not a number of seconds from 0"),
        ("a b c --refresh=1e300", "1e+300 is not a number of seconds from 0"),
        ("a b c -o refresh=nan", "nan is not a number of seconds from 0"),
        ("--simulate a b --prefer=nope", "--prefer nope: no such source; one of high, low, a, b"),
        ("a b c --prefer=", "--prefer : no such source"),
        ("A=x A=y m", "two sources are called A"),
        ("x/A A=y z A=w m", "two sources are called A"),
        ("--config= a b c", "--config: an empty word"),
        ("a b --output-high=", "--output-high: an empty word"),
        ("a b m --output-high=m", "m is an output already: beside --output-high"),
        ("--status --follow", "--status takes one path"),
        ("--explain", "--explain takes one path"),
        ("--status a b", "--status takes one path"),
        ("--status=", "--status takes one path"),
        ("--explain --json a b", "--explain takes one path"),
        ("--status a --explain b", "--status and --explain are asked one at a time"),
        ("--simulate --status a", "--status and --simulate are asked one at a time"),
        ("a b c --json", "--json goes with --simulate, --status, --explain or --doctor"),
    ],
)
def test_usage_error_names_the_argument(words: str, message: str, mounts: list[Settings]) -> None:
    with pytest.raises((Problem, click.ClickException)) as caught:
        main.run(words.split())
    error = caught.value
    assert message in (error.format_message() if isinstance(error, click.ClickException) else str(error))
    assert mounts == []


def test_given_name_is_kept_and_a_directory_of_that_name_is_numbered(mounts: list[Settings]) -> None:
    assert main.run(["/a/music", "music=/b", "/c/music", "/mnt/v"]) == 0
    assert [source.name for source in mounts[0].sources] == ["music-2", "music", "music-3"]


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ("a ../b /c m", "{here}/a:{above}/b:/c"),
        ("n=a n2=/b m", "n={here}/a:n2=/b"),
        ("a:b m", "{here}/a:{here}/b"),
        (r"/a/:/b//c\:d: m", r"/a/:/b//c\:d:"),
        ("a b --output-high=m", "{here}/a:{here}/b"),
    ],
)
def test_fsname_has_absolute_paths_and_keeps_those_of_fstab_byte_for_byte(
    words: str, field: str, mounts: list[Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(main, "check_last_source", lambda sources: None)
    assert main.run(words.split()) == 0
    wanted = "fsname=" + field.format(here=tmp_path, above=tmp_path.parent).replace("\\", "\\\\")
    assert wanted in mounts[0].fuse_options
