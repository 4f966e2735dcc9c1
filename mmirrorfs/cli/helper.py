"""The helpers that mount(8) looks for, ``/sbin/mount.fuse.mmirrorfs`` and ``/sbin/mount.mmirrorfs``: links to us.

Called by one of these names, it takes mount(8)'s own words (``SOURCE MOUNTPOINT [-sfnv] [-o OPTS]``), where -f means
that nothing is to be done.
"""

import os
import sys

from mmirrorfs.cli.problem import SYSTEM, USAGE, Problem

HELPERS = ("/sbin/mount.fuse.mmirrorfs", "/sbin/mount.mmirrorfs")
NAME = "mmirrorfs"
"""What the program's file is called: a link to something of another name is not ours."""


def is_helper(program: str) -> bool:
    """Whether the program was called by mount(8)."""
    return os.path.basename(program).startswith("mount.")


def arguments(words: list[str]) -> list[str] | None:
    """The command line that a helper's words stand for; None where there is nothing to do."""
    plain: list[str] = []
    made: list[str] = []
    rest = iter(words)
    for word in rest:
        if word in ("-o", "-t", "-N"):
            value = next(rest, "")
            made += ["-o", value] if word == "-o" else []
        elif word.startswith("-o"):
            made += ["-o", word[2:]]
        elif word.startswith("-") and len(word) > 1:
            if "f" in word:
                return None
            made += ["-v"] * word.count("v")
        else:
            plain.append(word)
    return [*made, "--", *plain]


def install(program: str) -> str:
    """Make the links; returns what they lead to.

    Raises Problem where something else has their names, or ``program`` is no file to link to.
    """
    program = os.path.realpath(program)
    if os.path.basename(program) != NAME:
        raise Problem(f"--install-helper links to the program {NAME}: run that, and not python -m {NAME}", USAGE)
    for link in HELPERS:
        if os.path.lexists(link) and not _is_ours(link):
            raise Problem(f"{link} is there already and is not ours: remove it first", SYSTEM)
    for link in HELPERS:
        _remove(link)
        try:
            os.symlink(program, link)
        except OSError as error:
            raise Problem(f"{link} cannot be made: {error.strerror}; become root", SYSTEM) from None
        print(f"{link} -> {program}", file=sys.stderr)
    return program


def uninstall() -> None:
    """Remove the links, as far as they are ours."""
    for link in HELPERS:
        if os.path.lexists(link) and _is_ours(link):
            _remove(link)
            print(f"{link} removed", file=sys.stderr)


def _is_ours(link: str) -> bool:
    return os.path.islink(link) and os.path.basename(os.readlink(link)) == NAME


def _remove(link: str) -> None:
    try:
        os.unlink(link)
    except FileNotFoundError:
        return
    except OSError as error:
        raise Problem(f"{link} cannot be removed: {error.strerror}; become root", SYSTEM) from None
