"""Runs the whole benchmark: library, peers, rounds, report."""

import argparse
import contextlib
import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

from benchmark import changing, docs, figures, knowing, library, peers, runs, scale, wakeups
from benchmark.crew import BenchmarkError
from benchmark.machine import machine, versions
from benchmark.options import parse
from benchmark.place import Stopped, workplace
from benchmark.rounds import Plan, Sample, samples
from benchmark.words import words

Report = dict[str, object]
INCOMPLETE = "INCOMPLETE"
"""The header line that says why not everything was measured."""

COLD = {
    "mount": "the first run on a fresh mount: nothing in the mount's own caches (of the file that is read they are "
    "dropped besides, by posix_fadvise), the sources in memory; for bare and symlinks cold is as warm",
    "disk": "the first run on a fresh mount, after drop_caches 3: the kernel has forgotten the sources too",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; returns the exit code."""
    options = parse(arguments)
    try:
        _check(options)
        with workplace(options.directory) as place:
            (_knowing if options.knowing else _scale if options.scale else _compare)(options, place)
    except (BenchmarkError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except Stopped as stop:
        print(f"bench: {stop}", file=sys.stderr)
        return stop.code
    return 0


def _check(options: argparse.Namespace) -> None:
    """Check early what would fail late. Raises BenchmarkError and OSError."""
    if options.cold == "disk" and not scale.can_drop():
        raise BenchmarkError("--cold disk: only root can have the kernel forget what it read")
    if options.docs:
        docs.check(options.docs)
    if options.json:
        open(options.json, "a").close()


def _say() -> Callable[[str], None]:
    """Show progress: one line per step, overwritten and cut to the width on a terminal."""
    if not sys.stderr.isatty():
        return lambda text: print(f"bench: {text}", file=sys.stderr, flush=True) if text else None
    width = shutil.get_terminal_size().columns - 1
    return lambda text: print(f"\r\033[K{text[:width]}", end="", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _shown(options: argparse.Namespace, header: dict[str, str], show: Callable[[], Report]) -> Iterator[None]:
    """Print the results when the block ends; marked as incomplete if it ends early."""
    try:
        yield
    except BaseException as error:
        header[INCOMPLETE] = str(error) or type(error).__name__
        raise
    finally:
        _say()("")
        _print_header(header)
        report = {"incomplete": INCOMPLETE in header, "header": header, **show()}
        sys.stdout.flush()
        if options.json:
            with open(options.json, "w") as file:
                json.dump(report, file, indent=1)


def _compare(options: argparse.Namespace, place: str) -> None:
    say = _say()
    header = machine(place)
    conditions = wakeups.conditions(options.wake_ups)
    header["wake-ups"] = "; ".join(map(str, conditions))
    say("making the library")
    size = library.Size(options.artists, options.albums, options.files, options.file_kib << 10, options.large_mib << 20)
    made = library.make(place, size)
    say("trying the peers")
    wanted = [peer for peer in peers.everybody(options.fast_path == "on") if peer.name in (peers.OURS, *options.peers)]
    present, left_out = peers.available(wanted, made, place)
    possible, not_possible = runs.available([run for run in runs.RUNS if run.name in options.only], place)
    left_out.update(not_possible)
    programs = {peer.program: peer.version for peer in present if peer.program}
    header.update(versions({**programs, **{run.name: run.version for run in possible if run.version}}))
    header["library"] = _described(made)
    header["cold"] = COLD[options.cold]
    header["caches run out"] = f"in {options.idle} s without a request"
    header["crawl"] = "over before each run" if options.crawl == "over" else "under way in the first run on each mount"
    header["request loop"] = "polls first" if options.fast_path == "on" else "plain (--fast-path off)"
    header.update({f"left out: {name}": why for name, why in left_out.items()})
    taken: list[Sample] = []
    disk, settled = options.cold == "disk", options.crawl == "over"
    plan = Plan(possible, present, conditions, options.rounds, options.within, disk, settled, options.idle, place)
    with (
        _shown(options, header, lambda: _show_rows(options, header, left_out, taken)),
        wakeups.changing(conditions, say) as bring_about,
        contextlib.closing(samples(plan, made, bring_about, say)) as measured,
    ):
        for sample in measured:
            taken.append(sample)
            header["rounds"] = str(sample.round + 1)


def _show_rows(
    options: argparse.Namespace, header: dict[str, str], left_out: dict[str, str], taken: Sequence[Sample]
) -> Report:
    rows = list(figures.rows(taken))
    for condition in dict.fromkeys(row.condition for row in rows):
        print(f"Wake-ups {condition}\n\n{figures.table([row for row in rows if row.condition == condition])}\n")
    print("ours/peer: times, within each round, the median of the rounds; below 1 mmirrorfs is the faster one.")
    for title, lines in words(rows):
        print(f"\n{title}:")
        for line in lines:
            print(textwrap.fill(line, 118, initial_indent="  ", subsequent_indent="    "))
    if options.docs and INCOMPLETE not in header:
        docs.write(options.docs, header, rows)
    return {"left_out": left_out, "rows": [asdict(row) for row in rows]}


def _described(made: library.Library) -> str:
    size = made.size
    return (
        f"two sources of {size.artists:,} artists x {size.albums} albums x {size.files} files "
        f"of {size.file_bytes >> 10} KiB, overlapping by half: {len(made.both.tracks):,} files in the view; "
        f"one more file of {size.large_bytes >> 20:,} MiB. bare and bindfs show the first source alone"
    )


def _knowing(options: argparse.Namespace, place: str) -> None:
    header = machine(place)
    header["cold"] = "after drop_caches 3" if options.cold == "disk" else "everything is in memory"
    rounds: list[knowing.Knowing] = []

    def show() -> Report:
        print("\n".join(knowing.lines(rounds)))
        return {"rows": [asdict(one) for one in rounds]}

    with _shown(options, header, show):
        for one in knowing.measure(place, options.knowing, options.rounds, options.cold == "disk", _say()):
            rounds.append(one)


def _scale(options: argparse.Namespace, place: str) -> None:
    say = _say()
    header = machine(place)
    header.update(versions({}))
    header["cold"] = "after drop_caches 2" if scale.can_drop() else "left out: only root can have the kernel forget"
    header["rounds"] = str(options.rounds)
    scales: list[scale.Scale] = []
    pauses: list[scale.Pause] = []
    changes: list[changing.Costs] = []
    with _shown(options, header, lambda: _show_scale(scales, pauses, changes, options.wide)):
        for asked in options.sizes:
            scale.measure(place, asked, options.rounds, say, scales)
        for pause in scale.pauses(place, options.wide, options.rounds, say):
            pauses.append(pause)
        for costs in changing.wide(place, options.wide, options.rounds, say):
            changes.append(costs)


def _show_scale(
    scales: Sequence[scale.Scale], pauses: Sequence[scale.Pause], changes: Sequence[changing.Costs], wide: int
) -> Report:
    print(figures.columns(list(scale.lines(scales)), right=range(1, len(scales) + 1)))
    print(f"\nOne directory of {wide:,} files listed, and a file of the other source statted all the while:")
    for number, pause in enumerate(pauses):
        print(
            f"    round {number + 1}: the longest stat took {pause.beside * 1e3:,.1f} ms "
            f"({pause.alone * 1e3:,.1f} ms with nothing beside it), the listing {pause.listing * 1e3:,.0f} ms"
        )
    print("\n" + "\n".join(changing.lines(wide, changes)))
    return {
        "sizes": [asdict(one) for one in scales],
        "pauses": [asdict(one) for one in pauses],
        "changes": [asdict(one) for one in changes],
    }


def _print_header(header: dict[str, str]) -> None:
    width = max(map(len, header))
    for label, text in header.items():
        print(f"{label.ljust(width)}  {text}")
    print()
