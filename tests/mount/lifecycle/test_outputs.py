"""The legacy command line: two outputs from one command, both mounted or neither."""

import os
import signal
from pathlib import Path

import pytest

from tests.support.kernel import abort_under, mounted_under, processes_of
from tests.support.mounts import COMMAND, mounted
from tests.support.polling import poll
from tests.support.running import background, called, foreground, is_view
from tests.support.trees import Link, grow, stamps
from tests.support.users import NOBODY, WITHOUT_OVERRIDE, needs_root, output_of, run

USAGE, FAILED = 1, 32
ANCESTOR = ["flac/", "mp3/", "--output_high", "high/", "--output_low", "low/", "--depth=2"]


@pytest.fixture
def library(place: Path) -> Path:
    """The two sources of the README, below the returned directory."""
    grow(place / "flac", {b"Lund": {b"Harbour": {b"1": b"flac"}, b"Lighthouse": {b"1": b"flac"}}})
    grow(place / "mp3", {b"Lund": {b"Harbour": {b"1": b"mp3"}}, b"Sparrows": {b"Rooftops": {b"1": b"mp3"}}})
    return place


def _winners(view: Path) -> list[str]:
    albums = ("Lund/Harbour", "Lund/Lighthouse", "Sparrows/Rooftops")
    return [(view / album / "1").read_text() for album in albums]


def _check_refused(place: Path, code: int, names: str, *words: str) -> None:
    """Check that the command prints one line, mounts nothing and leaves the directory as it was."""
    before = sorted(os.listdir(place))
    done = called(place, *words)
    (line,) = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout) == (code, b""), line
    assert line.startswith("mmirrorfs: ")
    assert names in line
    assert (mounted_under(os.fsencode(place)), processes_of(os.fsencode(place))) == ([], [])
    assert sorted(os.listdir(place)) == before


@pytest.mark.parametrize("spelled", ["--output_high high/ --output_low low/", "--output-high=high --output-low=low"])
def test_the_legacy_command_line_mounts_two_live_views(library: Path, spelled: str) -> None:
    with background(library, "flac/", "mp3/", *spelled.split(), "--depth=2", "--refresh=1"):
        assert _winners(library / "high") == ["flac", "flac", "mp3"]
        assert _winners(library / "low") == ["mp3", "flac", "mp3"]
        grow(library / "flac/Sparrows/Rooftops", {b"1": b"flac"})
        poll(lambda: _winners(library / "high") == ["flac", "flac", "flac"], "the new album")
        assert _winners(library / "low") == ["mp3", "flac", "mp3"]


def test_the_legacy_spelling_of_options_is_accepted(library: Path) -> None:
    with background(library, *ANCESTOR):
        assert [_winners(library / name)[0] for name in ("high", "low")] == ["flac", "mp3"]


@pytest.mark.parametrize(("option", "first"), [("--output_high", "flac"), ("--output_low", "mp3")])
def test_one_output_option_mounts_one_view(library: Path, option: str, first: str) -> None:
    with background(library, "flac", "mp3", option, "out", "--depth=2"):
        assert mounted_under(os.fsencode(library)) == [os.fsencode(library / "out")]
        assert _winners(library / "out")[0] == first


@pytest.mark.parametrize("form", ["", "-f"])
def test_if_one_output_is_refused_neither_is_mounted_and_new_directories_are_removed(library: Path, form: str) -> None:
    grow(library, {b"full": {b"something": b""}, b"file": b""})
    start = ["flac", "mp3", "--output_high=high", *form.split()]
    _check_refused(library, FAILED, "full is not empty", *start, "--output_low=full")
    _check_refused(library, FAILED, "file is not a directory", *start, "--output_low=file")
    _check_refused(library, FAILED, "above does not exist", *start, "--output_low=above/low")
    _check_refused(library, FAILED, "is inside the source", *start, "--output_low=mp3/Lund")
    assert not (library / "high").exists()


@needs_root
@pytest.mark.parametrize("form", ["", "-f"])
def test_if_the_kernel_refuses_a_mount_no_output_stays_mounted(library: Path, form: str) -> None:
    done = run(
        "unshare", "-m", "env", "-C", library, "setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin",
        *COMMAND, *ANCESTOR, *form.split(),
    )  # fmt: skip
    lines = set(done.stderr.decode().splitlines())
    assert done.returncode == FAILED
    assert lines
    assert all(line.startswith("mmirrorfs: cannot mount on ") for line in lines), lines
    assert sorted(os.listdir(library)) == ["flac", "mp3"]


