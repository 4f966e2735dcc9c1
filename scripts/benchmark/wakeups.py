"""The cost of waking a process, which decides between single-threaded and multi-threaded filesystems.

In a virtual machine the ``haltpoll`` governor lets an idle processor poll for a while before it halts: a wake-up within
that time costs a few microseconds, a later one an exit to the hypervisor. If the parameter is writable, both conditions
are measured. A separate process restores it at the end of a pipe, even if the benchmark is killed. It also holds a
lock on the parameter: two benchmarks never change it at once.
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
    """``value`` is the parameter in ns; None leaves it unchanged, and ``note`` says why."""

    name: str
    value: int | None
    note: str = ""

    def __str__(self) -> str:
        return f"wake-ups {self.name} ({self.note or f'guest_halt_poll_ns {self.value}'})"


CHEAP, DEAR = Condition("cheap", 200_000), Condition("dear", 0)
CHOICES = {"both": (CHEAP, DEAR), "cheap": (CHEAP,), "dear": (DEAR,), "as-found": ()}


def conditions(choice: str) -> Sequence[Condition]:
    """The conditions for ``choice`` (of CHOICES). Raises BenchmarkError if a single one is impossible here."""
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
    """Yields a function that applies a condition; restores the parameter afterwards.

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
