"""The options that a view was mounted with: recorded, compared, hashed, and turned back into a command line.

Rule 1: the record has every option that changes what a view is, by its long name, and no other: neither sources nor
mountpoint, nor where messages go.
Rule 2: two commands that would mount the same view have the same ``identity``.

Pure, but that ``identity`` resolves the sources' links, and ``command_line`` searches PATH.
"""

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from typing import Any

from mmirrorfs.cli.installation import NAME
from mmirrorfs.cli.positionals import ViewSettings, named, order_of
from mmirrorfs.cli.settings import ALWAYS, Settings
from mmirrorfs.merge.settled import Rule
from mmirrorfs.text import printable, whole_text

RULE_TABLES = ("same", "apart")
"""The tables of the configuration file, recorded like options, that no option stands for."""


def view_options(settings: Settings, view: ViewSettings) -> dict[str, Any]:
    """The record: options by their long names, and the rules by the names of their tables (RULE_TABLES)."""
    return {
        "prefer": view.prefer,
        "depth": settings.depth,
        "skip-empty": settings.skip_empty,
        "match": settings.match,
        "ignore": list(settings.ignores),
        "same": [_rule_text(rule) for rule in settings.rules if rule.is_same],
        "apart": [_rule_text(rule) for rule in settings.rules if not rule.is_same],
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
        "o": sorted(str(word) for word in settings.fuse_options if word not in ALWAYS and not _is_fsname(word)),
    }


def default_options() -> dict[str, Any]:
    """The record of a view that is mounted without options."""
    return view_options(Settings((), ()), ViewSettings(b"", "high"))


def as_json(options: Mapping[str, Any]) -> dict[str, Any]:
    """A record as ``--status --json`` has it."""
    return {name: _json_value(value) for name, value in options.items()}


def option_label(name: str) -> str:
    """What a message calls an entry of the record."""
    return f"[[{name}]]" if name in RULE_TABLES else "-o" if name == "o" else f"--{name}"


def _rule_text(rule: Rule) -> str:
    where = f" in {printable(rule.where) or '/'}" if rule.where is not None else ""
    return " and ".join(map(printable, rule.names)) + where


def _is_fsname(word: str) -> bool:
    return word.startswith("fsname=")


def _json_value(value: object) -> object:
    if isinstance(value, list | tuple):
        return list(map(_json_value, value))
    return whole_text(value) if isinstance(value, str) else value


def identity(settings: Settings, view: ViewSettings) -> str:
    """A hash of sources and options, equal for two commands that would mount the same view.

    A hash, because every user who may enter the view can read it, and not all may read its options.
    """
    order = order_of(view.prefer, settings.sources)
    parts = {
        **view_options(settings, view),
        "prefer": [printable(os.path.realpath(settings.sources[rank].path)) for rank in order],
        "ignore": sorted(settings.ignores),
        "exclude": sorted(settings.excludes),
        "same": [],
        "apart": [],
        "rules": [[rule.is_same, *map(printable, (rule.where or b"", *rule.names))] for rule in settings.rules],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def differences(mounted: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """The options that both records have with different values, each in words for a message."""
    return [
        f"{option_label(name)} is {_value_text(mounted[name])}, not {_value_text(value)}"
        for name, value in wanted.items()
        if name in mounted and _comparable(mounted[name]) != _comparable(value)
    ]


def _comparable(value: object) -> object:
    """The value without the order of patterns, which has no meaning."""
    converted = _json_value(value)
    return sorted(converted) if isinstance(converted, list) else converted


def _value_text(value: object) -> str:
    if isinstance(value, list | tuple):
        return " and ".join(map(_value_text, value)) or "nothing"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    return printable(str(value)) if value is not None else "nothing"


def command_line(settings: Settings, view: ViewSettings) -> list[str]:
    """The command that mounts this view alone, from any directory, the program first. Default values are left out.

    It names no configuration file, unless the view has rules, which only a file can have. Then it has all options,
    for the file may set others.
    """
    paths = [os.fsdecode(os.path.abspath(source.path)) for source in settings.sources]
    names = [source.name for source in settings.sources]
    if [source.name for source in named(paths)] != names and all(re.fullmatch(r"[\w.-]+", name) for name in names):
        paths = [f"{name}={path}" for name, path in zip(names, paths, strict=True)]
    words = [*_program(), *paths, os.fsdecode(view.mountpoint)]
    if settings.rules_in is not None:
        words.append(f"--config={os.fsdecode(settings.rules_in)}")
    for name, value in view_options(settings, view).items():
        if name not in RULE_TABLES and (value != default_options()[name] or settings.rules_in is not None):
            words += _as_arguments(name, value)
    words += ["--nonempty"] if settings.cover else []
    words += [f"--log={os.fsdecode(settings.log)}"] if settings.log is not None else []
    return [*words, *(["-" + "v" * settings.verbose] if settings.verbose else [])]


def _program() -> list[str]:
    return [NAME] if shutil.which(NAME) else [sys.executable, "-m", NAME]


def _as_arguments(name: str, value: object) -> list[str]:
    if name == "o" and isinstance(value, list):
        return ["-o", ",".join(value)] if value else []
    if isinstance(value, bool):
        return [f"--{name}"] if value else []
    if isinstance(value, list):
        return [f"--{name}={one}" for one in value]
    return [f"--{name}={value:g}" if isinstance(value, float) else f"--{name}={'' if value is None else value}"]
