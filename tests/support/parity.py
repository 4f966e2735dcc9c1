"""Runs tables of system calls on a view and on the plain folder, in a process each, and compares the outcomes.

1. A table has named calls. Each is made on every subject, sensible or not: errors must be equal, too.
2. An outcome is the name of the errno, or what the call returned; long data is replaced by its size and checksum.
3. No call may block: everything is opened with O_NONBLOCK, and SIGALRM ends a process that blocks regardless.
"""

import errno
import importlib
import json
import os
import signal
import sys
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 30
"""Time limit of the process, in seconds for a table."""

TOP = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Where:
    """A subject. ``real`` is its path in the source, ``scratch`` a directory next to the sources."""

    path: str
    real: str
    scratch: str


Call = Callable[[Where], object]
Calls = dict[str, Call]
Outcomes = dict[tuple[str, str], str]
"""The outcome of each call, by the names of call and subject."""
Differing = dict[tuple[str, str], tuple[str, str]]
"""The outcomes of two runs where they differ."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A call whose outcome differs in a view, on exactly these subjects, and why."""

    call: str
    subjects: frozenset[str]
    why: str


def command(table: str, user: int, wheres: dict[str, Where]) -> list[str]:
    """The command that makes the calls of ``table``, a module of this package, on each subject, as a user."""
    subjects = {name: [where.path, where.real, where.scratch] for name, where in wheres.items()}
    return [
        "env",
        "-C",
        os.fspath(TOP),
        sys.executable,
        "-m",
        "tests.support.parity",
        table,
        str(user),
        json.dumps(subjects),
    ]


def outcomes(said: bytes) -> Outcomes:
    """The outcomes, from the command's output."""
    return {(call, subject): outcome for call, subject, outcome in json.loads(said)}


def differing(one: Outcomes, other: Outcomes) -> Differing:
    """The differences between two runs of the same table."""
    assert one.keys() == other.keys()
    return {key: (one[key], other[key]) for key in one if one[key] != other[key]}


def calls_of(table: str) -> Calls:
    """The calls of a table, by name."""
    calls: Calls = importlib.import_module(f"tests.support.{table}").CALLS
    return calls


def pairs(differences: Sequence[Difference], table: str) -> set[tuple[str, str]]:
    """The calls and subjects of the listed differences."""
    calls = calls_of(table)
    return {(item.call, subject) for item in differences for subject in item.subjects if item.call in calls}


def _outcome(call: Call, where: Where) -> str:
    try:
        return _shortened(call(where))
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    except ValueError as error:  # Python's own refusal
        return str(error)


def _shortened(value: object) -> str:
    if isinstance(value, bytes | str) and len(value) > 200:
        return f"{len(value)} long, {zlib.crc32(value.encode() if isinstance(value, str) else value):08x}"
    return repr(value)


def _become(user: int) -> None:
    """Change the user in this process: a plain user may not be allowed to run this interpreter."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def _main(table: str, user: str, subjects: str) -> None:
    calls = calls_of(table)
    wheres = {subject: Where(*paths) for subject, paths in json.loads(subjects).items()}
    signal.alarm(PATIENCE)
    signal.signal(signal.SIGIO, signal.SIG_IGN)  # a lease that is broken, an O_ASYNC descriptor
    if int(user) != os.geteuid():
        _become(int(user))
    found = [
        (title, subject, _outcome(call, where)) for title, call in calls.items() for subject, where in wheres.items()
    ]
    print(json.dumps(found))


if __name__ == "__main__":
    _main(*sys.argv[1:])
