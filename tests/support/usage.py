"""Heavy use of a view by a process of its own: lookups, opens, listings, and every error that a client can cause.

As a program it does one of these a number of times, and prints the number of calls. It exits with 1, and prints the
call, for a result that a plain read-only directory would not give.

Each lookup reaches the view: absent names are new each time, and existing ones are repeated only after their timeout.
"""

import errno
import os
import pwd
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

LONG = b"n" * 256
"""A name that is longer than NAME_MAX."""


def use(what: str, number: int, view: Path, seconds: float = 60) -> int:
    """Run ``what`` (lookups, opens, listings, errors) ``number`` times in a process; returns the number of calls."""
    program = [sys.executable, "-m", "tests.support.usage", what, str(number), os.fspath(view)]
    top = Path(__file__).parents[2]
    done = subprocess.run(program, cwd=top, capture_output=True, timeout=seconds, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout)


# The process


def _walked(top: bytes) -> Iterator[tuple[bytes, bool]]:
    """Every path below a directory, as (path, is a directory)."""
    waiting = [top]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                is_directory = entry.is_dir(follow_symlinks=False)
                yield entry.path, is_directory
                if is_directory:
                    waiting.append(entry.path)


def lookups(number: int, view: bytes) -> int:
    """Look up existing names and, alternately, new ones that do not exist."""
    there = [path for path, _ in _walked(view)]
    places = [view, *(path for path, is_directory in _walked(view) if is_directory)]
    asked = 0
    for turn in count():
        for path in there:
            os.lstat(path)
            _fails(errno.ENOENT, os.lstat, b"%b/%d %d" % (places[asked % len(places)], turn, asked))
            asked += 2
            if asked >= number:
                return asked
    return asked


def opens(number: int, view: bytes) -> int:
    """Open files, read some of them, and close them."""
    files = [path for path, is_directory in _walked(view) if not is_directory and not os.path.islink(path)]
    files = [path for path in files if os.lstat(path).st_mode & 0o004]
    for turn in range(number):
        fd = os.open(files[turn % len(files)], os.O_RDONLY)
        if turn % 2:
            os.read(fd, 100)
        os.close(fd)
    return number


def listings(number: int, view: bytes) -> int:
    """Open directories; list them not at all, once, or twice."""
    directories = [view, *(path for path, is_directory in _walked(view) if is_directory)]
    for turn in range(number):
        fd = os.open(directories[turn % len(directories)], os.O_RDONLY | os.O_DIRECTORY)
        for _ in range(turn % 3):
            os.listdir(fd)
        os.close(fd)
    return number


def errors(number: int, view: bytes) -> int:
    """Cause every error, ``number`` times."""
    done = 0
    for turn in range(number):
        for code, call, words in [*_errors(view, turn), *_refused(view)]:
            _fails(code, call, *words)
            done += 1
    return done


Failing = tuple[int, Callable[..., object], tuple[object, ...]]


def _errors(view: bytes, turn: int) -> Iterator[Failing]:
    """Requests that fail, in the tree of the leak tests."""
    folder, file = view + b"/Artist/Album 0", view + b"/Artist/Album 0/1"
    for place in (view, view + b"/Artist", folder):
        yield errno.ENOENT, os.open, (b"%b/%d absent" % (place, turn), os.O_RDONLY)
        yield errno.ENOENT, os.listdir, (place + b"/absent/absent",)
        yield errno.EISDIR, _read, (place,)
        yield errno.ENAMETOOLONG, os.lstat, (place + b"/" + LONG,)
        yield errno.ENAMETOOLONG, os.lstat, (place + b"/x" * 2100,)
    yield errno.ENOTDIR, os.lstat, (file + b"/x",)
    yield errno.ENOTDIR, os.listdir, (file,)
    yield errno.ELOOP, os.stat, (folder + b"/loop",)
    yield errno.ELOOP, os.open, (folder + b"/loop", os.O_RDONLY | os.O_NOFOLLOW)
    yield errno.ENOENT, os.stat, (folder + b"/dangling",)
    yield errno.EINVAL, os.readlink, (file,)
    yield errno.ENODATA, os.getxattr, (file, b"user.absent")
    yield errno.EACCES, _as_nobody, (os.open, folder + b"/secret", os.O_RDONLY)
    yield errno.EACCES, _as_nobody, (os.listdir, folder + b"/closed")
    yield errno.EACCES, _as_nobody, (os.lstat, folder + b"/closed/x")
    yield errno.EACCES, _read, (folder + b"/denied",)


def _refused(view: bytes) -> Iterator[Failing]:
    """Requests that fail in any read-only filesystem."""
    file, absent = view + b"/Artist/Album 0/1", view + b"/Artist/Album 0/new"
    yield errno.EROFS, os.open, (file, os.O_WRONLY)
    yield errno.EROFS, os.open, (absent, os.O_WRONLY | os.O_CREAT)
    yield errno.EROFS, os.truncate, (file, 0)
    yield errno.EROFS, os.mkdir, (absent,)
    yield errno.EROFS, os.unlink, (file,)
    yield errno.EROFS, os.rename, (file, absent)
    yield errno.EROFS, os.symlink, (b"x", absent)
    yield errno.EROFS, os.link, (file, absent)
    yield errno.EROFS, os.chmod, (file, 0o600)
    yield errno.EROFS, os.utime, (file,)
    yield errno.EROFS, os.setxattr, (file, b"user.x", b"x")


def _read(path: bytes) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, 100)
    finally:
        os.close(fd)


def _as_nobody(call: Callable[..., object], *words: object) -> object:
    os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        return call(*words)
    finally:
        os.seteuid(0)


def _fails(code: int, call: Callable[..., object], *words: object) -> None:
    try:
        call(*words)
    except OSError as error:
        found = error.errno or -1
    else:
        found = 0
    if found != code:
        sys.exit(f"{call.__name__}{words!r:.200}: {found}, not {errno.errorcode[code]}")


def _main(what: str, number: str, view: str) -> None:
    done = {"lookups": lookups, "opens": opens, "listings": listings, "errors": errors}[what]
    print(done(int(number), os.fsencode(view)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
