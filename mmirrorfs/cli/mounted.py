"""Views that are mounted already on the mountpoints of a command.

Rule 1: the same view (``view_options.identity``) is left alone, even if it does not answer, so that mounting twice, as
``mount -a`` does, succeeds.
Rule 2: a dead view is unmounted, and replaced.
Rule 3: any other view is an error, which names what differs.

Every question to a view has a time limit. Raises Problem.
"""

import contextlib
import logging
import os
from dataclasses import replace
from functools import partial

from mmirrorfs.cli.client import STATUS, request
from mmirrorfs.cli.errors import FAILED, Problem
from mmirrorfs.cli.positionals import ViewSettings
from mmirrorfs.cli.settings import Settings
from mmirrorfs.cli.terminal import path_text, sanitized
from mmirrorfs.cli.view_options import differences, identity, view_options
from mmirrorfs.mount import table
from mmirrorfs.mount.claims import is_claimed
from mmirrorfs.mount.reference import DEAD, Reference, reference
from mmirrorfs.source.filesystems import Mount
from mmirrorfs.text import printable

log = logging.getLogger(__name__)

ANSWER_TIME = 3
"""Seconds that a view has to give its identity. After that, what its process claimed at the start decides."""


def with_resolved_mountpoints(settings: Settings) -> Settings:
    """The settings with mountpoints as the mount table has them, also where a dead view is mounted."""
    views = tuple(replace(view, mountpoint=table.resolved(view.mountpoint)) for view in settings.views)
    return replace(settings, views=views)


def without_mounted_views(settings: Settings) -> Settings:
    """The settings without views that are mounted already. Raises Problem where another view is on a mountpoint."""
    return replace(settings, views=tuple(view for view in settings.views if not _is_mounted(settings, view)))


def _is_mounted(settings: Settings, view: ViewSettings) -> bool:
    shown = printable(view.mountpoint)
    while (mount := table.view_at(view.mountpoint)) is not None:
        root = reference(view.mountpoint)
        try:
            is_same = _is_same(mount, root, identity(settings, view))
        except OSError as error:
            is_same = False
            if error.errno in DEAD:
                log.warning("a dead view was on %s; it is replaced", shown)
                if root is not None and root.detach():
                    continue
                return False
        if not is_same:
            differs = _differences(mount, settings, view)
            raise Problem(f"another view is mounted on {shown}{differs}: unmount it first (umount)", FAILED)
        log.info("%s is mounted already", shown)
        return True
    return False


def _differences(mount: Mount, settings: Settings, view: ViewSettings) -> str:
    """What differs from the view that is wanted, for a message; empty where the daemon cannot be asked."""
    with contextlib.suppress(Problem, ConnectionError):
        state = request(mount, STATUS) or {}
        found = differences(state.get("options", {}), view_options(settings, view))
        sources = [path_text(source) for source in state.get("sources", ())]
        if sources != [printable(os.path.abspath(source.path)) for source in settings.sources]:
            found = [f"its sources are {' and '.join(sources)}", *found]
        return sanitized(f" ({', '.join(found)})") if found and sources else ""
    return ""


def _is_same(mount: Mount, root: Reference | None, wanted: str) -> bool:
    """Whether the view's identity is the wanted one; if it does not answer, whether its process claimed that identity.

    Raises OSError as the view does.
    """
    probe = table.start_probe(partial(table.label, mount.where, "identity"), ANSWER_TIME)
    owner = table.owner_of(mount)
    trusted = owner in (0, os.geteuid())
    try:
        return table.finish_probe(probe, ANSWER_TIME).decode() == wanted and trusted
    except TimeoutError:
        if trusted and owner is not None and root is not None and is_claimed(root, wanted, owner):
            return True
        shown = printable(mount.where)
        message = f"the view on {shown} does not answer: wait until it does, or unmount it first (umount -l)"
        raise Problem(message, FAILED) from None
