"""Bad input: one line that says what is wrong, mount(8)'s exit code, at once, and no mount or process left behind."""

import os
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support.kernel import mounted_under, processes_of
from tests.support.mounts import COMMAND, mounted
from tests.support.polling import poll
from tests.support.reach import opening
from tests.support.running import called
from tests.support.trees import folders, grow
from tests.support.users import AS_NOBODY, NOBODY, WITHOUT_OVERRIDE, Word, need, needs_root, run

USAGE, FAILED = 1, 32
QUICK = 10.0
"""Seconds that a refusal may take."""

# Fault: (arguments, with paths relative to the trees; exit code; text in the message).
CASES: dict[str, tuple[str, int, str]] = {
    "a source that is missing": ("high nowhere mnt", FAILED, "nowhere"),
    "a source that is a file": ("high file mnt", FAILED, "file is not a directory"),
    "a source that is a dangling link": ("high dangling mnt", FAILED, "dangling"),
    "a mountpoint that is missing": ("high low nowhere", FAILED, "nowhere does not exist"),
    "a mountpoint that is a file": ("high low file", FAILED, "file is not a directory"),
    "a mountpoint that is not empty": ("high low full", FAILED, "full is not empty"),
    "a mountpoint that is a source": ("high low low", FAILED, "low"),
    "a mountpoint in a source": ("high low high/2", FAILED, "is inside the source"),
    "a mountpoint in a source by way of a link": ("high low way-in", FAILED, "is inside the source"),
    "a mountpoint around a source": ("high around/source around", FAILED, "would hide the source"),
    "a depth of 0": ("high low mnt --depth=0", USAGE, "depth"),
    "a depth of -1": ("high low mnt --depth=-1", USAGE, "depth"),
    "a depth of abc": ("high low mnt --depth=abc", USAGE, "abc"),
    "a depth in -o of abc": ("high low mnt -o depth=abc", USAGE, "abc"),
    "a source twice": ("high high mnt", USAGE, "same directory"),
    "a source twice, once with a slash": ("high high/ mnt", USAGE, "same directory"),
    "a source twice, once by way of a link": ("high link-to-high mnt", USAGE, "same directory"),
    "a source twice, once by way of ..": ("high low/../high mnt", USAGE, "same directory"),
    "no words but an option": ("--depth=2", USAGE, "source"),
    "one word": ("mnt", USAGE, "source"),
    "a single source": ("high mnt", USAGE, "two sources"),
    "an unknown option": ("high low mnt --no-such-thing", USAGE, "--no-such-thing"),
    "an unknown word in -o": ("high low mnt -o no_such_thing", USAGE, "no_such_thing"),
    "a preference for nobody": ("high low mnt --prefer=nobody", USAGE, "nobody"),
    "a source from a variable that is not set": ("high  mnt", USAGE, "empty word"),
    "a mountpoint beside an output": (
        "high low nowhere --output-high=/nowhere",
        FAILED,
        "nowhere does not exist: beside --output-high",
    ),
    "a refresh of nan": ("high low mnt --refresh=nan", USAGE, "nan is not a number of seconds"),
    "a refresh of nan in -o": ("high low mnt -o refresh=nan", USAGE, "nan is not a number of seconds"),
    "a refresh of inf": ("high low mnt --refresh=inf", USAGE, "inf is not a number of seconds"),
    "a recheck of nan": ("high low mnt --recheck=nan", USAGE, "nan is not a number of seconds"),
    "a recheck of -1": ("high low mnt --recheck=-1", USAGE, "-1"),
    "a recheck in -o of abc": ("high low mnt -o recheck=abc", USAGE, "abc"),
    "a watch of on": ("high low mnt --watch=on", USAGE, "'on' is not one of 'auto', 'off'"),
    "a watch in -o without a value": ("high low mnt -o watch", USAGE, "watch takes a value"),
    "a word in -o that ends mounts": ("high low mnt -o max_read=4096", USAGE, "max_read=4096: not possible"),
    "a mountpoint from a variable that is not set": ("high low ", USAGE, "empty word"),
}


def _trees(place: Path) -> None:
    grow(place / "high", folders("h", *"2345"))
    grow(place / "low", folders("l", *"01234"))
    grow(place / "around", {b"source": {}})
    grow(place / "full", {b"something": b""})
    grow(place, {b"mnt": {}, b"file": b""})
    os.symlink("high", place / "link-to-high")
    os.symlink("high/2", place / "way-in")
    os.symlink("nowhere", place / "dangling")


def _words(place: Path, text: str) -> list[Word]:
    """The arguments of a case, with paths made absolute below ``place``."""
    words: list[Word] = []
    for word in text.split(" ") if text else ():
        is_path = word and not word.startswith("-") and words[-1:] != ["-o"]
        words.append(f"{place}/{word}" if is_path else word)
    return words


def _check_refused(
    place: Path, code: int, names: str, call: Callable[[], "subprocess.CompletedProcess[bytes]"]
) -> None:
    """Make the call and check that it prints one line, is quick, and leaves nothing behind."""
    started = time.monotonic()
    done = call()
    took = time.monotonic() - started
    lines = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout) == (code, b""), lines
    assert len(lines) == 1, lines
    assert lines[0].startswith("mmirrorfs: ")
    assert names in lines[0]
    assert "rror(" not in lines[0], "an exception as Python writes it is no message"
    assert took < QUICK
    assert (mounted_under(os.fsencode(place)), processes_of(os.fsencode(place))) == ([], [])


