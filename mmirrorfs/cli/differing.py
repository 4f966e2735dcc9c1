"""What differs between a view that is mounted and one that is asked for. Pure."""

from collections.abc import Mapping
from typing import Any

from mmirrorfs.cli.settings import as_said
from mmirrorfs.text import printable, whole_text


def differing(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """In words, for each long option that both have: what the view was told, and what is asked for instead."""
    return [
        f"{as_said(name)} is {_said(there[name])}, not {_said(value)}"
        for name, value in wanted.items()
        if name in there and _plain(there[name]) != _plain(value)
    ]


def as_text(told: Mapping[str, Any]) -> dict[str, Any]:
    """Options as they are told in JSON."""
    return {name: _text(value) for name, value in told.items()}


def _text(value: object) -> object:
    if isinstance(value, list | tuple):
        return list(map(_text, value))
    return whole_text(value) if isinstance(value, str) else value


def _plain(value: object) -> object:
    """What is compared: the order of patterns means nothing."""
    found = _text(value)
    return sorted(found) if isinstance(found, list) else found


def _said(value: object) -> str:
    if isinstance(value, list | tuple):
        return " and ".join(map(_said, value)) or "nothing"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    return printable(str(value)) if value is not None else "nothing"
