"""Programs that tests run, as themselves or as another user, and marks for what a machine lacks."""

import os
import shutil
import subprocess
from collections.abc import Sequence

import pytest

from tests.support.programs import ESSENTIAL, installed

NOBODY = 65534
"""The uid and gid of a user who owns nothing."""
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")

WITHOUT_OVERRIDE = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
"""Root with CAP_SYS_ADMIN but subject to permission checks, like everybody else."""

Word = str | bytes | os.PathLike[str]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user, make devices or mount")


def need(program: str) -> str:
    """The path of a program. Skips the test where it is not installed.

    Raises AssertionError for a program that scripts/lib/bootstrap.sh does not install: its tests would never run.
    """
    assert "/" in program or program in ESSENTIAL | installed(), f"{program}: name it in scripts/lib/bootstrap.sh"
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


def run(
    *command: Word, seconds: float = 30, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a program in the C locale; returns its exit code and output, unchecked. Skips the test as ``need`` does."""
    environment = {**os.environ, "LC_ALL": "C", **(environment or {})}
    program = need(os.fsdecode(command[0]))
    return subprocess.run([program, *command[1:]], capture_output=True, timeout=seconds, env=environment, check=False)


def output_of(*command: Word, seconds: float = 30) -> bytes:
    """The stdout of a program. Raises AssertionError, with its stderr, when it fails."""
    done = run(*command, seconds=seconds)
    assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stderr!r} {done.stdout!r}"
    return done.stdout


def as_nobody(*command: Word) -> subprocess.CompletedProcess[bytes]:
    """Run a program as NOBODY."""
    words: Sequence[Word] = (*AS_NOBODY, *command)
    return run(*words)