def test_outputs_must_be_distinct_and_exclude_prefer(library: Path) -> None:
    start = ["flac", "mp3", "--depth=2"]
    _check_refused(library, USAGE, "two different places", *start, "--output_high=out", "--output_low=out/")
    _check_refused(library, USAGE, "--prefer", *start, "--output_high=out", "--prefer=high")
    _check_refused(library, FAILED, "one is inside the other", *start, "--output_high=out", "--output_low=out/low")
    grow(library, {b"there": {}, b"alias": Link(b"there")})
    _check_refused(library, FAILED, "one is inside the other", *start, "--output_low=there", "--output_high=there/high")
    _check_refused(library, FAILED, "are the same", *start, "--output_high=there", "--output_low=alias")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_both_outputs_in_the_foreground(library: Path, number: signal.Signals) -> None:
    with foreground(library, *ANCESTOR, views=("high", "low")) as family:
        assert [_winners(library / name)[0] for name in ("high", "low")] == ["flac", "mp3"]
        assert family.end(number) == 0
        assert mounted_under(os.fsencode(library)) == []
        assert family.text() == ""


def test_killing_the_daemon_of_one_output_leaves_the_other_and_is_logged(library: Path) -> None:
    with foreground(library, *ANCESTOR, views=("high", "low")) as family:
        children = family.children()
        assert len(children) == 2
        os.kill(children[0], signal.SIGKILL)
        poll(lambda: "the other views go on" in family.text(), "a line in the log")
        assert f"{library}/high has ended" in family.text()
        assert _winners(library / "low") == ["mp3", "flac", "mp3"]
        with pytest.raises(OSError, match="not connected"):
            os.listdir(library / "high")
        assert family.end() == FAILED
        assert not is_view(library / "low")


def test_a_directory_of_symlinks_can_be_covered_and_stays_unchanged(library: Path) -> None:
    farm = grow(library / "high", {b"Lund": {b"Harbour": Link(b"../../flac/Lund/Harbour")}, b"gone": Link(b"nowhere")})
    before = stamps(farm)
    _check_refused(library, FAILED, "--nonempty", *ANCESTOR)
    with background(library, *ANCESTOR, "--overwritesymlinks"):
        assert sorted(os.listdir(farm)) == ["Lund", "Sparrows"]
        assert not (farm / "Lund/Harbour").is_symlink()
    assert stamps(farm) == before
    assert (farm / "Lund/Harbour/1").read_text() == "flac"


@pytest.mark.parametrize("word", ["", "-v", "-vv"])
def test_the_number_of_v_options_sets_the_verbosity(library: Path, word: str) -> None:
    with foreground(library, *ANCESTOR, *word.split(), views=("high", "low")) as family:
        expected = {f"mmirrorfs: {library}/{name} is mounted" for name in ("high", "low")} if word else set()
        poll(lambda: expected <= set(family.text().splitlines()), "what is to be said")
        assert family.end() == 0
        ending = "ending on SIGTERM" in family.text()
        assert ending == bool(word)
        assert bool(word) or family.text() == ""


@needs_root
def test_control_characters_in_a_name_are_escaped_in_the_log(library: Path) -> None:
    closed = Path(os.fsdecode(os.fsencode(library) + b"/flac/\x1b[31mred\nmmirrorfs: forged"))
    closed.mkdir(mode=0o700)
    os.chown(closed, NOBODY, NOBODY)
    with mounted(library / "view", library / "flac", library / "mp3", depth=2, prefix=WITHOUT_OVERRIDE) as view:
        view.expect(r"flac/\\x1b\[31mred\\nmmirrorfs: forged cannot be listed: Permission denied")
        assert os.listdir(view.mountpoint) == [closed.name, "Lund", "Sparrows"]
        assert b"\x1b" not in view.log.read_bytes()


def test_an_empty_last_source_before_an_output_option_is_questioned(library: Path) -> None:
    grow(library / "usb", {})
    try:
        done = called(library, "flac", "mp3", "usb", "--output-high", "view")
        assert done.returncode == 0
        assert b"usb is empty: is it a source? beside --output-high" in done.stderr
        assert os.listdir(library / "view") == ["Lund", "Sparrows"]
        output_of("umount", library / "view")
    finally:
        abort_under(os.fsencode(library))
