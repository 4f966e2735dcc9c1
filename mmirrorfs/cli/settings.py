"""The settings of one command, complete and consistent, but not compared with the disk: ``checks`` does that. Pure."""

import os
import re
from dataclasses import dataclass, field
from typing import Any

from mmirrorfs.cli.config import Config
from mmirrorfs.cli.errors import Problem
from mmirrorfs.cli.positionals import NamedSource, ViewSettings, order_of, positionals
from mmirrorfs.merge.names import compiled, matchings
from mmirrorfs.merge.settled import Rule
from mmirrorfs.plan.narrow import PARTS
from mmirrorfs.text import printable

DEEPEST = 200
"""The largest depth. The merge recurses by level, and no library is nested deeper."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that one command was given. ``refresh``, ``recheck`` and ``timeout`` are in seconds.

    ``remember`` is in entries; ``rules_in`` is the configuration file that has the ``rules``.
    """

    sources: tuple[NamedSource, ...]
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
    """The settings of a command line; ``fuse`` are the options for libfuse. Raises Problem."""
    parsed = positionals(given, config)
    if not 1 <= given["depth"] <= DEEPEST:
        raise Problem(f"--depth {given['depth']}: must be from 1 to {DEEPEST}")
    if given["json"] and not given["simulate"]:
        raise Problem("--json goes with --simulate, --status, --explain or --doctor")
    _check_output(given, parsed.sources)
    if given["follow"]:
        raise Problem("--follow goes with --status")
    for prefer in (view.prefer for view in parsed.views):
        order_of(prefer, parsed.sources)
    if given["prefer"] is not None:  # also checked for a simulation, which needs no view
        order_of(given["prefer"], parsed.sources)
    return Settings(
        sources=parsed.sources,
        views=parsed.views,
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
        on_change=given["on_change"] or None,  # an empty one overrides that of a configuration file
        announce=given["announce"] == "auto",
        simulate=given["simulate"],
        format="json" if given["json"] else given["format"],
        only=given["only"],
        summary=given["summary"],
        foreground=given["foreground"],
        verbose=given["verbose"],
        log=os.path.abspath(os.fsencode(given["log"])) if given["log"] else None,
        fuse_options=fuse | {_fsname(parsed.fsname), *ALWAYS},
    )


ALWAYS = frozenset(("subtype=mmirrorfs", "default_permissions", "ro", "nosuid", "nodev"))
"""The libfuse options of every view. No option of the user's takes one away."""


def _check_output(given: dict[str, Any], sources: tuple[NamedSource, ...]) -> None:
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
    """The [[same]] and [[apart]] rules. Raises Problem where they contradict each other under --match and --ignore."""
    ignores = [_pattern(text) for text in given["ignore"]]
    if config is None:
        return ()
    try:
        matchings(given["match"], ignores, config.rules)
    except ValueError as error:
        raise Problem(f"--config {config.shown}: {error}") from None
    return config.rules


class _Raw(str):
    """An option that reaches libfuse byte for byte; pyfuse3 encodes options as ASCII."""

    def encode(self, encoding: str = "", errors: str = "") -> bytes:
        return os.fsencode(str(self))


def _fsname(source: str) -> str:
    """The source field of the mount table, as in fstab: ``mount -a`` compares them to find what is mounted already."""
    return _Raw("fsname=" + source.replace("\\", "\\\\").replace(",", "\\,"))
