"""Which names of a source are left out. Pure."""

import fnmatch
import os
import re
from collections.abc import Iterable

from mmirrorfs.source.reader import Excluded, nothing_excluded


def excluded_by(globs: Iterable[str]) -> Excluded:
    """Whether a name matches any of the shell patterns, to the byte."""
    whole = b"|".join(os.fsencode(fnmatch.translate(glob)) for glob in globs)
    if not whole:
        return nothing_excluded
    matches = re.compile(whole).match
    return lambda name: matches(name) is not None


def excluding(globs: Iterable[str], name: bytes) -> str | None:
    """The first of the shell patterns that matches a name."""
    return next((glob for glob in globs if excluded_by([glob])(name)), None)
