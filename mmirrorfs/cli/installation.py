"""The installed program: the versions it runs with, and the files that ``--install-helper`` writes.

These are the links by which mount(8) finds the program, ``/sbin/mount.fuse.mmirrorfs`` and ``/sbin/mount.mmirrorfs``,
and what a distribution's package has besides: manual page, completions, and the systemd unit, in /usr/local.

Rule 1: at the path of a link, a file or a link that is not ours is never replaced or removed.
Rule 2: unit and manual page come ready with the package; the program itself prints the completions.
"""

import contextlib
import ctypes
import ctypes.util
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files

from mmirrorfs import __version__
from mmirrorfs.cli.completion import VARIABLE
from mmirrorfs.cli.errors import SYSTEM, USAGE, Problem
from mmirrorfs.text import printable

NAME = "mmirrorfs"
"""The program's file name. A link to a file of another name is not ours."""
HELPERS = ("/sbin/mount.fuse.mmirrorfs", "/sbin/mount.mmirrorfs")
UNIT = "/usr/local/lib/systemd/system/mmirrorfs@.service"
MANUAL = "/usr/local/share/man/man8/mmirrorfs.8"
COMPLETIONS = {
    "bash": "/usr/local/share/bash-completion/completions/mmirrorfs",
    "zsh": "/usr/local/share/zsh/site-functions/_mmirrorfs",
    "fish": "/etc/fish/completions/mmirrorfs.fish",
}
"""fish searches /usr/local only where XDG_DATA_DIRS has it."""


def versions() -> str:
    """One line each for mmirrorfs, pyfuse3, libfuse, trio and Python."""
    lines = [("mmirrorfs", __version__), ("pyfuse3", _package("pyfuse3")), ("libfuse", _libfuse())]
    lines += [("trio", _package("trio")), ("Python", platform.python_version())]
    return "\n".join(f"{name} {number}" for name, number in lines)


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _libfuse() -> str:
    for library in ("libfuse3.so.3", "libfuse3.so.4", ctypes.util.find_library("fuse3")):
        try:
            call = ctypes.CDLL(library).fuse_pkgversion
        except (OSError, AttributeError, TypeError):
            continue
        call.restype = ctypes.c_char_p
        return str(call().decode())
    return "not found"


def install(program: str) -> None:
    """Make the links to ``program``, and write the other files. Raises Problem.

    ``program`` is refused unless it is a file that can be linked to, not ``python -m``.
    """
    program = os.path.realpath(program)
    _link_helpers(program)
    for path, content in _contents(program):
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)
        except OSError as error:
            raise Problem(f"{path} cannot be made: {error.strerror}; become root", SYSTEM) from None
        print(path, file=sys.stderr)


def uninstall() -> None:
    """Remove the links that are ours, and the other files. Raises Problem."""
    for link in HELPERS:
        if os.path.lexists(link) and _is_ours(link):
            _remove(link)
            print(f"{link} removed", file=sys.stderr)
    for path in (UNIT, MANUAL, *COMPLETIONS.values()):
        if _remove(path):
            print(f"{path} removed", file=sys.stderr)


def _link_helpers(program: str) -> None:
    if os.path.basename(program) != NAME:
        raise Problem(f"--install-helper links to the program {NAME}: run that, and not python -m {NAME}", USAGE)
    for link in HELPERS:
        if os.path.lexists(link) and not _is_ours(link):
            raise Problem(f"{link} is there already and is not ours: remove it first", SYSTEM)
    for link in HELPERS:
        _remove(link)
        try:
            os.symlink(program, link)
        except OSError as error:
            raise Problem(f"{link} cannot be made: {error.strerror}; become root", SYSTEM) from None
        print(f"{link} -> {program}", file=sys.stderr)


def _is_ours(link: str) -> bool:
    return os.path.islink(link) and os.path.basename(os.readlink(link)) == NAME


def _remove(path: str) -> bool:
    """Whether it was there. Raises Problem where it cannot be removed."""
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(path)
            return True
    except OSError as error:
        raise Problem(f"{path} cannot be removed: {error.strerror}; become root", SYSTEM) from None
    return False


def _contents(program: str) -> Iterator[tuple[str, bytes]]:
    data = files("mmirrorfs.cli")
    word = os.fsencode(f'"{program}"'.replace("%", "%%"))  # quoted as in systemd.syntax(7)
    yield UNIT, (data / "mmirrorfs@.service").read_bytes().replace(b"=/usr/bin/mmirrorfs ", b"=" + word + b" ")
    yield MANUAL, (data / "mmirrorfs.8").read_bytes()
    for shell, path in COMPLETIONS.items():
        yield path, _completion_script(shell)


def _completion_script(shell: str) -> bytes:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path),  # the Debian package has its libraries where only its launcher looks
        VARIABLE: f"{shell}_source",
    }
    done = subprocess.run([sys.executable, "-P", "-m", NAME], env=environment, capture_output=True, check=False)
    if done.returncode:
        reason = printable(os.fsdecode(done.stderr).strip())
        raise Problem(f"{NAME} cannot be run by {sys.executable}: {reason}", SYSTEM)
    return done.stdout
