"""The syntax of mount(8) and fstab: ``SOURCE:SOURCE``, ``-o OPT[,OPT...]``, and a mount helper's arguments.

Rule 1: every long option of the command is a mount option too; ``_`` and ``-`` are alike in its name.
Rule 2: options of mount(8) and of other FUSE filesystems are accepted without effect, or refused with what to use
instead. Any other unknown option is an error.

Pure: text in, values out.
"""

import difflib
import os
import re

from mmirrorfs.cli.errors import Problem
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
"""Generic options: a view is always ro, nosuid and nodev; mount(8) handles the others, or they have no effect."""

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
"""Options of other FUSE filesystems that a view has anyway, or that concern writing and its speed."""

IGNORED_VALUES = frozenset(
    ["fsname", "subtype", "max_write", "max_readahead", "max_background", "congestion_threshold", "intr_signal"]
)
"""Such options that take a value. ``fsname`` is not settable: it must be what ``mount -a`` compares with fstab."""

_IGNORED_PREFIXES = ("x-", "X-", "comment=", "context=", "fscontext=", "defcontext=", "rootcontext=")

_OWNERS = "a view shows owners and modes as they are in the sources; allow_other lets other users in"
_TIMES = "a view sees to its caches itself; say refresh=SECONDS"
REFUSED = {
    **dict.fromkeys(["uid", "gid", "umask", "fmask", "dmask"], _OWNERS),
    **dict.fromkeys(["attr_timeout", "entry_timeout", "negative_timeout", "ac_attr_timeout"], _TIMES),
    "max_read": "the kernel would end the mount; leave it out",
}
"""Options of other FUSE filesystems that change what users see, and what to use instead."""

FUSE = frozenset(["allow_other", "allow_root", "auto_unmount"])
"""Options that are passed to libfuse."""


def split(text: str, separator: str) -> list[str]:
    """The parts of ``text`` between separators; a backslash escapes a separator or a backslash."""
    parts = re.findall(rf"(?:\A|{separator})((?:\\.|[^\\{separator}]|\\\Z)*)", text, re.DOTALL)
    return [re.sub(rf"\\([\\{separator}])", r"\1", part) for part in parts]


def parse(texts: tuple[str, ...], known: frozenset[str], flags: frozenset[str]) -> tuple[list[str], frozenset[str]]:
    """Parse the values of ``-o``; returns (long options for the command line, options for libfuse).

    ``known`` are the long options by name; those in ``flags`` take no value. Raises Problem for an unknown option.
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


def is_mount_helper(program: str) -> bool:
    """Whether mount(8) runs the program, as mount.fuse.mmirrorfs or mount.mmirrorfs."""
    return os.path.basename(program).startswith("mount.")


def helper_arguments(words: list[str]) -> list[str] | None:
    """The command line for a mount helper's arguments, ``SOURCE MOUNTPOINT [-sfnv] [-o OPTS] [-t TYPE] [-N NS]``.

    None for ``-f``: mount(8) does a dry run, and nothing is to be mounted.
    """
    positionals: list[str] = []
    options: list[str] = []
    rest = iter(words)
    for word in rest:
        if word in ("-o", "-t", "-N"):
            value = next(rest, "")
            options += ["-o", value] if word == "-o" else []
        elif word.startswith("-o"):
            options += ["-o", word[2:]]
        elif word.startswith("-") and len(word) > 1:
            if "f" in word:
                return None
            options += ["-v"] * word.count("v")
        else:
            positionals.append(word)
    return [*options, "--", *positionals]
