"""What is on the mountpoints already: the same view, another one, or a dead one of ours.

A view that is there already is left alone, also one that does not answer; a dead one is taken away, so that a new one
can take its place.
"""

import contextlib
import logging
import os
from dataclasses import replace
from functools import partial

from mmirrorfs.cli.differing import differing
from mmirrorfs.cli.explained import plain, text
from mmirrorfs.cli.places import ViewSettings
from mmirrorfs.cli.problem import FAILED, Problem
from mmirrorfs.cli.query import put
from mmirrorfs.cli.settings import Settings, identity, told
from mmirrorfs.mount import table
from mmirrorfs.mount.claims import is_claimed
from mmirrorfs.mount.reference import DEAD, Reference, reference
from mmirrorfs.source.filesystems import Mount
from mmirrorfs.text import printable

log = logging.getLogger(__name__)

ANSWER_TIME = 3
"""Seconds that a view has to say which it is; after that its process is asked for what it claims."""


def without_links(settings: Settings) -> Settings:
    """The settings with the mountpoints as the mount table has them, also when what is mounted there is dead."""
    views = tuple(replace(view, mountpoint=table.resolved(view.mountpoint)) for view in settings.views)
    return replace(settings, views=views)


def without_live_views(settings: Settings) -> Settings:
    """The settings without the views that are mounted already. Raises Problem where another view is in the place."""
    return replace(settings, views=tuple(view for view in settings.views if not _is_live(settings, view)))


def _is_live(settings: Settings, view: ViewSettings) -> bool:
    shown = printable(view.mountpoint)
    while (mount := table.view_at(view.mountpoint)) is not None:
        there = reference(view.mountpoint)
        try:
            same = _is_same(mount, there, identity(settings, view))
        except OSError as error:
            same = False
            if error.errno in DEAD:
                log.warning("a dead view was on %s; it is replaced", shown)
                if there is not None and there.detach():
                    continue
                return False
        if not same:
            differs = _differing(mount, settings, view)
            raise Problem(f"another view is mounted on {shown}{differs}: unmount it first (umount)", FAILED)
        log.info("%s is mounted already", shown)
        return True
    return False


def _differing(mount: Mount, settings: Settings, view: ViewSettings) -> str:
    """What differs, in words, where its daemon can be asked."""
    with contextlib.suppress(Problem, ConnectionError):
        state = put(mount, {"ask": "status"}) or {}
        found = differing(state.get("options", {}), told(settings, view))
        places = [text(source) for source in state.get("sources", ())]
        if places != [printable(os.path.abspath(source.path)) for source in settings.sources]:
            found = [f"its sources are {' and '.join(places)}", *found]
        return plain(f" ({', '.join(found)})") if found and places else ""
    return ""


def _is_same(mount: Mount, there: Reference | None, wanted: str) -> bool:
    """Whether the view says that it is the wanted one, or its process where it does not answer. Raises its OSError."""
    probe = table.start_probe(partial(table.label, mount.where, "identity"), ANSWER_TIME)
    owner = table.owner_of(mount)
    trusted = owner in (0, os.geteuid())
    try:
        return table.finish_probe(probe, ANSWER_TIME).decode() == wanted and trusted
    except TimeoutError:
        if trusted and owner is not None and there is not None and is_claimed(there, wanted, owner):
            return True
        shown = printable(mount.where)
        what = f"the view on {shown} does not answer: wait until it does, or unmount it first (umount -l)"
        raise Problem(what, FAILED) from None
