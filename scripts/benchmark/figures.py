"""Turns samples into figures and tables. Pure.

A ratio is our time divided by the peer's, within a round; then the median over the rounds is taken: a temporary
slowdown of the machine affects both. Below 1, mmirrorfs is faster.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from benchmark.peers import NAMES, OURS
from benchmark.rounds import Sample
from benchmark.runs import RUNS, Run

BY_NAME: dict[str, Run] = {run.name: run for run in RUNS}


@dataclass(frozen=True, slots=True)
class Row:
    """One peer in one run under one condition. Times are seconds per unit of the run; ``ratios`` are
    (median, least, greatest). ``memory`` is the peak of all rounds in bytes.
    """

    condition: str
    run: str
    state: str
    peer: str
    per: str
    median: float
    ratios: tuple[float, float, float] | None
    cpu: float | None
    memory: int | None
    rounds: tuple[float, ...]

    @property
    def title(self) -> str:
        """Its line in a table."""
        return f"{BY_NAME[self.run].title}, {self.state}"


def rows(samples: Sequence[Sample]) -> Iterator[Row]:
    """One row per condition, run, state and peer: ordered by first measurement of the condition, then by run and peer,
    ours first.

    If ours was not measured because the benchmark was stopped, there is no ratio.
    """
    conditions, runs = list(dict.fromkeys(sample.condition for sample in samples)), list(BY_NAME)
    groups: dict[tuple[int, int, str], dict[str, list[Sample]]] = {}
    for sample in samples:
        group = conditions.index(sample.condition), runs.index(sample.run), sample.state
        groups.setdefault(group, {}).setdefault(sample.peer, []).append(sample)
    for group in sorted(groups, key=lambda group: group[:2]):
        peers = groups[group]
        for peer in sorted(peers, key=NAMES.index):
            yield _row(peers[peer], peers.get(OURS, ()))


def _row(theirs: Sequence[Sample], ours: Sequence[Sample]) -> Row:
    first = theirs[0]
    times = {sample.round: sample.seconds / sample.amount for sample in theirs}
    own = {sample.round: sample.seconds / sample.amount for sample in ours}
    ratios = sorted(own[number] / times[number] for number in times if number in own)
    cpu = [sample.cpu / sample.amount for sample in theirs if sample.cpu is not None]
    memory = [sample.memory for sample in theirs if sample.memory is not None]
    return Row(
        first.condition,
        first.run,
        first.state,
        first.peer,
        BY_NAME[first.run].per,
        median(times.values()),
        (median(ratios), ratios[0], ratios[-1]) if ratios and first.peer != OURS else None,
        median(cpu) if cpu else None,
        max(memory) if memory else None,
        tuple(times[number] for number in sorted(times)),
    )


def table(rows: Sequence[Row]) -> str:
    """The rows as text in columns."""
    lines, last = [("run", "peer", "median", "ours/peer", "(least to greatest)", "daemon's CPU", "peak memory")], ""
    for row in rows:
        title, last = row.title if row.title != last else "", row.title
        ratio = ("", "") if row.ratios is None else (f"{row.ratios[0]:.2f}", spread(row))
        memory = "" if row.memory is None else f"{row.memory / 2**20:,.0f} MiB"
        lines.append((title, row.peer, speed(row), *ratio, processor(row), memory))
    return columns(lines, right=(2, 3, 5, 6))


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are right-aligned."""
    head, *rest = lines
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *rest))


def columns(lines: Sequence[Sequence[str]], right: Sequence[int]) -> str:
    """Lines of padded cells; the columns ``right`` are right-aligned."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = []
    for line in lines:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        text.append("  ".join(cells).rstrip())
    return "\n".join(text)


def speed(row: Row) -> str:
    """The speed, with its unit."""
    if row.per == "MB":
        return f"{1 / row.median:,.0f} MB/s"
    return f"{row.median * 1e3:,.1f} ms" if row.per in ("mount", "worst") else f"{row.median * 1e6:,.1f} us/{row.per}"


def spread(row: Row) -> str:
    """The range over the rounds; empty for a single one."""
    return f"({row.ratios[1]:.2f} to {row.ratios[2]:.2f})" if row.ratios and len(row.rounds) > 1 else ""


def processor(row: Row) -> str:
    """The CPU time of the daemon, with its unit."""
    if row.cpu is None:
        return ""
    return f"{row.cpu * 1e3:,.0f} ms" if row.per in ("mount", "worst") else f"{row.cpu * 1e6:,.1f} us/{row.per}"
