"""From samples to figures. Pure.

A ratio is of times, ours by the peer's, taken within a round and then the median over the rounds: what slows the
machine down for a while slows both. Below 1, mmirrorfs is the faster one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from benchmark.peers import NAMES, OURS
from benchmark.rounds import Sample
from benchmark.runs import RUNS

TITLES = {run.name: run.title for run in RUNS}
PER = {run.name: run.per for run in RUNS}


@dataclass(frozen=True, slots=True)
class Row:
    """One peer in one run. Times are seconds for one entry, MB or mount; ``ratios`` are (median, least, greatest).

    ``memory`` is in bytes, the most of all rounds.
    """

    run: str
    state: str
    peer: str
    per: str
    median: float
    ratios: tuple[float, float, float] | None
    cpu: float | None
    memory: int | None
    rounds: tuple[float, ...]


def rows(samples: Sequence[Sample]) -> Iterator[Row]:
    """One row for each run, state and peer, in the order in which they were first measured, ours first.

    Where ours was not measured, because somebody stopped it before, there is no ratio.
    """
    groups: dict[tuple[str, str], dict[str, list[Sample]]] = {}
    for sample in samples:
        groups.setdefault((sample.run, sample.state), {}).setdefault(sample.peer, []).append(sample)
    for (run, state), peers in groups.items():
        for peer in sorted(peers, key=NAMES.index):
            yield _row(run, state, peer, peers[peer], peers.get(OURS, ()))


def _row(run: str, state: str, peer: str, theirs: Sequence[Sample], ours: Sequence[Sample]) -> Row:
    times = {sample.round: sample.seconds / sample.amount for sample in theirs}
    own = {sample.round: sample.seconds / sample.amount for sample in ours}
    ratios = sorted(own[number] / times[number] for number in times if number in own)
    spread = (median(ratios), ratios[0], ratios[-1]) if ratios and peer != OURS else None
    cpu = [sample.cpu / sample.amount for sample in theirs if sample.cpu is not None]
    memory = [sample.memory for sample in theirs if sample.memory is not None]
    return Row(
        run,
        state,
        peer,
        PER[run],
        median(times.values()),
        spread,
        median(cpu) if cpu else None,
        max(memory) if memory else None,
        tuple(times[number] for number in sorted(times)),
    )


def table(rows: Sequence[Row]) -> str:
    """All rows as text, in columns."""
    head = ("run", "", "peer", "median", "ours/peer", "(least to greatest)", "daemon's CPU", "peak memory")
    lines, last = [], ("", "")
    for row in rows:
        first = (TITLES[row.run], row.state) if (row.run, row.state) != last else ("", "")
        last = (row.run, row.state)
        lines.append((*first, row.peer, _speed(row), *_ratio(row), _cpu(row), _memory(row)))
    return columns([head, *lines], right=(3, 4, 6, 7))


def markdown(rows: Sequence[Row]) -> str:
    """Our own figures and the ratio to each peer, a line a run: the table in the README."""
    peers = sorted({row.peer for row in rows} - {OURS}, key=NAMES.index)
    runs: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        runs.setdefault((row.run, row.state), {})[row.peer] = row
    lines = [("run", OURS, "its CPU", *peers), ("---", *("---:" for _ in range(len(peers) + 2)))]
    for (run, state), found in runs.items():
        ratios = [_ratio(found[peer])[0] if peer in found else "" for peer in peers]
        own = (_speed(found[OURS]), _cpu(found[OURS])) if OURS in found else ("", "")
        lines.append((f"{TITLES[run]}, {state}", *own, *ratios))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


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


def _speed(row: Row) -> str:
    if row.per == "MB":
        return f"{1 / row.median:,.0f} MB/s"
    return f"{row.median * 1e3:,.0f} ms" if row.per == "mount" else f"{row.median * 1e6:,.1f} us/entry"


def _ratio(row: Row) -> tuple[str, str]:
    if row.ratios is None:
        return "", ""
    middle, least, greatest = row.ratios
    return f"{middle:.2f}", f"({least:.2f} to {greatest:.2f})" if least < greatest else ""


def _cpu(row: Row) -> str:
    if row.cpu is None:
        return ""
    return f"{row.cpu * 1e3:,.0f} ms" if row.per == "mount" else f"{row.cpu * 1e6:,.1f} us/{row.per}"


def _memory(row: Row) -> str:
    return "" if row.memory is None else f"{row.memory / 2**20:,.0f} MiB"
