"""The header of the report: the machine and the versions."""

import contextlib
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from benchmark.kernel import filesystem_of


def machine(place: str) -> dict[str, str]:
    """The machine, as label and text; ``place`` is the directory of the library."""
    return {
        "machine": f"{len(os.sched_getaffinity(0))} cores ({_processor()}), {_memory()}",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "library on": filesystem_of(place),
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "user": "root" if os.geteuid() == 0 else "not root",
        "time": time.strftime("%Y-%m-%d %H:%M %Z"),
    }


def versions(programs: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The versions of mmirrorfs, its dependencies and the other programs, by name, as printed by their commands."""
    own = _output([sys.executable, "-m", "mmirrorfs", "--version"]).splitlines()
    found = dict(line.split(" ", 1) for line in own if " " in line)
    for name, command in programs.items():
        number = re.search(r"\d+(\.\d+)+", _output(command))
        found[name] = number[0] if number else "unknown"
    return found


def _output(command: Sequence[str]) -> str:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
        return done.stdout + done.stderr
    return ""


def _processor() -> str:
    with open("/proc/cpuinfo") as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return names[0] if names else "unknown"


def _memory() -> str:
    return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB of memory"
