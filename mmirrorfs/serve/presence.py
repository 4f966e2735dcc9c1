"""Whether each source is present or lost, and which mounts it is on.

Invariant 1: one warning when a source is lost, one when it is back.
Invariant 2: a lost source is not watched; one that is back, or has other mounts in it, is restarted.

Event loop's thread only.
"""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress

import trio

from mmirrorfs.source.filesystems import TableChanges
from mmirrorfs.source.freshness import NEVER
from mmirrorfs.source.known import Known
from mmirrorfs.source.source import Source
from mmirrorfs.text import fields, printable

log = logging.getLogger(__name__)

CHECK = 30.0
"""Seconds after a check of the root for which the kernel's caches may answer instead of the source."""
_FALLBACK = "its folders fall back to the other sources"
_KEEP = (
    "what is known of it is still shown, its files cannot be opened, "
    "folders of it that were never listed show as unreadable"
)


class Presence:
    """Whether one source is present; ``lost_since`` (seconds since the epoch) is None if so."""

    def __init__(self, source: Source, known: Known, fallback: bool, restart: Callable[[Source], None]) -> None:
        self.source = source
        self.known = known
        self.lost_since: float | None = None
        self.checked_at = NEVER
        """When the last scan or check of the root began, in monotonic seconds."""
        self.mounts: tuple[int, ...] | None = source.mounts
        """The unique ids of the mounts that it was last found on; None if unknown."""
        self._effect = _FALLBACK if fallback else _KEEP
        self._restart = restart

    def is_cached(self, now: float) -> bool:
        """Whether the root is there by the kernel's caches, and was checked lately: no thread is needed."""
        return now - self.checked_at < CHECK and self.source.is_present()

    def lost(self, reason: str) -> None:
        """A scan or check has raised SourceLost."""
        source = self.source
        source.lost = reason
        self.known.trust.end()
        if self.lost_since is None:
            self.lost_since = time.time()
            shown, extra = printable(source.path), fields("lost", source=source.name, why=reason)
            log.warning("source %s (%s) is lost: %s; %s", source.name, shown, reason, self._effect, extra=extra)

    def found(self) -> None:
        """A scan or check has succeeded."""
        source = self.source
        if source.lost is not None and self.lost_since is None:  # a reader found it lost, and may have got an error
            self.lost(source.lost)
        is_remounted = self.mounts not in (None, source.mounts)
        self.mounts = source.mounts
        if source.lost is not None or is_remounted:
            source.lost = None
            self._restart(source)
        if self.lost_since is not None:
            gone, self.lost_since = round(time.time() - self.lost_since), None
            extra = fields("back", source=source.name, seconds=gone)
            log.warning("source %s (%s) is back after %d s", source.name, printable(source.path), gone, extra=extra)


async def watch_mount_table(
    presences: Sequence[Presence], restart: Callable[[Source], None], check: Callable[[Source], None]
) -> None:
    """Restart the sources whose mounts change, and have the roots of the others checked. Until cancelled."""
    with closing(TableChanges()) as table:
        while True:
            await trio.lowlevel.wait_readable(table.descriptor)
            for one in presences:
                with suppress(OSError):  # out of descriptors: the next change is noticed
                    if one.source.locality.update():
                        one.mounts = None  # the next check notes them
                        restart(one.source)
                    else:  # two changes may leave the table as it was
                        one.checked_at = NEVER
                        check(one.source)
