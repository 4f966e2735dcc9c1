"""What the user asked for, checked for sense but not against the disk. Pure."""

import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from typing import Any

from mmirrorfs.cli.config import Config
from mmirrorfs.cli.places import Named, ViewSettings, order_of, places
from mmirrorfs.cli.problem import Problem
from mmirrorfs.merge.names import compiled, matchings
from mmirrorfs.merge.settled import Rule
from mmirrorfs.plan.narrow import PARTS
from mmirrorfs.text import printable

DEEPEST = 200
"""The largest depth: the merge goes down level by level, and nobody's library is nested any deeper."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that one command was told. ``refresh``, ``recheck`` and ``timeout`` are in seconds.

    ``remember`` is in entries; ``rules_in`` is the file that has the ``rules``.
    """

    sources: tuple[Named, ...]
    views: tuple[ViewSettings, ...]
    depth: int = 1
    skip_empty: bool = False
    match: str = "exact"
    ignores: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    rules_in: bytes | None = None
    excludes: tuple[str, ...] = ()
    follow: bool = False
    cover: bool = False
    refresh: float = 60.0
    watch: bool = True
    recheck: float = 3600.0
    fallback: bool = False
    remember: int = 1_000_000
    crawl: str = "local"
    timeout: float = 0.0
    on_change: str | None = None
    announce: bool = True
    simulate: bool = False
    format: str | None = None
    only: str | None = None
    summary: bool = False
    foreground: bool = False
    verbose: int = 0
    log: bytes | None = None
    fuse_options: frozenset[str] = field(default_factory=frozenset)


def settings(given: dict[str, Any], fuse: frozenset[str], config: Config | None) -> Settings:
    """The settings of a command line; ``fuse`` are the words for libfuse. Raises Problem."""
    where = places(given, config)
    if not 1 <= given["depth"] <= DEEPEST:
        raise Problem(f"--depth {given['depth']}: must be from 1 to {DEEPEST}")
    if given["json"] and not given["simulate"]:
        raise Problem("--json goes with --simulate, --status, --explain or --doctor")
    _check_what_to_print(given, where.sources)
    if given["follow"]:
        raise Problem("--follow goes with --status")
    for prefer in (view.prefer for view in where.views):
        order_of(prefer, where.sources)
    if given["prefer"] is not None:  # for a simulation too, which needs no view
        order_of(given["prefer"], where.sources)
    return Settings(
        sources=where.sources,
        views=where.views,
        depth=given["depth"],
        skip_empty=given["skip_empty"],
        match=given["match"],
        ignores=tuple(given["ignore"]),
        rules=_rules(given, config),
        rules_in=os.path.abspath(os.fsencode(given["config"])) if config is not None and config.rules else None,
        excludes=tuple(given["exclude"]),
        follow=given["follow_symlinks"],
        cover=given["nonempty"],
        refresh=given["refresh"],
        watch=given["watch"] == "auto",
        recheck=given["recheck"],
        fallback=given["on_missing"] == "fallback",
        remember=given["remember"],
        crawl=given["crawl"],
        timeout=given["timeout"],
        on_change=given["on_change"] or None,  # an empty one takes back what a configuration file says
        announce=given["announce"] == "auto",
        simulate=given["simulate"],
        format="json" if given["json"] else given["format"],
        only=given["only"],
        summary=given["summary"],
        foreground=given["foreground"],
        verbose=given["verbose"],
        log=os.path.abspath(os.fsencode(given["log"])) if given["log"] else None,
        fuse_options=fuse | {_fsname(where.field), *ALWAYS},
    )


ALWAYS = frozenset(("subtype=mmirrorfs", "default_permissions", "ro", "nosuid", "nodev"))
"""libfuse's options of every view, whatever is asked for."""


