"""What a package puts beside the program, for one that pip or pipx installed: where root puts his own.

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

UNIT = "/usr/local/lib/systemd/system/mmirrorfs@.service"
PAGE = "/usr/local/share/man/man8/mmirrorfs.8"
COMPLETIONS = {
    "bash": "/usr/local/share/bash-completion/completions/mmirrorfs",
    "zsh": "/usr/local/share/zsh/site-functions/_mmirrorfs",
    "fish": "/etc/fish/completions/mmirrorfs.fish",
}
"""fish looks into /usr/local where XDG_DATA_DIRS says so only."""


def install(program: str) -> None:
    """Write the manual page, the completions, and the unit for a ``program`` of this path. Raises Problem."""
    for path, content in _contents(program):
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)
        except OSError as error:
            raise Problem(f"{path} cannot be made: {error.strerror}; become root", SYSTEM) from None
        print(path, file=sys.stderr)


def uninstall() -> None:
    """Remove them. Raises Problem."""
    for path in (UNIT, PAGE, *COMPLETIONS.values()):
        try:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.unlink(path)
                print(f"{path} removed", file=sys.stderr)
        except OSError as error:
            raise Problem(f"{path} cannot be removed: {error.strerror}; become root", SYSTEM) from None


def _contents(program: str) -> Iterator[tuple[str, bytes]]:
    unit = files("mmirrorfs.cli").joinpath("mmirrorfs@.service").read_bytes()
    word = os.fsencode(f'"{program}"'.replace("%", "%%"))  # of a unit, see systemd.syntax(7)
    yield UNIT, unit.replace(b"=/usr/bin/mmirrorfs ", b"=" + word + b" ")
    yield PAGE, _printed("mmirrorfs.cli.manual")
    for shell, path in COMPLETIONS.items():
        yield path, _printed("mmirrorfs", **{VARIABLE: f"{shell}_source"})


def _printed(module: str, **environment: str) -> bytes:
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path)}  # the Debian package has its libraries where only it looks
    command = [sys.executable, "-P", "-m", module]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, check=False)
    if done.returncode:
        said = printable(os.fsdecode(done.stderr).strip())
        raise Problem(f"{module} cannot be run by {sys.executable}: {said}", SYSTEM)
    return done.stdout
