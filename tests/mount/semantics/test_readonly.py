"""Views are read-only: every writing call fails with EROFS, and the sources stay untouched."""

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.mounts import View, mounted
from tests.support.trees import Link, Tree, grow, stamps
from tests.support.users import run

Write = Callable[[Path], object]


def _open(flags: int) -> Write:
    return lambda path: os.close(os.open(path, flags))


ON_A_FILE: dict[str, Write] = {
    "open O_WRONLY": _open(os.O_WRONLY),
    "open O_RDWR": _open(os.O_RDWR),
    "open O_RDONLY | O_TRUNC": _open(os.O_RDONLY | os.O_TRUNC),
    "open O_WRONLY | O_APPEND": _open(os.O_WRONLY | os.O_APPEND),
    "open O_WRONLY | O_CREAT": _open(os.O_WRONLY | os.O_CREAT),
    "truncate": lambda path: os.truncate(path, 1),
    "unlink": os.unlink,
    "rename": lambda path: os.rename(path, path.with_name("new")),
    "rename over another": lambda path: os.rename(path, path.with_name("other")),
    "link": lambda path: os.link(path, path.with_name("new")),
    "chmod": lambda path: os.chmod(path, 0o600),
    "chown": lambda path: os.chown(path, os.getuid(), os.getgid()),
    "utime": os.utime,
    "setxattr": lambda path: os.setxattr(path, "user.mood", b"bright"),
    "removexattr": lambda path: os.removexattr(path, "user.mood"),
}
ON_A_NEW_NAME: dict[str, Write] = {
    "open O_CREAT": _open(os.O_RDONLY | os.O_CREAT),
    "open O_CREAT | O_EXCL": _open(os.O_WRONLY | os.O_CREAT | os.O_EXCL),
    "mkdir": os.mkdir,
    "symlink": lambda path: os.symlink("there", path),
    "mknod of a file": lambda path: os.mknod(path, stat.S_IFREG | 0o600),
    "mkfifo": os.mkfifo,
}
ON_A_DIRECTORY: dict[str, Write] = {
    "rmdir": os.rmdir,
    "rename": lambda path: os.rename(path, path.with_name("new")),
    "chmod": lambda path: os.chmod(path, 0o700),
    "utime": os.utime,
    "setxattr": lambda path: os.setxattr(path, "user.mood", b"bright"),
}


@pytest.fixture(scope="module")
def view(shared_place: Path) -> Iterator[View]:
    """One view for all tests, which change nothing in its sources."""
    album: Tree = {b"track": b"bytes", b"other": b"", b"empty": {}, b"link": Link(b"track")}
    high = grow(shared_place / "high", {b"album": album, b"loose": b"bytes", b"other": b""})
    low = grow(shared_place / "low", {b"low": {}})
    before = stamps(high), stamps(low)
    with mounted(shared_place / "view", high, low, options=("-o", "rw")) as view:
        yield view
    assert (stamps(high), stamps(low)) == before


def _assert_refused(path: Path, calls: dict[str, Write]) -> None:
    """Each call on the path fails with EROFS."""
    answers = {}
    for name, call in calls.items():
        try:
            call(path)
            answers[name] = "done"
        except OSError as error:
            answers[name] = errno.errorcode[error.errno or 0]
    assert answers == dict.fromkeys(calls, "EROFS"), path


def test_every_writing_call_fails_with_erofs(place: Path, view: View) -> None:
    sources = [view.mountpoint.with_name(name) for name in ("high", "low")]
    before = [stamps(source) for source in sources]
    for name in ("album/track", "loose"):
        _assert_refused(view.mountpoint / name, ON_A_FILE)
    for name in ("album/new", "new"):
        _assert_refused(view.mountpoint / name, ON_A_NEW_NAME)
    for name in ("album", "album/empty", "low"):
        _assert_refused(view.mountpoint / name, ON_A_DIRECTORY)
    _assert_refused(view.mountpoint, {"utime": os.utime, "chmod": ON_A_DIRECTORY["chmod"]})
    assert [stamps(source) for source in sources] == before


def test_a_symlink_itself_cannot_be_changed(place: Path, view: View) -> None:
    calls: dict[str, Write] = {
        "unlink": os.unlink,
        "lchown": lambda path: os.chown(path, os.getuid(), os.getgid(), follow_symlinks=False),
        "utime": lambda path: os.utime(path, follow_symlinks=False),
    }
    _assert_refused(view.mountpoint / "album/link", calls)
    assert os.readlink(view.mountpoint / "album/link") == "track"


def test_a_descriptor_open_for_reading_cannot_write(place: Path, view: View) -> None:
    with open(view.mountpoint / "album/track", "rb") as file:
        for refused in (
            lambda: os.write(file.fileno(), b"x"),
            lambda: os.ftruncate(file.fileno(), 0),
            lambda: os.posix_fallocate(file.fileno(), 0, 4096),
            lambda: os.fchmod(file.fileno(), 0o600),
        ):
            with pytest.raises(OSError, match=r"Read-only file system|Bad file descriptor|Invalid argument"):
                refused()
        assert file.read() == b"bytes"


def test_writing_programs_report_a_read_only_file_system(place: Path, view: View) -> None:
    for command in (["touch", "new"], ["rm", "track"], ["fallocate", "-l", "1", "track"], ["cp", "track", "new"]):
        if shutil.which(command[0]):
            words = [view.mountpoint / "album" / word if word in ("new", "track") else word for word in command]
            done = run(*words)
            assert (done.returncode != 0, b"Read-only file system" in done.stderr) == (True, True), command
    assert os.listdir(view.mountpoint / "album") == ["empty", "link", "other", "track"]
