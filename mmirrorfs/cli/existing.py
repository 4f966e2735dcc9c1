"""What is on the mountpoints already: the same view, another one, or a dead one of ours.

A view that is there already is left alone; a dead one is taken away, so that a new one can take its place.
"""

import logging
import os
from dataclasses import replace
from functools import partial

from mmirrorfs.cli.places import ViewSettings
from mmirrorfs.cli.problem import FAILED, Problem
from mmirrorfs.cli.settings import Settings, identity
from mmirrorfs.mount import table
from mmirrorfs.text import printable

log = logging.getLogger(__name__)


def without_live_views(settings: Settings) -> Settings:
    """The settings without the views that are mounted already. Raises Problem where another view is in the place."""
    return replace(settings, views=tuple(view for view in settings.views if not _is_live(settings, view)))


def _is_live(settings: Settings, view: ViewSettings) -> bool:
    where = _place(view.mountpoint)
    if table.view_at(where) is None:
        return False
    if not table.ask(partial(table.is_alive, where)):
        log.warning("a dead view was on %s; it is replaced", printable(where))
        while table.view_at(where) is not None and table.detach(where):
            continue
        return False
    found = table.ask(partial(table.label, where, "identity"))
    if found.decode() == identity(settings, view):
        log.info("%s is mounted already", printable(where))
        return True
    raise Problem(f"another view is mounted on {printable(where)}: unmount it first (umount)", FAILED)


def _place(mountpoint: bytes) -> bytes:
    """The mountpoint without links. A dead or hung view cannot be asked, so what is mounted is found by its name."""
    above, name = os.path.split(mountpoint)
    whole = os.path.join(os.path.realpath(above), name)
    if table.view_at(whole) is not None:
        return whole
    try:
        return os.path.realpath(mountpoint, strict=True)
    except OSError:
        return mountpoint
