"""The programs that tests may run: the essential ones of Debian, and those that scripts/lib/bootstrap.sh installs."""

import functools
import re
from pathlib import Path

BOOTSTRAP = Path(__file__).parents[2] / "scripts" / "lib" / "bootstrap.sh"
LISTS = r"^(?:DEMO|TEST|SERVER)_PROGRAMS=\((.*?)^\)|^DEMO_PROGRAMS=\((.*?)\)$|\bprograms=\((.*?)\)$"

ESSENTIAL = frozenset(
    # bash, coreutils, dash, diffutils, dpkg, findutils, grep, sed, tar, util-linux, bsdutils; and apt
    (
        "apt-get",
        "bash",
        "cat",
        "cmp",
        "cp",
        "diff",
        "dpkg-deb",
        "dpkg-query",
        "env",
        "find",
        "findmnt",
        "grep",
        "id",
        "kill",
        "ls",
        "md5sum",
        "mkdir",
        "mv",
        "nsenter",
        "prlimit",
        "rm",
        "rmdir",
        "script",
        "sed",
        "setpriv",
        "setsid",
        "sh",
        "sha256sum",
        "stat",
        "stdbuf",
        "tail",
        "tar",
        "touch",
        "unshare",
    )
)
"""Programs of packages that every Debian has (dpkg's Essential: yes, and apt)."""


@functools.cache
def installed() -> frozenset[str]:
    """The programs that bootstrap.sh installs where they are missing."""
    found = re.findall(LISTS, BOOTSTRAP.read_text(), re.MULTILINE | re.DOTALL)
    return frozenset(re.findall(r"([\w.-]+):", " ".join("".join(groups) for groups in found)))