@pytest.mark.parametrize("form", [(), ("-f",)], ids=["background", "foreground"])
@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_refused_with_one_line(place: Path, case: str, form: tuple[str, ...]) -> None:
    _trees(place)
    text, code, names = CASES[case]
    _check_refused(place, code, names, lambda: called(place, *_words(place, text), *form))


def test_bad_input_is_refused_by_the_command_itself(place: Path) -> None:
    """One case run as a user does, in a new process."""
    _trees(place)
    for form in ((), ("-f",)):
        _check_refused(place, FAILED, "nowhere", partial(run, *COMMAND, *_words(place, "high nowhere mnt"), *form))


def test_control_characters_in_a_name_are_escaped_in_the_message(place: Path) -> None:
    _trees(place)
    words = place / "high", os.fsencode(place) + b"/no\n\x1b[31m\xffwhere", place / "mnt"
    _check_refused(place, FAILED, r"no\n\x1b[31m\xffwhere", lambda: called(place, *words))


@needs_root
@pytest.mark.parametrize("form", [(), ("-f",)], ids=["background", "foreground"])
def test_an_unreadable_source_is_refused(place: Path, form: tuple[str, ...]) -> None:
    _trees(place)
    (place / "low").chmod(0o700)
    os.chown(place / "low", NOBODY, NOBODY)
    command: list[Word] = [*WITHOUT_OVERRIDE, *COMMAND, place / "high", place / "low", place / "mnt"]
    _check_refused(place, FAILED, "low cannot be read: Permission denied", partial(run, *command, *form))


def _as_plain_user(place: Path) -> str:
    """The head of a shell script: ``$as`` runs a command as a plain user who may open /dev/fuse, ``$run`` is ours."""
    need("unshare")
    device = place / "fuse"
    os.mknod(device, stat.S_IFCHR | 0o600, os.stat("/dev/fuse").st_rdev)
    device.chmod(0o666)
    try:
        os.close(os.open(device, os.O_RDWR))
    except OSError as error:
        pytest.skip(f"a device made in {place.parent} cannot be opened: {error.strerror}")
    ready = f"{opening()}; mount --bind {device} /dev/fuse; cd {place}"
    return f"{ready}; as='{' '.join(AS_NOBODY)}'; run='{' '.join(COMMAND)}'; "


@needs_root
def test_a_plain_user_may_mount_on_a_directory_they_own(place: Path) -> None:
    _trees(place)
    os.chown(place / "mnt", NOBODY, NOBODY)
    script = _as_plain_user(place) + "$as $run high low mnt; $as cat mnt/2/track; $as fusermount3 -u mnt; ls mnt"
    done = run("unshare", "-m", "sh", "-ec", script)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"h2", b"")
    poll(lambda: not processes_of(os.fsencode(place)), "the end of the process")


@needs_root
def test_a_plain_user_may_not_mount_on_a_directory_of_another_user(place: Path) -> None:
    _trees(place)
    script = _as_plain_user(place) + f"exec $as $run {place}/high {place}/low {place}/mnt"
    _check_refused(place, FAILED, "mnt", partial(run, "unshare", "-m", "sh", "-ec", script))


@needs_root
def test_an_unreadable_directory_is_logged_once_and_the_rest_is_shown(place: Path) -> None:
    high = grow(place / "high", {b"closed": {b"a": {}}, b"open": {b"a": {b"track": b"h"}}})
    low = grow(place / "low", {b"closed": {b"b": {b"track": b"l"}}, b"other": {b"a": {}}})
    (high / "closed").chmod(0o700)
    os.chown(high / "closed", NOBODY, NOBODY)
    with mounted(place / "mnt", high, low, depth=2, prefix=WITHOUT_OVERRIDE, options=("--refresh=0.2",)) as view:
        view.expect(r"high/closed.*Permission denied")
        assert os.listdir(view.mountpoint) == ["closed", "open", "other"]
        assert (view.mountpoint / "open/a/track").read_text() == "h"
        for name in ("later", "later still"):
            grow(low, {name.encode(): {}})
            poll(lambda name=name: name in os.listdir(view.mountpoint), "a refresh")  # type: ignore[misc]
        assert view.text().count("Permission denied") == 1


def test_help_and_version_succeed_and_mount_nothing(place: Path) -> None:
    for word in ("--help", "-h", "--help-all", "--version", "-V"):
        done = called(place, word)
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"mmirrorfs" in done.stdout
    assert mounted_under(os.fsencode(place)) == []


def test_an_error_is_written_at_once_so_that_two_processes_do_not_mix_their_lines(place: Path) -> None:
    """A datagram holds what one write(2) wrote."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        subprocess.run(
            [*COMMAND, "high", "low", "nowhere"],
            cwd=place, stderr=theirs.fileno(), timeout=30, check=False, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        ours.setblocking(False)
        line = ours.recv(1 << 12)
        assert line.startswith(b"mmirrorfs: ")
        assert line.endswith(b"\n")
        with pytest.raises(BlockingIOError):
            ours.recv(1 << 12)
