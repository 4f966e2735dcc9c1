"""Whether the last path is a source, where ``--output-high`` or ``--output-low`` leaves no room for a MOUNTPOINT."""

import logging
from functools import partial

from mmirrorfs.cli.places import ALL_SOURCES, Named
from mmirrorfs.cli.problem import FAILED, Problem
from mmirrorfs.mount import table
from mmirrorfs.source.reader import names_in
from mmirrorfs.text import printable

log = logging.getLogger(__name__)

_MISSING, _EMPTY = b"missing", b"empty"


def check_last(sources: tuple[Named, ...]) -> None:
    """Raise Problem where it is not there, warn where it is empty: so a mountpoint looks, and a source seldom.

    An empty one may be a source all the same, a disk that is not mounted yet.
    """
    last = sources[-1]
    state = table.ask(partial(_state, last.path))
    if state == _MISSING:
        raise Problem(f"source {printable(last.path)} does not exist: {ALL_SOURCES}", FAILED)
    if state == _EMPTY and len(sources) > 2:
        log.warning("%s is empty: is it a source? %s", printable(last.path), ALL_SOURCES)


def _state(path: bytes) -> bytes:
    """A question: what is there; nothing where that cannot be told."""
    try:
        return b"" if names_in(path) else _EMPTY
    except FileNotFoundError:
        return _MISSING
