"""The same calls made on two trees, each by a process of its own, and what came out: the machinery of the tables.

Rule 1: a table names calls; each is made on every subject, sensible or not, as its error has to be the same as well.
Rule 2: an outcome is the errno's name, or what the call returned; what is long is told by its size and checksum.
Rule 3: no call may wait: everything is opened with O_NONBLOCK, and SIGALRM ends the process that waits nevertheless.
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

from tests.support.users import Word

PATIENCE = 30
"""Seconds that the process has for a table."""

TOP = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Where:
    """What a call is made on. ``real`` is the same in its source, ``scratch`` a directory beside the sources."""

    path: str
    real: str
    scratch: str


Call = Callable[[Where], object]
Calls = dict[str, Call]
Outcomes = dict[tuple[str, str], str]
"""What each call gave, by its name and the subject's."""
Differing = dict[tuple[str, str], tuple[str, str]]
"""What two runs gave, where that is not the same."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A call that gives something else in a view, on these subjects and no others, and why."""

    call: str
    subjects: frozenset[str]
    why: str


def command(table: str, user: int, wheres: dict[str, Where]) -> list[Word]:
    """The command that makes the calls of ``table``, a module of this package, on each subject, as that user."""
    told = {name: [where.path, where.real, where.scratch] for name, where in wheres.items()}
    return ["env", "-C", TOP, sys.executable, "-m", "tests.support.parity", table, str(user), json.dumps(told)]


def outcomes(said: bytes) -> Outcomes:
    """What the command says."""
    return {(call, subject): outcome for call, subject, outcome in json.loads(said)}


def differing(one: Outcomes, other: Outcomes) -> Differing:
    """Where two runs of the same table do not agree, and on what."""
    assert one.keys() == other.keys()
    return {key: (one[key], other[key]) for key in one if one[key] != other[key]}


def calls_of(table: str) -> Calls:
    """The calls of a table, by their names."""
    calls: Calls = importlib.import_module(f"tests.support.{table}").CALLS
    return calls


def pairs(differences: Sequence[Difference], table: str) -> set[tuple[str, str]]:
    """The calls of a table, and the subjects, that are listed."""
    calls = calls_of(table)
    return {(item.call, subject) for item in differences for subject in item.subjects if item.call in calls}


def _outcome(call: Call, where: Where) -> str:
    try:
        return _told(call(where))
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    except ValueError as error:  # Python's own refusal
        return str(error)


def _told(value: object) -> str:
    if isinstance(value, bytes | str) and len(value) > 200:
        return f"{len(value)} long, {zlib.crc32(value.encode() if isinstance(value, str) else value):08x}"
    return repr(value)


def _become(user: int) -> None:
    """Without another program: a plain user may have no leave to run this interpreter."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def _main(table: str, user: str, told: str) -> None:
    calls = calls_of(table)
    wheres = {subject: Where(*paths) for subject, paths in json.loads(told).items()}
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
