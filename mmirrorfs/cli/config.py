"""``--config FILE``: the options of a command, its sources and its views, from a TOML file.

Top level: any long option by its name. ``[sources]``: name = path, from high to low. ``[[view]]``: mountpoint and
prefer. What the command line says wins.
"""

import difflib
import os
import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from mmirrorfs.cli.problem import FAILED, Problem
from mmirrorfs.text import printable


@dataclass(frozen=True, slots=True)
class Config:
    """What a file says: options by parameter name, sources as (name, path), views as (mountpoint, prefer)."""

    options: dict[str, Any]
    sources: tuple[tuple[str, str], ...]
    views: tuple[tuple[str, str], ...]


def read(path: str, known: Collection[str]) -> Config:
    """Read a file; ``known`` are the long options that it may set. Raises Problem. Paths are relative to the file."""
    shown = printable(path)
    try:
        with open(path, "rb") as file:
            data = tomllib.load(file)
    except OSError as error:
        raise Problem(f"--config {shown}: {error.strerror}", FAILED) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Problem(f"--config {shown}: {error}") from None
    sources, views = data.pop("sources", {}), data.pop("view", [])
    _expect(isinstance(sources, dict) and all(isinstance(p, str) for p in sources.values()), shown, _SOURCES)
    _expect(isinstance(views, list) and all(isinstance(view, dict) for view in views), shown, _VIEWS)
    base = os.path.dirname(os.path.abspath(path))
    options = {_checked(shown, name, known): value for name, value in data.items()}
    return Config(
        {name.replace("-", "_"): _placed(base, name, value) for name, value in options.items()},
        tuple((name, os.path.join(base, place)) for name, place in sources.items()),
        tuple(_view(shown, base, view) for view in views),
    )


def _placed(base: str, name: str, value: Any) -> Any:  # noqa: ANN401  # whatever TOML has
    """An option's value, where it is a path seen from the file."""
    return os.path.join(base, value) if name in ("output-high", "output-low") and isinstance(value, str) else value


_SOURCES = '[sources] must hold lines like flac = "/music/flac"'
_VIEWS = 'each [[view]] must hold a line like mountpoint = "/mnt/high"'


def _expect(right: bool, shown: str, what: str) -> None:
    if not right:
        raise Problem(f"--config {shown}: {what}")


def _view(shown: str, base: str, view: dict[str, Any]) -> tuple[str, str]:
    for key in view:
        _known(shown, key, ("mountpoint", "prefer"))
    place, prefer = view.get("mountpoint"), view.get("prefer", "high")
    _expect(isinstance(place, str) and isinstance(prefer, str), shown, _VIEWS)
    return os.path.join(base, str(place)), str(prefer)


def _checked(shown: str, name: str, known: Collection[str]) -> str:
    long = name.replace("_", "-")
    _known(shown, long, [*known, "sources", "view"])
    return long


def _known(shown: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise Problem(f"--config {shown}: unknown key {printable(name)}{hint}")
