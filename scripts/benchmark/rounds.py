"""The rounds: in each, every run is made with every peer in turn, on a fresh mount, first cold and then warm."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmark.crew import BenchmarkError, Crew
from benchmark.kernel import drop_caches
from benchmark.library import LARGE, Library, read_through
from benchmark.peers import Peer, Subject
from benchmark.runs import Run

COLD, WARM = "cold", "warm"


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement: ``amount`` entries, MB or mounts took ``seconds``, and the daemon ``cpu`` seconds of its time.

    ``memory`` is the most, in bytes, that the daemon ever had; both are None where there is none.
    """

    run: str
    state: str
    peer: str
    round: int
    seconds: float
    amount: float
    cpu: float | None
    memory: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, how often, and where. ``disk`` has the kernel forget everything before each cold run,
    ``settled`` has each view at rest before its first.
    """

    runs: Sequence[Run]
    peers: Sequence[Peer]
    rounds: int
    disk: bool
    settled: bool
    place: str


def samples(plan: Plan, library: Library, say: Callable[[str], None]) -> Iterator[Sample]:
    """Measure. The order of the peers is another one in each round and run. Raises BenchmarkError."""
    step, steps = 0, plan.rounds * len(plan.runs) * len(plan.peers)
    for number in range(plan.rounds):
        for position, run in enumerate(plan.runs):
            turn = (number + position) % len(plan.peers)
            for peer in [*plan.peers[turn:], *plan.peers[:turn]]:
                step += 1
                say(f"{step} of {steps}: round {number + 1} of {plan.rounds}: {run.title}: {peer.name}")
                try:
                    yield from _measured(plan, run, peer, number, library)
                except BenchmarkError as error:
                    raise BenchmarkError(f"{run.name}, {peer.name}: {error}") from error


def _measured(plan: Plan, run: Run, peer: Peer, number: int, library: Library) -> Iterator[Sample]:
    if run.per == "MB" and not plan.disk:
        read_through(f"{library.first}/{LARGE}")
    with peer.view(library, plan.place) as subject:
        if run.jobs is None:
            if subject.seconds is not None:
                cpu, memory = _cpu(subject), _memory(subject)
                yield Sample(run.name, COLD, peer.name, number, subject.seconds, 1, cpu, memory)
            return
        if plan.settled:
            subject.settle()
        with Crew(run.jobs(subject, library)) as crew:
            for state in (COLD, WARM):
                if state == COLD and plan.disk:
                    drop_caches(3)
                before = _cpu(subject)
                seconds, amount = crew.run()
                if run.whole and amount != subject.contents.entries:
                    raise BenchmarkError(f"{amount:.0f} entries were found, not {subject.contents.entries}")
                cpu = None if before is None else (_cpu(subject) or 0) - before
                yield Sample(run.name, state, peer.name, number, seconds, amount, cpu, _memory(subject))


def _cpu(subject: Subject) -> float | None:
    return subject.daemon.cpu() if subject.daemon is not None else None


def _memory(subject: Subject) -> int | None:
    return subject.daemon.memory("VmHWM") if subject.daemon is not None else None
