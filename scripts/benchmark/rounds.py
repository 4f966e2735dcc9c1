"""The rounds: in each, every run is done with every peer on a fresh mount, under each condition."""

import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace

from benchmark.crew import BenchmarkError, Crew
from benchmark.kernel import drop_caches
from benchmark.library import LARGE, Library, read_through
from benchmark.peers import Peer, Subject
from benchmark.runs import COLD, Run
from benchmark.wakeups import Condition

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement: ``amount`` units of the run took ``seconds``, and ``cpu`` seconds of the daemon's CPU time.

    ``condition`` is its name. ``memory`` is the daemon's peak in bytes; both are None without a daemon.
    """

    condition: str
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
    """What to measure, how often, and where. ``disk`` drops the kernel's caches before each cold run, ``settled`` waits
    for each view to settle before its first. ``idle`` is the seconds for which a mount idles before a late state.
    ``rounds`` is the maximum: no round starts that would not end ``within`` so many seconds.
    """

    runs: Sequence[Run]
    peers: Sequence[Peer]
    conditions: Sequence[Condition]
    rounds: int
    within: float
    disk: bool
    settled: bool
    idle: float
    place: str


@dataclass(frozen=True, slots=True)
class Step:
    """One run with one peer under one condition, in one round."""

    round: int
    condition: Condition
    run: Run
    peer: Peer

    def __str__(self) -> str:
        return f"wake-ups {self.condition.name}: {self.run.title}: {self.peer.name}"


@dataclass(frozen=True, slots=True)
class Session:
    """A step in progress: the view is mounted, the workers are prepared."""

    plan: Plan
    step: Step
    subject: Subject
    crew: Crew | None

    def measured(self, states: Sequence[str]) -> Iterator[Sample]:
        """Measure once for each state. Raises BenchmarkError."""
        for state in states:
            if state == COLD and self.plan.disk and self.crew is not None:
                drop_caches(3)
            before = self.subject.daemon.cpu() if self.subject.daemon is not None else None
            seconds, amount = self._ran()
            yield self._sample(state, seconds, amount, before)

    def _ran(self) -> tuple[float, float]:
        if self.crew is None:
            assert self.subject.seconds is not None
            return self.subject.seconds, 1
        seconds, amount = self.crew.run()
        if self.step.run.whole and amount != self.subject.contents.entries:
            raise BenchmarkError(f"{amount:.0f} entries were found, not {self.subject.contents.entries}")
        return seconds, amount

    def _sample(self, state: str, seconds: float, amount: float, before: float | None) -> Sample:
        step, daemon = self.step, self.subject.daemon
        sample = Sample(
            step.condition.name, step.run.name, state, step.peer.name, step.round, seconds, amount, None, None
        )
        if daemon is None or before is None:
            return sample
        return replace(sample, cpu=daemon.cpu() - (before if self.crew else 0), memory=daemon.memory("VmHWM"))


def samples(
    plan: Plan, library: Library, bring_about: Callable[[Condition], None], say: Say
) -> Generator[Sample, None, None]:
    """Measure; ``bring_about`` changes the condition. Raises BenchmarkError.

    Runs with a late state start first in each round; the other runs fill the idle time of their mounts.
    """
    started = time.monotonic()
    for number in range(plan.rounds):
        if number and (time.monotonic() - started) * (number + 1) / number > plan.within:
            return
        yield from _round(plan, number, library, bring_about, say)


def _round(
    plan: Plan, number: int, library: Library, bring_about: Callable[[Condition], None], say: Say
) -> Iterator[Sample]:
    late, others = list(_steps(plan, number, True)), list(_steps(plan, number, False))
    progress = _Progress(bring_about, say, 2 * len(late) + len(others))
    with contextlib.ExitStack() as stack:
        idle: list[tuple[Session, float]] = []
        for step in late:
            with progress.at(step):
                session = stack.enter_context(_session(plan, step, library))
                yield from session.measured(step.run.states)
                idle.append((session, time.monotonic() + plan.idle))
        for step in others:
            with progress.at(step), _session(plan, step, library) as session:
                yield from session.measured(step.run.states)
        for session, until in idle:
            if (seconds := until - time.monotonic()) > 0:
                say(f"waiting {seconds:.0f} s, for caches to run out")
                time.sleep(seconds)
            with progress.at(session.step):
                yield from session.measured([session.step.run.late or ""])


def _steps(plan: Plan, number: int, late: bool) -> Iterator[Step]:
    """The steps of one round. The order of peers and conditions varies by round and run."""
    for condition in plan.conditions[:: -1 if number % 2 else 1]:
        for position, run in enumerate(plan.runs):
            if (run.late is not None) == late:
                turn = (number + position) % len(plan.peers)
                for peer in [*plan.peers[turn:], *plan.peers[:turn]]:
                    if _fits(run, peer):
                        yield Step(number, condition, run, peer)


def _fits(run: Run, peer: Peer) -> bool:
    return (peer.starts or run.jobs is not None) and (peer.unites or run.stage is None)


@contextlib.contextmanager
def _session(plan: Plan, step: Step, library: Library) -> Iterator[Session]:
    run = step.run
    with contextlib.ExitStack() as stack:
        if run.stage is not None:
            library = stack.enter_context(run.stage(library, plan.place))
        if run.per == "MB" and not plan.disk:
            read_through(f"{library.first}/{LARGE}")
        subject = stack.enter_context(step.peer.view(library, plan.place))
        if run.jobs is None:
            yield Session(plan, step, subject, None)
            return
        if plan.settled:
            subject.settle()
        crew = stack.enter_context(Crew(run.jobs(subject, library), run.worker))
        yield Session(plan, step, subject, crew)


class _Progress:
    """Shows the current step and the estimated rest of the round; applies the step's condition."""

    def __init__(self, bring_about: Callable[[Condition], None], say: Say, steps: int) -> None:
        self._bring_about = bring_about
        self._say, self._steps = say, steps
        self._done, self._started = 0, time.monotonic()

    @contextlib.contextmanager
    def at(self, step: Step) -> Iterator[None]:
        left = ""
        if self._done:
            seconds = (time.monotonic() - self._started) / self._done * (self._steps - self._done)
            left = f", about {int(seconds) // 60}:{int(seconds) % 60:02} left"
        self._say(f"round {step.round + 1}, {self._done + 1} of {self._steps}{left}: {step}")
        self._bring_about(step.condition)
        try:
            yield
        except BenchmarkError as error:
            raise BenchmarkError(f"{step.run.name}, {step.peer.name}: {error}") from error
        self._done += 1
