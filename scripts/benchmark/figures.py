"""From samples to figures, and to the tables that show them. Pure.

A ratio is of times, ours by the peer's, taken within a round and then the median over the rounds: what slows the
machine down for a while slows both. Below 1, mmirrorfs is the faster one.
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
    """One peer in one run under one condition. Times are seconds for one of what the run counts; ``ratios`` are
    (median, least, greatest). ``memory`` is in bytes, the most of all rounds.
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
        """The line of a table that it is in."""
        return f"{BY_NAME[self.run].title}, {self.state}"


def rows(samples: Sequence[Sample]) -> Iterator[Row]:
    """One row for each condition, run, state and peer; in the order of conditions as they were first measured, of all
    runs, and of all peers, ours first.

    Where ours was not measured, because somebody stopped it before, there is no ratio.
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
    """Rows as text, in columns."""
    lines, last = [("run", "peer", "median", "ours/peer", "(least to greatest)", "daemon's CPU", "peak memory")], ""
    for row in rows:
        title, last = row.title if row.title != last else "", row.title
        ratio = ("", "") if row.ratios is None else (f"{row.ratios[0]:.2f}", spread(row))
        memory = "" if row.memory is None else f"{row.memory / 2**20:,.0f} MiB"
        lines.append((title, row.peer, speed(row), *ratio, processor(row), memory))
    return columns(lines, right=(2, 3, 5, 6))


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table; all columns but the first stand to the right."""
    head, *rest = lines
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *rest))


def columns(lines: Sequence[Sequence[str]], right: Sequence[int]) -> str:
    """Lines of cells, padded; those in the columns ``right`` stand to the right."""
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
    """How fast it was."""
    if row.per == "MB":
        return f"{1 / row.median:,.0f} MB/s"
    return f"{row.median * 1e3:,.1f} ms" if row.per in ("mount", "worst") else f"{row.median * 1e6:,.1f} us/{row.per}"


def spread(row: Row) -> str:
    """How far the rounds were apart; nothing where there was one."""
    return f"({row.ratios[1]:.2f} to {row.ratios[2]:.2f})" if row.ratios and len(row.rounds) > 1 else ""


def processor(row: Row) -> str:
    """The CPU time of the daemon."""
    if row.cpu is None:
        return ""
    return f"{row.cpu * 1e3:,.0f} ms" if row.per in ("mount", "worst") else f"{row.cpu * 1e6:,.1f} us/{row.per}"
