"""The configuration file (``--config``): options, sources, views and rules, parsed from TOML and checked.

Top level: any long option by its name. ``[sources]``: name = path, from high to low. ``[[view]]``: mountpoint and
prefer. ``[[same]]`` and ``[[apart]]``: names, and the directory that they are in.

Rule 1: relative paths are relative to the file.
Rule 2: an unknown key, or a value of another type than its option has, is an error that names file and key.

Reads that one file. That the command line overrides the file is ``main``'s business.
"""

import difflib
import enum
import os
import tomllib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mmirrorfs.cli.errors import FAILED, Problem
from mmirrorfs.merge.settled import Rule
from mmirrorfs.text import printable


class Kind(enum.Enum):
    """The type of a key's value, in the words of a message."""

    FLAG = "true or false"
    WHOLE = "a whole number"
    NUMBER = "a number"
    TEXT = "a text in quotes"
    TEXTS = "a text in quotes, or a list of such texts"


_TYPES: dict[Kind, tuple[type, ...]] = {
    Kind.FLAG: (bool,),
    Kind.WHOLE: (int,),
    Kind.NUMBER: (int, float),
    Kind.TEXT: (str,),
    Kind.TEXTS: (str,),
}
_LARGEST = 1 << 63
"""Integers of TOML have 64 bits. tomllib accepts larger ones, even some that Python refuses to print."""


@dataclass(frozen=True, slots=True)
class Config:
    """A parsed file: options by their long names, sources as (name, path), views as (mountpoint, prefer), and rules.

    ``shown`` is the file's path as messages print it.
    """

    options: dict[str, Any]
    sources: tuple[tuple[str, str], ...]
    views: tuple[tuple[str, str], ...]
    rules: tuple[Rule, ...] = ()
    shown: str = ""


def read(path: str, known: Mapping[str, Kind]) -> Config:
    """Parse a file; ``known`` are the long options that it may set. Raises Problem."""
    if not path:
        raise Problem("--config: an empty word where a path should be: is a variable not set?")
    shown = printable(path)
    try:
        with open(path, "rb") as file:
            data = tomllib.load(file)
    except OSError as error:
        raise Problem(f"--config {shown}: {error.strerror}", FAILED) from None
    except ValueError as error:  # from tomllib, from int, or because it is not UTF-8
        raise Problem(f"--config {shown}: {printable(str(error))}") from None
    except RecursionError:
        raise Problem(f"--config {shown}: nested too deeply") from None
    sources, views = data.pop("sources", {}), data.pop("view", [])
    _expect(isinstance(sources, dict) and all(_is_path(path) for path in sources.values()), shown, _SOURCES_FORM)
    for name in sources:
        _expect(bool(name) and name.isprintable(), shown, f"[sources]: {printable(name) or 'an empty name'} is no name")
    _expect(isinstance(views, list) and all(isinstance(view, dict) for view in views), shown, _VIEWS_FORM)
    rules = [rule for kind in _RULE_TABLES for rule in _rules(shown, kind, data.pop(kind, []))]
    base = os.path.dirname(os.path.abspath(path))
    options: dict[str, Any] = {}
    for key, value in data.items():
        name = _option(shown, key, value, known)
        _expect(name not in options, shown, f"{name} is given twice")
        options[name] = _resolved(base, name, value)
    return Config(
        options,
        tuple((name, os.path.join(base, source)) for name, source in sources.items()),
        tuple(_view(shown, base, view) for view in views),
        tuple(rules),
        shown,
    )


def _resolved(base: str, name: str, value: Any) -> Any:  # noqa: ANN401  # whatever TOML has
    """An option's value; a path is made absolute."""
    return os.path.join(base, value) if name in _PATHS else value


_PATHS = ("output-high", "output-low", "log")
_SOURCES_FORM = '[sources] must hold lines like flac = "/music/flac"'
_VIEWS_FORM = 'each [[view]] must hold a line like mountpoint = "/mnt/high"'
_RULE_TABLES = ("same", "apart")
_RULE_FORM = 'hold a line like names = ["Beatles, The", "The Beatles"]'


