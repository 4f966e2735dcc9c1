"""The positional arguments: which of them are sources, which is the mountpoint, and what the sources are called.

The forms: ``SOURCE SOURCE... MOUNTPOINT``; sources alone with ``--output-high`` or ``--output-low``; ``SOURCE:SOURCE
MOUNTPOINT`` from mount(8), with ``\\:`` for a colon in a path; and with a configuration file that has sources
``MOUNTPOINT``, ``LABEL MOUNTPOINT`` (mount(8) always passes two arguments), or none. A source may be ``NAME=PATH``.

Pure: text in, values out, but for the current directory, which relative paths start from.
"""

import itertools
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from mmirrorfs.cli import mountopts
from mmirrorfs.cli.config import Config
from mmirrorfs.cli.errors import Problem
from mmirrorfs.text import printable
from mmirrorfs.tree import Rank


@dataclass(frozen=True, slots=True)
class NamedSource:
    """A source as given: its name for ``--prefer`` and messages, and its path."""

    name: str
    path: bytes


@dataclass(frozen=True, slots=True)
class ViewSettings:
    """One view: its mountpoint, and whose folders win (``high``, ``low`` or a source's name).

    ``make``: create the mountpoint if only its last component is missing.
    """

    mountpoint: bytes
    prefer: str
    make: bool = False


@dataclass(frozen=True, slots=True)
class Positionals:
    """The sources from high to low, the views, and the source field of the mount table (``fsname``)."""

    sources: tuple[NamedSource, ...]
    views: tuple[ViewSettings, ...]
    fsname: str


def positionals(given: dict[str, Any], config: Config | None) -> Positionals:
    """Interpret the positional arguments of a command line. Raises Problem."""
    words = list(given["paths"])
    for option, word in [("", word) for word in words] + [(f"{name}: ", given[key]) for name, key in _OUTPUTS]:
        if word == "":  # it would stand for the current directory
            raise Problem(f"{option}an empty word where a path should be: is a variable not set?")
    views = _outputs(given, config)
    _check_no_output_among(words, views)
    if config is not None and config.sources and len(words) <= (0 if views else 2) and not _is_source_list(words):
        return _from_config(given, config, words, views)
    if not views and not (given["simulate"] and len(words) == (1 if _is_source_list(words) else 2)):
        if len(words) < 2:
            raise Problem(f"sources and a mountpoint are needed: {_FORM}")
        views = (_view(words.pop(), "high" if given["prefer"] is None else given["prefer"]),)
    is_list = _is_source_list(words)
    sources = [part for part in mountopts.split(words[0], ":") if part] if is_list else words
    if len(sources) < 2:
        raise Problem(f"at least two sources are needed: {_FORM}")
    absolute = [_absolute(source) for source in sources]
    is_unchanged = is_list and absolute == sources  # then byte for byte: "mount -a" compares it with fstab
    return Positionals(named(sources), views, words[0] if is_unchanged else ":".join(map(_escaped, absolute)))


_FORM = "mmirrorfs SOURCE SOURCE MOUNTPOINT (see mmirrorfs --help)"
_OUTPUTS = (("--output-high", "output_high"), ("--output-low", "output_low"))
ALL_SOURCES = "beside --output-high or --output-low all paths are sources, none is a MOUNTPOINT"


def _check_no_output_among(words: Sequence[str], views: tuple[ViewSettings, ...]) -> None:
    for word in words:
        if any(os.path.abspath(os.fsencode(word)) == view.mountpoint for view in views):
            raise Problem(f"{printable(word)} is an output already: {ALL_SOURCES}")


def _absolute(source: str) -> str:
    """A source, named or not, with an absolute path; unchanged where it is absolute already."""
    match = _NAME.fullmatch(source)
    name, path = (match[1] + "=", match[2]) if match else ("", source)
    return source if path.startswith("/") else name + os.path.abspath(path)


def _is_source_list(words: Sequence[str]) -> bool:
    """Whether the first argument is a list of sources as mount(8) passes it."""
    return len(words) in (1, 2) and len(mountopts.split(words[0], ":")) > 1


