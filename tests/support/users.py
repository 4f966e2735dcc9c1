"""Who runs the tests, what is installed here, and programs run as somebody else."""

import os
import shutil
import subprocess
from collections.abc import Sequence

import pytest

from tests.support.programs import ESSENTIAL, installed

NOBODY = 65534
"""The id of a user and of a group that own nothing."""
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")

WITHOUT_OVERRIDE = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
"""Root who may mount, but has to keep to modes and owners like everybody else."""

Word = str | bytes | os.PathLike[str]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user, make devices or mount")


def need(program: str) -> str:
    """The path of a program; the test is skipped, by the program's name, where it is not installed.

    Raises AssertionError for one that no script installs: then it would be skipped for ever.
    """
    assert "/" in program or program in ESSENTIAL | installed(), f"{program}: name it in scripts/lib/bootstrap.sh"
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


def run(
    *command: Word, seconds: float = 30, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a program that is installed, in the C locale, and return how it ended and what it said. Never checks it."""
    environment = {**os.environ, "LC_ALL": "C", **(environment or {})}
    program = need(os.fsdecode(command[0]))
    return subprocess.run([program, *command[1:]], capture_output=True, timeout=seconds, env=environment, check=False)


def output_of(*command: Word, seconds: float = 30) -> bytes:
    """What a program writes. Raises AssertionError, with what it complained of, when it fails."""
    done = run(*command, seconds=seconds)
    assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stderr!r} {done.stdout!r}"
    return done.stdout


def as_nobody(*command: Word) -> subprocess.CompletedProcess[bytes]:
    """Run a program as a user who is neither root nor the owner of anything."""
    words: Sequence[Word] = (*AS_NOBODY, *command)
    return run(*words)
