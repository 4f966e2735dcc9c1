"""The words of mount(8) and fstab: ``SOURCE:SOURCE`` and ``-o OPT[,OPT...]``. Pure: text in, values out."""

import difflib
import re

from mmirrorfs.cli.problem import Problem
from mmirrorfs.text import printable

IGNORED = frozenset(
    [
        "ro",
        "rw",
        "defaults",
        "auto",
        "noauto",
        "user",
        "nouser",
        "users",
        "owner",
        "group",
        "nofail",
        "_netdev",
        "exec",
        "noexec",
        "suid",
        "nosuid",
        "dev",
        "nodev",
        "atime",
        "noatime",
        "diratime",
        "nodiratime",
        "relatime",
        "norelatime",
        "strictatime",
        "nostrictatime",
        "lazytime",
        "nolazytime",
        "sync",
        "async",
        "dirsync",
        "silent",
        "loud",
        "mand",
        "nomand",
        "iversion",
        "noiversion",
        "remount_ro",
        "nonempty",
    ]
)
"""Generic words: a view is always ro, nosuid and nodev, and the others mean nothing to it or are done by mount(8)."""

_IGNORED_PREFIXES = ("x-", "X-", "comment=", "context=", "fscontext=", "defcontext=", "rootcontext=")

FUSE = frozenset(["allow_other", "allow_root", "auto_unmount"])
"""Words that are handed on to libfuse."""


def split(text: str, separator: str) -> list[str]:
    """The parts of ``text`` between separators; a backslash before one takes its meaning away."""
    parts = re.findall(rf"(?:\A|{separator})((?:\\.|[^\\{separator}]|\\\Z)*)", text, re.DOTALL)
    return [re.sub(rf"\\([\\{separator}])", r"\1", part) for part in parts]


def parse(texts: tuple[str, ...], known: frozenset[str], flags: frozenset[str]) -> tuple[list[str], frozenset[str]]:
    """What ``-o`` says, as (long options for the command line, words for libfuse).

    ``known`` are the long options by name, those in ``flags`` take no value. Raises Problem for an unknown word.
    """
    options: list[str] = []
    fuse: set[str] = set()
    for word in (word for text in texts for word in split(text, ",") if word):
        name, equals, value = word.partition("=")
        long = name.replace("_", "-")
        if word == "remount":
            raise Problem(
                "remount is not possible: unmount the view and mount it again; the sources refresh by themselves"
            )
        if word in IGNORED or word.startswith(_IGNORED_PREFIXES):
            continue
        if word.replace("-", "_") in FUSE:
            fuse.add(word.replace("-", "_"))
        elif long in known and bool(equals) != (long in flags):
            options.append(f"--{long}={value}" if equals else f"--{long}")
        elif long in known:
            raise Problem(f"-o {printable(word)}: {long} takes {'no' if long in flags else 'a'} value")
        else:
            raise Problem(f"-o {printable(word)}: unknown option{_hint(long, known | FUSE)}")
    return options, frozenset(fuse)


def _hint(name: str, known: frozenset[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {near[0]}?" if near else ""
