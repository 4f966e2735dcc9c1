"""What the user asked for, checked for sense but not against the disk. Pure."""

import fnmatch
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mmirrorfs.cli import mountopts
from mmirrorfs.cli.problem import Problem
from mmirrorfs.source.reader import Excluded, nothing_excluded
from mmirrorfs.text import printable
from mmirrorfs.tree import Rank

DEEPEST = 1000
"""The largest depth: no path of the kernel's 4,096 bytes has many more components worth merging."""


@dataclass(frozen=True, slots=True)
class Named:
    """A source as given: its name for ``--prefer`` and messages, and its path."""

    name: str
    path: bytes


@dataclass(frozen=True, slots=True)
class ViewSettings:
    """One view: where, and whose folders win (``high``, ``low`` or a source's name).

    ``make`` says that the mountpoint is made when only its last component is missing.
    """

    mountpoint: bytes
    prefer: str
    make: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that one command was told. ``refresh`` is in seconds, ``remember`` in entries."""

    sources: tuple[Named, ...]
    views: tuple[ViewSettings, ...]
    depth: int = 1
    refresh: float = 60.0
    fallback: bool = False
    remember: int = 1_000_000
    on_change: str | None = None
    follow: bool = False
    cover: bool = False
    excludes: tuple[str, ...] = ()
    simulate: bool = False
    json: bool = False
    foreground: bool = False
    verbose: int = 0
    fuse_options: frozenset[str] = field(default_factory=frozenset)


def settings(given: dict[str, Any], fuse: frozenset[str]) -> Settings:
    """The settings of a command line; ``fuse`` are the words for libfuse. Raises Problem."""
    views, sources = _views(given)
    if len(sources) == 1:
        sources = [part for part in mountopts.split(sources[0], ":") if part]
    if len(sources) < 2:
        raise Problem("at least two sources are needed: mmirrorfs SOURCE SOURCE MOUNTPOINT (see mmirrorfs --help)")
    if not 1 <= given["depth"] <= DEEPEST:
        raise Problem(f"--depth {given['depth']}: must be from 1 to {DEEPEST}")
    if given["json"] and not given["simulate"]:
        raise Problem("--json goes with --simulate or --status")
    made = Settings(
        sources=named([os.fsencode(source) for source in sources]),
        views=views,
        depth=given["depth"],
        refresh=given["refresh"],
        fallback=given["on_missing"] == "fallback",
        remember=given["remember"],
        on_change=given["on_change"],
        follow=given["followsymlinks"],
        cover=given["overwritesymlinks"],
        excludes=given["exclude"],
        simulate=given["simulate"],
        json=given["json"],
        foreground=given["foreground"],
        verbose=given["verbose"],
        fuse_options=fuse | {_fsname(sources, given["paths"]), *ALWAYS},
    )
    for view in made.views:
        order_of(view.prefer, made.sources)
    return made


ALWAYS = frozenset(("subtype=mmirrorfs", "default_permissions", "ro", "nosuid", "nodev"))
"""libfuse's options of every view, whatever is asked for."""


def _views(given: dict[str, Any]) -> tuple[tuple[ViewSettings, ...], list[str]]:
    """The views, and what of the arguments are sources. A simulation of two paths needs no mountpoint."""
    paths = list(given["paths"])
    outputs = [(given["output_high"], "high"), (given["output_low"], "low")]
    views = [ViewSettings(os.path.abspath(os.fsencode(path)), prefer, True) for path, prefer in outputs if path]
    if views and given["prefer"]:
        raise Problem("--prefer goes with a MOUNTPOINT; --output-high and --output-low say themselves who wins")
    if len({view.mountpoint for view in views}) < len(views):
        raise Problem("--output-high and --output-low must be two different places")
    if views or (given["simulate"] and len(paths) == 2 and len(mountopts.split(paths[0], ":")) == 1):
        return tuple(views), paths
    if len(paths) < 2:
        raise Problem("sources and a mountpoint are needed: mmirrorfs SOURCE SOURCE MOUNTPOINT (see mmirrorfs --help)")
    mountpoint = os.path.abspath(os.fsencode(paths.pop()))
    return (ViewSettings(mountpoint, given["prefer"] or "high"),), paths


def identity(settings: Settings, view: ViewSettings) -> str:
    """What makes a view this one and no other: equal for two commands that would mount the same."""
    order = order_of(view.prefer, settings.sources)
    parts = {
        "sources": [printable(os.path.realpath(settings.sources[rank].path)) for rank in order],
        "depth": settings.depth,
        "refresh": settings.refresh,
        "fallback": settings.fallback,
        "remember": settings.remember,
        "on_change": settings.on_change,
        "follow": settings.follow,
        "excludes": sorted(settings.excludes),
        "fuse": sorted(str(option) for option in settings.fuse_options if not option.startswith("fsname=")),
    }
    return json.dumps(parts, sort_keys=True)


class _Raw(str):
    """An option that reaches libfuse byte for byte; pyfuse3 would have it in ASCII."""

    def encode(self, encoding: str = "", errors: str = "") -> bytes:
        return os.fsencode(str(self))


def _fsname(sources: Sequence[str], paths: Sequence[str]) -> str:
    """The source field of the mount table: as fstab has it, so that ``mount -a`` knows the view when it is there."""
    field = paths[0] if len(paths) <= 2 and len(sources) > 1 and ":" in paths[0] else _joined(sources)
    return _Raw("fsname=" + field.replace("\\", "\\\\").replace(",", "\\,"))


def _joined(sources: Sequence[str]) -> str:
    return ":".join(source.replace("\\", "\\\\").replace(":", "\\:") for source in sources)


def named(paths: list[bytes]) -> tuple[Named, ...]:
    """Name the sources by their folders, with a number where two are called the same."""
    sources: list[Named] = []
    for path in paths:
        name = text = printable(os.path.basename(os.path.abspath(path)) or b"/")
        turn = 1
        while any(source.name == name for source in sources):
            turn += 1
            name = f"{text}-{turn}"
        sources.append(Named(name, path))
    return tuple(sources)


def order_of(prefer: str, sources: tuple[Named, ...]) -> tuple[Rank, ...]:
    """The ranks of the sources in the order in which a view asks them."""
    ranks = [Rank(rank) for rank in range(len(sources))]
    if prefer in ("high", "low"):
        return tuple(ranks if prefer == "high" else reversed(ranks))
    first = next((rank for rank in ranks if sources[rank].name == prefer), None)
    if first is None:
        names = ", ".join(["high", "low", *[source.name for source in sources]])
        raise Problem(f"--prefer {printable(prefer)}: no such source; one of {names}")
    return (first, *[rank for rank in ranks if rank != first])


def excluded_by(globs: tuple[str, ...]) -> Excluded:
    """Whether a name matches any of the shell patterns, to the byte."""
    if not globs:
        return nothing_excluded
    whole = b"|".join(os.fsencode(fnmatch.translate(glob)) for glob in globs)
    matches = re.compile(whole).match
    return lambda name: matches(name) is not None
