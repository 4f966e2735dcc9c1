"""The command line of the benchmark."""

import argparse
from collections.abc import Callable, Sequence

from benchmark.peers import DEFAULT, NAMES, OURS
from benchmark.runs import RUNS
from benchmark.wakeups import CHOICES

RUN_NAMES = tuple(run.name for run in RUNS)
LARGEST = 100_000_000
"""Upper bound of any number."""
MOST, WITHIN = 5, 450.0
"""Default limits: rounds, and seconds in total."""
PEER_NAMES = tuple(name for name in NAMES if name != OURS)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; exits with 2 if they are invalid."""
    parser = argparse.ArgumentParser(
        prog="bench", description="Measure mmirrorfs beside its peers, on a library made for it and removed again."
    )
    usual = [run.name for run in RUNS if run.usual]
    add = parser.add_argument
    add(
        "--rounds",
        type=_number,
        metavar="N",
        help=f"rounds (default: as many as can be had in {WITHIN / 60:g} minutes, one at least and {MOST} at most)",
    )
    add("--only", type=_names(RUN_NAMES), default=usual, metavar="RUN,...", help=_listed(RUN_NAMES, usual))
    add(
        "--peers",
        type=_names(PEER_NAMES),
        default=list(DEFAULT),
        metavar="PEER,...",
        help=_listed(PEER_NAMES, DEFAULT),
    )
    add(
        "--wake-ups",
        choices=tuple(CHOICES),
        default="both",
        help="how dear it is to wake a process: in a virtual machine where root may, guest_halt_poll_ns is written, "
        "and put back (default both)",
    )
    add("--idle", type=_number, default=75, metavar="SECONDS", help="until caches have run out (default 75)")
    add(
        "--cold",
        choices=("mount", "disk"),
        default="mount",
        help="cold is the first run on a fresh mount; with disk the kernel has forgotten the sources too (root)",
    )
    add(
        "--crawl",
        choices=("over", "meanwhile"),
        default="over",
        help="over: a run begins when mmirrorfs has crawled its sources, as hours after a start; "
        "meanwhile: it begins with the crawl",
    )
    add("--fast-path", choices=("on", "off"), default="on", help="off: mmirrorfs with pyfuse3's own request loop")
    add("--install", action="store_true", help="install the peers that are missing (scripts/bench does it, with apt)")
    add("--json", metavar="FILE", help="write all figures there too")
    add("--docs", metavar="DIR", help="write the tables into DIR/README.md and DIR/docs/performance.md")
    add("--directory", metavar="DIR", help="make the library in here instead of in the temporary directory")
    size = parser.add_argument_group("the library, for each of the two sources")
    size.add_argument("--artists", type=_number, default=60, metavar="N", help="artists (default 60)")
    size.add_argument("--albums", type=_number, default=10, metavar="N", help="albums of an artist (default 10)")
    size.add_argument("--files", type=_number, default=12, metavar="N", help="files of an album (default 12)")
    size.add_argument("--file-kib", type=_number, default=8, metavar="N", help="KiB of a file (default 8)")
    size.add_argument("--large-mib", type=_number, default=512, metavar="N", help="MiB of the large file (default 512)")
    scale = parser.add_argument_group("growth")
    scale.add_argument("--scale", action="store_true", help="measure how index, memory and latency grow; no peers")
    scale.add_argument(
        "--sizes",
        type=_numbers,
        default=[1000, 10_000, 100_000],
        metavar="N,...",
        help="folders of each source (default 1000,10000,100000)",
    )
    scale.add_argument(
        "--wide", type=_number, default=100_000, metavar="N", help="files in the one wide directory (default 100000)"
    )
    scale.add_argument("--knowing", type=_number, metavar="N", help="measure the crawl of N files, beside find")
    found = parser.parse_args(arguments)
    if not found.only:
        parser.error("--only: name a run")
    found.within = float("inf") if found.rounds else WITHIN
    found.rounds = found.rounds or MOST
    return found


def _listed(names: Sequence[str], usual: Sequence[str]) -> str:
    return f"{', '.join(names)}; by default without {', '.join(name for name in names if name not in usual)}"


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= LARGEST:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a number from 1 to {LARGEST:,}")
    return int(text)


def _numbers(text: str) -> list[int]:
    return [_number(part) for part in text.split(",")]


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        given = [name for name in text.split(",") if name]
        if unknown := [name for name in given if name not in known]:
            raise argparse.ArgumentTypeError(f"{', '.join(map(repr, unknown))}: not one of {', '.join(known)}")
        return given

    return names