def _check_what_to_print(given: dict[str, Any], sources: tuple[Named, ...]) -> None:
    form, only = given["format"], given["only"]
    if given["summary"] and (given["json"] or form not in (None, "text")):
        raise Problem("--summary is for people: it goes with --format text")
    names = [source.name for source in sources]
    if only in PARTS and only in names:
        raise Problem(f"--only {only}: a source is called so too; call it otherwise (NAME=PATH)")
    if only is not None and only not in (*PARTS, *names):
        raise Problem(f"--only {printable(only)}: no such source; one of {', '.join((*PARTS, *names))}")


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return compiled(text)
    except ValueError as error:
        raise Problem(f"--ignore {printable(text)}: {error}") from None


def _rules(given: dict[str, Any], config: Config | None) -> tuple[Rule, ...]:
    """What is settled by hand; it contradicts itself under the match that is given, or not."""
    ignores = [_pattern(text) for text in given["ignore"]]
    if config is None:
        return ()
    try:
        matchings(given["match"], ignores, config.rules)
    except ValueError as error:
        raise Problem(f"--config {config.shown}: {error}") from None
    return config.rules


def told(settings: Settings, view: ViewSettings) -> dict[str, Any]:
    """What a view was told, by the names of the long options, but for where, and for what changes nothing in it.

    What is settled by hand is there too, by the names of its tables (SETTLED).
    """
    return {
        "prefer": view.prefer,
        "depth": settings.depth,
        "skip-empty": settings.skip_empty,
        "match": settings.match,
        "ignore": list(settings.ignores),
        "same": [_in_words(rule) for rule in settings.rules if rule.is_same],
        "apart": [_in_words(rule) for rule in settings.rules if not rule.is_same],
        "exclude": list(settings.excludes),
        "follow-symlinks": settings.follow,
        "refresh": settings.refresh,
        "watch": "auto" if settings.watch else "off",
        "recheck": settings.recheck,
        "on-missing": "fallback" if settings.fallback else "keep",
        "remember": settings.remember,
        "crawl": settings.crawl,
        "timeout": settings.timeout,
        "on-change": settings.on_change,
        "announce": "auto" if settings.announce else "off",
        "o": sorted(str(word) for word in settings.fuse_options if word not in ALWAYS and not _is_name(word)),
    }


SETTLED = ("same", "apart")
"""What a view is told by a configuration file alone."""


def as_said(name: str) -> str:
    """How a person says the name of what a view was told."""
    return f"[[{name}]]" if name in SETTLED else "-o" if name == "o" else f"--{name}"


def _in_words(rule: Rule) -> str:
    where = f" in {printable(rule.where) or '/'}" if rule.where is not None else ""
    return " and ".join(map(printable, rule.names)) + where


def usual() -> dict[str, Any]:
    """What a view is told by those who give no options."""
    return told(Settings((), ()), ViewSettings(b"", "high"))


def _is_name(word: str) -> bool:
    return word.startswith("fsname=")


def identity(settings: Settings, view: ViewSettings) -> str:
    """What makes a view this one and no other: equal for two commands that would mount the same.

    A hash, for everybody can read it, and not everybody may read what the command was told.
    """
    order = order_of(view.prefer, settings.sources)
    parts = {
        **told(settings, view),
        "prefer": [printable(os.path.realpath(settings.sources[rank].path)) for rank in order],
        "ignore": sorted(settings.ignores),
        "exclude": sorted(settings.excludes),
        "same": [],
        "apart": [],
        "rules": [[rule.is_same, *map(printable, (rule.where or b"", *rule.names))] for rule in settings.rules],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class _Raw(str):
    """An option that reaches libfuse byte for byte; pyfuse3 would have it in ASCII."""

    def encode(self, encoding: str = "", errors: str = "") -> bytes:
        return os.fsencode(str(self))


def _fsname(source: str) -> str:
    """The source field of the mount table: as fstab has it, so that ``mount -a`` knows the view when it is there."""
    return _Raw("fsname=" + source.replace("\\", "\\\\").replace(",", "\\,"))
