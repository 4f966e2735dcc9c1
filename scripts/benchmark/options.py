"""The command line of the benchmark."""

import argparse
from collections.abc import Callable, Sequence

from benchmark.peers import NAMES, OPTIONAL, OURS
from benchmark.runs import RUNS

RUN_NAMES = tuple(run.name for run in RUNS)
PEER_NAMES = tuple(name for name in NAMES if name != OURS)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; ends the process with 2 where they make no sense."""
    parser = argparse.ArgumentParser(
        prog="bench", description="Measure mmirrorfs beside its peers, on a library made for it and removed again."
    )
    default = [name for name in PEER_NAMES if name not in OPTIONAL]
    add = parser.add_argument
    add("--rounds", type=_number, default=5, metavar="N", help="rounds (default 5)")
    add("--only", type=_names(RUN_NAMES), default=list(RUN_NAMES), metavar="RUN,...", help=", ".join(RUN_NAMES))
    add("--peers", type=_names(PEER_NAMES), default=default, metavar="PEER,...", help=", ".join(PEER_NAMES))
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
    add("--markdown", action="store_true", help="print the short table that the README shows")
    add("--directory", metavar="DIR", help="make the library in here instead of in the temporary directory")
    size = parser.add_argument_group("the library, for each of the two sources")
    size.add_argument("--artists", type=_number, default=200, metavar="N", help="artists (default 200)")
    size.add_argument("--albums", type=_number, default=10, metavar="N", help="albums of an artist (default 10)")
    size.add_argument("--files", type=_number, default=11, metavar="N", help="files of an album (default 11)")
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
    return parser.parse_args(arguments)


def _number(text: str) -> int:
    number = int(text.replace("_", ""))
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _numbers(text: str) -> list[int]:
    return [_number(part) for part in text.split(",")]


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        given = [name for name in text.split(",") if name]
        if unknown := [name for name in given if name not in known]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(known)}")
        return given

    return names
