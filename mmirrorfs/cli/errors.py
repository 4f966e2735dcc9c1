"""The errors of the command line: one exception, and what every exception becomes: a line on stderr and an exit code.

Rule 1: the exit codes are those of mount(8).
Rule 2: ``exit_code`` alone turns exceptions into messages. An exception that it does not name is a bug, and leaves a
traceback.
"""

import errno
import os
import sys
from collections.abc import Callable

import click

from mmirrorfs.mount.log import print_error
from mmirrorfs.text import printable

USAGE, SYSTEM, INTERRUPTED, FAILED = 1, 2, 8, 32

REINSTALL = (
    "install fuse3 and libfuse3-dev, then pip install --force-reinstall --no-cache-dir --no-binary pyfuse3 pyfuse3"
)
"""Advice for a pyfuse3 that cannot be loaded, or was built for another libfuse."""


class Problem(Exception):
    """A user's mistake or a failure, in one line that also says what to do. ``code`` is the exit code."""

    def __init__(self, message: str, code: int = USAGE) -> None:
        super().__init__(message)
        self.code = code


def exit_code(call: Callable[[], int]) -> int:
    """Run ``call``; returns its exit code, or that of its exception after printing one line on stderr."""
    try:
        return call()
    except Problem as problem:
        return say(str(problem), problem.code)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        return say(f"{printable(error.format_message())} (see mmirrorfs --help)", USAGE)
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return SYSTEM
    except ImportError as error:
        return say(f"{error}: pyfuse3 or libfuse is missing, or they do not fit; {REINSTALL}", SYSTEM)
    except OSError as error:
        _discard_output()
        return say(os.strerror(error.errno or errno.EIO), SYSTEM)


def _discard_output() -> None:
    """Drop buffered output that cannot be written: Python would flush it again at exit, and exit with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def say(message: str, code: int) -> int:
    """Print a line on stderr; returns ``code``."""
    print_error(message)
    return code
