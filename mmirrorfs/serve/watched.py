"""Describes how a source is watched, and why: for ``--status``, ``user.mmirrorfs.status`` and the log.

Knows nothing of requests. Reads the mount table. Event loop's thread only.
"""

import logging
from collections.abc import Sequence
from typing import NamedTuple

from mmirrorfs.source.filesystems import mounts
from mmirrorfs.source.marker import Way
from mmirrorfs.source.source import Source
from mmirrorfs.source.trust import Trust
from mmirrorfs.text import printable

log = logging.getLogger(__name__)

OFF = "--watch=off"
_SHORT = (
    "source %s: too few inotify watches for all of it, the rest is polled (%s): "
    "raise fs.inotify.max_user_watches and mount again"
)


class Watched(NamedTuple):
    """``how`` is "fanotify", "inotify", "polled" or "mixed"; ``why`` it is not better, or ""."""

    how: str
    why: str


def watched(source: Source, wanted: bool, begun: bool) -> Watched:
    """How a source is watched now. ``wanted``: by ``--watch``; ``begun``: its events are being read without a gap."""
    ways = _distinct(source.watch.ways)
    if not wanted:
        return Watched("polled", OFF)
    if source.lost is not None:
        return Watched("polled", "it is lost")
    if not source.watch.descriptors:
        return Watched("polled", _cannot("neither fanotify nor inotify is to be had"))
    if not begun:
        return Watched("polled", _cannot("the kernel's reports could not be read"))
    if not ways:
        return Watched("polled", "it has not been scanned yet")
    if len(ways) == 1 and not ways[0].short:
        how, why, *_ = ways[0]
        return Watched(how, _cannot(why) if how == "polled" else why)
    if all(way.how == "polled" for way in ways):
        return Watched("polled", _cannot(_each(ways)))
    return Watched("mixed", _each(ways))


def _cannot(why: str) -> str:
    return f"its changes cannot be reported: {why}"


def _distinct(ways: Sequence[Way]) -> list[Way]:
    """Without duplicates: the subvolumes of a btrfs filesystem, for instance."""
    kinds = {(way.how, way.why, way.short) for way in ways}
    return list(ways[:1]) if len(kinds) == 1 else list({way[:3] + way[4:]: way for way in ways}.values())


def _each(ways: Sequence[Way]) -> str:
    """One phrase for each filesystem, with its mountpoint if there are several."""
    if len(ways) == 1:
        return _phrase(ways[0])
    places = {mount.id: mount.where for mount in mounts()}
    return "; ".join(f"{printable(places.get(way.mount, b'?'))}: {_phrase(way)}" for way in ways)


def _phrase(way: Way) -> str:
    how = f"{way.how}, some polled" if way.short else way.how
    return f"{how} ({way.why})" if way.why else how


class WatchReport:
    """Reports how one source is watched. ``wanted``: by ``--watch``."""

    def __init__(self, source: Source, trust: Trust, wanted: bool) -> None:
        self._source = source
        self._trust = trust
        self._wanted = wanted
        self._is_logged = self._has_warned = False

    def now(self) -> Watched:
        """How it is watched now."""
        return watched(self._source, self._wanted, self._trust.is_begun)

    def log(self) -> None:
        """Log it once, as soon as a scan has found it out; warn once if the inotify watches run short."""
        watch = self._source.watch
        if not self._is_logged and (watch.ways or not watch.descriptors):
            self._is_logged = True
            log.info("source %s%s", self._source.name, _sentence(self.now()))
        short = next((way for way in watch.ways if way.short), None)
        if short is not None and not self._has_warned:
            self._has_warned = True
            log.warning(_SHORT, self._source.name, short.why.rpartition("; ")[2])


def _sentence(now: Watched) -> str:
    if now.how == "polled":
        return f" is polled: {now.why.removeprefix(_cannot(''))}"
    if now.how == "mixed":
        return f": changes are reported as each filesystem allows: {now.why}"
    return f": changes are reported by {now.how}{f' ({now.why})' if now.why else ''}"
