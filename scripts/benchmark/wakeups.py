"""How dear it is to wake a process, which decides between one-threaded and many-threaded filesystems.

In a virtual machine the ``haltpoll`` governor lets an idle processor poll for a while before it halts: a wake-up within
that time costs a few microseconds, one after it an exit to the hypervisor. Where the parameter can be written both
conditions are measured. It is put back by a process of its own, which waits for the end of a pipe: so it is also put
back when the benchmark is killed. That process holds a lock on the parameter: two benchmarks never change it at once.
"""

import contextlib
import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmark.crew import BenchmarkError

PARAMETER = "/sys/module/haltpoll/parameters/guest_halt_poll_ns"


@dataclass(frozen=True, slots=True)
class Condition:
    """``value`` is what the parameter is set to, in ns; None leaves it as it is, and ``note`` says why."""

    name: str
    value: int | None
    note: str = ""

    def __str__(self) -> str:
        return f"wake-ups {self.name} ({self.note or f'guest_halt_poll_ns {self.value}'})"


CHEAP, DEAR = Condition("cheap", 200_000), Condition("dear", 0)
CHOICES = {"both": (CHEAP, DEAR), "cheap": (CHEAP,), "dear": (DEAR,), "as-found": ()}


def conditions(choice: str) -> Sequence[Condition]:
    """What ``choice`` (of CHOICES) means here. Raises BenchmarkError for a single condition that cannot be had."""
    wanted = CHOICES[choice]
    if not wanted:
        return (_as_found("left as it is"),)
    try:
        os.close(os.open(PARAMETER, os.O_WRONLY))
    except OSError as error:
        why = f"it cannot be written: {error.strerror}"
        if choice != "both":
            raise BenchmarkError(f"--wake-ups {choice}: {PARAMETER}: {why}") from None
        return (_as_found(why),)
    return wanted


def _as_found(why: str) -> Condition:
    try:
        with open(PARAMETER) as file:
            found = f"guest_halt_poll_ns {file.read().strip()}"
    except OSError:
        found, why = "no guest_halt_poll_ns", "the machine's own idle states decide"
    return Condition("as found", None, f"{found}; {why}")


@contextlib.contextmanager
def changing(wanted: Sequence[Condition], say: Callable[[str], None]) -> Iterator[Callable[[Condition], None]]:
    """Gives a function that brings a condition about; afterwards the parameter is as it was.

    Waits while another benchmark changes it.
    """
    if all(condition.value is None for condition in wanted):
        yield lambda condition: None
        return
    with open(PARAMETER, "r+", buffering=1) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting: another benchmark is changing {PARAMETER}")
            fcntl.flock(file, fcntl.LOCK_EX)
        before = file.read().strip()
        words = ["sh", "-c", 'cat >/dev/null; echo "$1"', "sh", before]
        keeper = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=file, start_new_session=True)
    try:
        yield _set
    finally:
        keeper.communicate()


def _set(condition: Condition) -> None:
    with open(PARAMETER, "w") as file:
        file.write(str(condition.value))