def _escaped(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:")


def _view(path: str, prefer: str, make: bool = False) -> ViewSettings:
    return ViewSettings(os.path.abspath(os.fsencode(path)), prefer, make)


def _outputs(given: dict[str, Any], config: Config | None) -> tuple[ViewSettings, ...]:
    """The views of --output-high and --output-low. --prefer on the command line overrides those of the file."""
    file = config.options if config is not None else {}
    if given["prefer"] is not None and "prefer" not in file:
        given = {**given, **{key: None for name, key in _OUTPUTS if given[key] == file.get(name.removeprefix("--"))}}
    wanted = [(given[key], key.removeprefix("output_")) for _, key in _OUTPUTS]
    views = tuple(_view(path, prefer, make=True) for path, prefer in wanted if path)
    if views and given["prefer"] is not None:
        raise Problem("--prefer goes with a MOUNTPOINT; --output-high and --output-low say themselves who wins")
    if len({view.mountpoint for view in views}) < len(views):
        raise Problem("--output-high and --output-low must be two different places")
    return views


def _from_config(
    given: dict[str, Any], config: Config, words: Sequence[str], views: tuple[ViewSettings, ...]
) -> Positionals:
    """The sources of a configuration file; its views too, unless the command line names one."""
    sources = tuple(NamedSource(name, os.fsencode(path)) for name, path in config.sources)
    if len(sources) < 2:
        raise Problem("at least two sources are needed under [sources]")
    configured = tuple(_view(path, prefer, make=True) for path, prefer in config.views)
    if words:
        mountpoint = _view(words[-1], "high").mountpoint
        prefer = next((view.prefer for view in configured if view.mountpoint == mountpoint), "high")
        views = (ViewSettings(mountpoint, prefer if given["prefer"] is None else given["prefer"]),)
    elif given["prefer"] is not None:
        raise Problem("--prefer goes with a MOUNTPOINT; each [[view]] says itself who wins")
    views = views or configured
    if not views and not given["simulate"]:
        raise Problem("a mountpoint is needed: name one, or write a [[view]] into the configuration file")
    if len({view.mountpoint for view in views}) < len(views):
        raise Problem("two views have the same mountpoint")
    fsname = words[0] if len(words) == 2 else ":".join(_escaped(path) for _, path in config.sources)
    return Positionals(sources, views, fsname)


_NAME = re.compile(r"([\w.-]+)=(.+)", re.DOTALL)


def named(words: Sequence[str]) -> tuple[NamedSource, ...]:
    """The sources with their names: that of NAME=PATH, else the directory's, with a number if it is taken.

    Raises Problem where two sources were given the same name.
    """
    matches = [_NAME.fullmatch(word) for word in words]
    given = [match[1] for match in matches if match]
    taken = set(given)
    for name in given:
        if given.count(name) > 1:
            raise Problem(f"two sources are called {name}: give each a name of its own")
    sources: list[NamedSource] = []
    for word, match in zip(words, matches, strict=True):
        path = os.fsencode(match[2] if match else word)
        name = match[1] if match else _unique(printable(os.path.basename(os.path.abspath(path)) or b"/"), taken)
        taken.add(name)
        sources.append(NamedSource(name, path))
    return tuple(sources)


def _unique(name: str, taken: Collection[str]) -> str:
    """The name, with a number if it is taken."""
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(name for name in names if name not in taken)


def order_of(prefer: str, sources: tuple[NamedSource, ...]) -> tuple[Rank, ...]:
    """The ranks of the sources, the preferred one first. Raises Problem where no source has that name."""
    ranks = [Rank(rank) for rank in range(len(sources))]
    if prefer in ("high", "low"):
        return tuple(ranks if prefer == "high" else reversed(ranks))
    first = next((rank for rank in ranks if sources[rank].name == prefer), None)
    if first is None:
        names = ", ".join(["high", "low", *[source.name for source in sources]])
        raise Problem(f"--prefer {printable(prefer)}: no such source; one of {names}")
    return (first, *[rank for rank in ranks if rank != first])
