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
        "nosymfollow",
    ]
)
"""Generic words: a view is always ro, nosuid and nodev, and the others mean nothing to it or are done by mount(8)."""

IGNORED_OF_FUSE = frozenset(
    [
        "default_permissions",
        "use_ino",
        "readdir_ino",
        "noforget",
        "kernel_cache",
        "auto_cache",
        "noauto_cache",
        "direct_io",
        "hard_remove",
        "intr",
        "big_writes",
        "large_read",
        "async_read",
        "sync_read",
        "atomic_o_trunc",
        "writeback_cache",
        "splice_read",
        "splice_write",
        "splice_move",
        "no_splice_read",
        "no_splice_write",
        "no_splice_move",
    ]
)
"""Words that lines for other FUSE filesystems have: a view is so anyway, or they are about writing and its speed."""

IGNORED_VALUES = frozenset(
    ["fsname", "subtype", "max_write", "max_readahead", "max_background", "congestion_threshold", "intr_signal"]
)
"""Such words that take a value. The source field of the mount table is what it must be for ``mount -a``."""

_IGNORED_PREFIXES = ("x-", "X-", "comment=", "context=", "fscontext=", "defcontext=", "rootcontext=")

_OWNERS = "a view shows owners and modes as they are in the sources; allow_other lets other users in"
_TIMES = "a view sees to its caches itself; say refresh=SECONDS"
REFUSED = {
    **dict.fromkeys(["uid", "gid", "umask", "fmask", "dmask"], _OWNERS),
    **dict.fromkeys(["attr_timeout", "entry_timeout", "negative_timeout", "ac_attr_timeout"], _TIMES),
    "max_read": "the kernel would end the mount; leave it out",
}
"""Words of other FUSE filesystems that somebody would miss, and what there is in their place."""

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
        if word in IGNORED | IGNORED_OF_FUSE or word.startswith(_IGNORED_PREFIXES):
            continue
        if equals and name in IGNORED_VALUES:
            continue
        if word.replace("-", "_") in FUSE:
            fuse.add(word.replace("-", "_"))
        elif long in known and bool(equals) != (long in flags):
            options.append(f"--{long}={value}" if equals else f"--{long}")
        elif long in known:
            raise Problem(f"-o {printable(word)}: {long} takes {'no' if long in flags else 'a'} value")
        elif name in REFUSED:
            raise Problem(f"-o {printable(word)}: not possible: {REFUSED[name]}")
        else:
            raise Problem(f"-o {printable(word)}: unknown option{_hint(long, known | FUSE)}")
    return options, frozenset(fuse)


def _hint(name: str, known: frozenset[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {near[0]}?" if near else ""
