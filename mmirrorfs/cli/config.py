"""``--config FILE``: the options of a command, its sources and its views, from a TOML file.

Top level: any long option by its name. ``[sources]``: name = path, from high to low. ``[[view]]``: mountpoint and
prefer. ``[[same]]`` and ``[[apart]]``: names, and the directory that they are in. What the command line says wins.
"""

import difflib
import enum
import os
import tomllib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mmirrorfs.cli.problem import FAILED, Problem
from mmirrorfs.merge.settled import Rule
from mmirrorfs.text import printable


class Kind(enum.Enum):
    """What the value of a key must be, in the words of a message."""

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
"""No integer of TOML is larger; tomllib lets some pass that Python cannot even print."""


@dataclass(frozen=True, slots=True)
class Config:
    """What a file says: options by their long names, sources as (name, path), views as (mountpoint, prefer), and rules.

    ``shown`` is the file as messages name it.
    """

    options: dict[str, Any]
    sources: tuple[tuple[str, str], ...]
    views: tuple[tuple[str, str], ...]
    rules: tuple[Rule, ...] = ()
    shown: str = ""


def read(path: str, known: Mapping[str, Kind]) -> Config:
    """Read a file; ``known`` are the long options that it may set. Raises Problem. Paths are relative to the file."""
    if not path:
        raise Problem("--config: an empty word where a path should be: is a variable not set?")
    shown = printable(path)
    try:
        with open(path, "rb") as file:
            data = tomllib.load(file)
    except OSError as error:
        raise Problem(f"--config {shown}: {error.strerror}", FAILED) from None
    except ValueError as error:  # tomllib's own, or int's, or that it is no UTF-8
        raise Problem(f"--config {shown}: {printable(str(error))}") from None
    except RecursionError:
        raise Problem(f"--config {shown}: nested too deeply") from None
    sources, views = data.pop("sources", {}), data.pop("view", [])
    _expect(isinstance(sources, dict) and all(_is_place(place) for place in sources.values()), shown, _SOURCES)
    for name in sources:
        _expect(bool(name) and name.isprintable(), shown, f"[sources]: {printable(name) or 'an empty name'} is no name")
    _expect(isinstance(views, list) and all(isinstance(view, dict) for view in views), shown, _VIEWS)
    rules = [rule for kind in _RULES for rule in _rules(shown, kind, data.pop(kind, []))]
    base = os.path.dirname(os.path.abspath(path))
    options: dict[str, Any] = {}
    for key, value in data.items():
        name = _checked(shown, key, value, known)
        _expect(name not in options, shown, f"{name} is given twice")
        options[name] = _placed(base, name, value)
    return Config(
        options,
        tuple((name, os.path.join(base, place)) for name, place in sources.items()),
        tuple(_view(shown, base, view) for view in views),
        tuple(rules),
        shown,
    )


def _placed(base: str, name: str, value: Any) -> Any:  # noqa: ANN401  # whatever TOML has
    """An option's value, where it is a path seen from the file."""
    return os.path.join(base, value) if name in _PLACES else value


_PLACES = ("output-high", "output-low", "log")
_SOURCES = '[sources] must hold lines like flac = "/music/flac"'
_VIEWS = 'each [[view]] must hold a line like mountpoint = "/mnt/high"'
_RULES = ("same", "apart")
_RULE = 'hold a line like names = ["Beatles, The", "The Beatles"]'


def _is_place(value: object) -> bool:
    """Whether it can be a path; a NUL byte ends one, and an empty one would be the directory of the file."""
    return isinstance(value, str) and value != "" and "\0" not in value


def _expect(right: bool, shown: str, what: str) -> None:
    if not right:
        raise Problem(f"--config {shown}: {what}")


def _view(shown: str, base: str, view: dict[str, Any]) -> tuple[str, str]:
    for key in view:
        _known(shown, key, ("mountpoint", "prefer"))
    place, prefer = view.get("mountpoint"), view.get("prefer", "high")
    _expect(_is_place(place), shown, _VIEWS)
    _expect(isinstance(prefer, str), shown, f"prefer must be {Kind.TEXT.value}, not {_said(prefer)}")
    return os.path.join(base, str(place)), str(prefer)


def _rules(shown: str, kind: str, tables: object) -> Iterator[Rule]:
    right = isinstance(tables, list) and all(isinstance(table, dict) for table in tables)
    _expect(right, shown, f"each [[{kind}]] must {_RULE}")
    for number, table in enumerate(tables, 1):  # type: ignore[arg-type, var-annotated]  # a list, as was just seen
        label = f"[[{kind}]] {number}"
        for key in table:
            _known(f"{shown}: {label}", key, ("names", "in"))
        names, where = table.get("names"), table.get("in")
        right = isinstance(names, list) and all(_is_place(name) for name in names)
        _expect(right, shown, f"{label} must {_RULE}")
        for name in names:
            _expect("/" not in name and name not in (".", ".."), shown, f"{label}: {printable(name)} is no name")
        for name, count in Counter(names).items():
            _expect(count == 1, shown, f"{label}: {printable(name)} is in it twice")
        _expect(len(names) > 1, shown, f"{label}: there must be two names at least")
        _expect(where is None or _is_inner(where), shown, f"{label}: in must be a directory of the view, as 'Artist'")
        yield Rule(label, kind == "same", tuple(map(str.encode, names)), _trimmed(where))


def _is_inner(where: object) -> bool:
    parts = where.strip("/").split("/") if isinstance(where, str) else [".."]
    return _is_place(where) and (parts == [""] or not {"", ".", ".."} & set(parts))


def _trimmed(where: str | None) -> bytes | None:
    return where.strip("/").encode() if where is not None else None


def _checked(shown: str, name: str, value: object, known: Mapping[str, Kind]) -> str:
    """The long option that a key means; its value is one that the option can have."""
    long = name.replace("_", "-")
    _known(shown, long, [*known, "sources", "view", *_RULES])
    values = value if known[long] is Kind.TEXTS and isinstance(value, list) else [value]
    for one in values:
        _expect(_is_of(known[long], one), shown, f"{long} must be {known[long].value}, not {_said(one)}")
        _expect(long not in _PLACES or _is_place(one), shown, f"{long} must be a path, not {_said(one)}")
    return long


def _is_of(kind: Kind, value: object) -> bool:
    """Whether a value is of that kind; for Python true is a number, for TOML it is none."""
    if isinstance(value, bool) or not isinstance(value, _TYPES[kind]):
        return kind is Kind.FLAG and isinstance(value, bool)
    return "\0" not in value if isinstance(value, str) else not isinstance(value, int) or _fits(value)


def _fits(value: int) -> bool:
    return -_LARGEST <= value < _LARGEST


def _said(value: object) -> str:
    """A value, in the words of TOML as far as it is short."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and not _fits(value):
        return "one beyond 64 bits"
    if isinstance(value, str | int | float):
        return printable(repr(value)[:40])
    return "a table" if isinstance(value, dict) else "a list" if isinstance(value, list) else "a date or time"


def _known(shown: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise Problem(f"--config {shown}: unknown key {printable(name)}{hint}")
