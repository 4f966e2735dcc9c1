"""What a package puts beside the program, for one that pip or pipx installed: below /usr/local, as root.

The page and the completions are printed by the program itself, as scripts/package-deb has them printed.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files

from mmirrorfs.cli.complete import VARIABLE
from mmirrorfs.cli.problem import SYSTEM, Problem
from mmirrorfs.text import printable

TOP = "/usr/local"
UNIT = "lib/systemd/system/mmirrorfs@.service"
PAGE = "share/man/man8/mmirrorfs.8"
COMPLETIONS = {
    "bash": "share/bash-completion/completions/mmirrorfs",
    "zsh": "share/zsh/site-functions/_mmirrorfs",
    "fish": "share/fish/vendor_completions.d/mmirrorfs.fish",
}


def install(program: str) -> None:
    """Write the manual page, the completions, and the unit for a ``program`` of this path. Raises Problem."""
    for name, content in _contents(program):
        path = os.path.join(TOP, name)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)
        except OSError as error:
            raise Problem(f"{path} cannot be made: {error.strerror}; become root", SYSTEM) from None
        print(path, file=sys.stderr)


def uninstall() -> None:
    """Remove them. Raises Problem."""
    for name in (UNIT, PAGE, *COMPLETIONS.values()):
        path = os.path.join(TOP, name)
        try:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.unlink(path)
                print(f"{path} removed", file=sys.stderr)
        except OSError as error:
            raise Problem(f"{path} cannot be removed: {error.strerror}; become root", SYSTEM) from None


def _contents(program: str) -> Iterator[tuple[str, bytes]]:
    unit = files("mmirrorfs.cli").joinpath("mmirrorfs@.service").read_bytes()
    yield UNIT, unit.replace(b"=/usr/bin/mmirrorfs ", b"=" + _word(program) + b" ")
    yield PAGE, _printed("mmirrorfs.cli.manual")
    for shell, name in COMPLETIONS.items():
        yield name, _printed("mmirrorfs", **{VARIABLE: f"{shell}_source"})


def _word(program: str) -> bytes:
    """The path as a word of a unit, see systemd.syntax(7) and systemd.unit(5), "specifiers"."""
    escaped = program.replace("\\", r"\\").replace('"', r"\"").replace("%", "%%")
    return os.fsencode(f'"{escaped}"' if escaped != program or " " in program else program)


def _printed(module: str, **environment: str) -> bytes:
    command = [sys.executable, "-P", "-m", module]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, check=False)
    if done.returncode:
        said = printable(os.fsdecode(done.stderr).strip())
        raise Problem(f"{module} cannot be run by {sys.executable}: {said}", SYSTEM)
    return done.stdout
