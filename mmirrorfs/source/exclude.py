"""Which names of a source are excluded. Pure."""

import fnmatch
import os
import re
from collections.abc import Callable, Iterable

Excluded = Callable[[bytes], bool]
"""Whether a name is left out."""


def nothing_excluded(name: bytes) -> bool:
    """The default: every name is shown."""
    return False


def excluded_by(globs: Iterable[str]) -> Excluded:
    """A predicate: whether a name matches any of the shell patterns, byte by byte."""
    whole = b"|".join(os.fsencode(fnmatch.translate(glob)) for glob in globs)
    if not whole:
        return nothing_excluded
    matches = re.compile(whole).match
    return lambda name: matches(name) is not None


def excluding(globs: Iterable[str], name: bytes) -> str | None:
    """The first of the shell patterns that matches a name."""
    return next((glob for glob in globs if excluded_by([glob])(name)), None)