def _is_path(value: object) -> bool:
    """Whether it can be a path: no NUL byte in it, and not empty, which would be the directory of the file."""
    return isinstance(value, str) and value != "" and "\0" not in value


def _expect(condition: bool, shown: str, message: str) -> None:
    if not condition:
        raise Problem(f"--config {shown}: {message}")


def _view(shown: str, base: str, view: dict[str, Any]) -> tuple[str, str]:
    for key in view:
        _check_key(shown, key, ("mountpoint", "prefer"))
    mountpoint, prefer = view.get("mountpoint"), view.get("prefer", "high")
    _expect(_is_path(mountpoint), shown, _VIEWS_FORM)
    _expect(isinstance(prefer, str), shown, f"prefer must be {Kind.TEXT.value}, not {_shown(prefer)}")
    return os.path.join(base, str(mountpoint)), str(prefer)


def _rules(shown: str, kind: str, tables: object) -> Iterator[Rule]:
    is_valid = isinstance(tables, list) and all(isinstance(table, dict) for table in tables)
    _expect(is_valid, shown, f"each [[{kind}]] must {_RULE_FORM}")
    for number, table in enumerate(tables, 1):  # type: ignore[arg-type, var-annotated]  # checked to be a list
        label = f"[[{kind}]] {number}"
        for key in table:
            _check_key(f"{shown}: {label}", key, ("names", "in"))
        names, where = table.get("names"), table.get("in")
        is_valid = isinstance(names, list) and all(_is_path(name) for name in names)
        _expect(is_valid, shown, f"{label} must {_RULE_FORM}")
        for name in names:
            _expect("/" not in name and name not in (".", ".."), shown, f"{label}: {printable(name)} is no name")
        for name, count in Counter(names).items():
            _expect(count == 1, shown, f"{label}: {printable(name)} is in it twice")
        _expect(len(names) > 1, shown, f"{label}: there must be two names at least")
        _expect(
            where is None or _is_view_directory(where),
            shown,
            f"{label}: in must be a directory of the view, as 'Artist'",
        )
        yield Rule(label, kind == "same", tuple(map(str.encode, names)), _trimmed(where))


def _is_view_directory(where: object) -> bool:
    parts = where.strip("/").split("/") if isinstance(where, str) else [".."]
    return _is_path(where) and (parts == [""] or not {"", ".", ".."} & set(parts))


def _trimmed(where: str | None) -> bytes | None:
    return where.strip("/").encode() if where is not None else None


def _option(shown: str, name: str, value: object, known: Mapping[str, Kind]) -> str:
    """The long option that a key stands for, after a check of its value."""
    long = name.replace("_", "-")
    _check_key(shown, long, [*known, "sources", "view", *_RULE_TABLES])
    values = value if known[long] is Kind.TEXTS and isinstance(value, list) else [value]
    for one in values:
        _expect(_has_kind(known[long], one), shown, f"{long} must be {known[long].value}, not {_shown(one)}")
        _expect(long not in _PATHS or _is_path(one), shown, f"{long} must be a path, not {_shown(one)}")
    return long


def _has_kind(kind: Kind, value: object) -> bool:
    """Whether a value is of that kind. A bool is no number here, as in TOML."""
    if isinstance(value, bool) or not isinstance(value, _TYPES[kind]):
        return kind is Kind.FLAG and isinstance(value, bool)
    return "\0" not in value if isinstance(value, str) else not isinstance(value, int) or _fits(value)


def _fits(value: int) -> bool:
    return -_LARGEST <= value < _LARGEST


def _shown(value: object) -> str:
    """A value for a message, in TOML and shortened."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and not _fits(value):
        return "one beyond 64 bits"
    if isinstance(value, str | int | float):
        return printable(repr(value)[:40])
    return "a table" if isinstance(value, dict) else "a list" if isinstance(value, list) else "a date or time"


def _check_key(shown: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise Problem(f"--config {shown}: unknown key {printable(name)}{hint}")
